"""The simulated tactile image: like real presses, like Taxim's rendering, and sensitive to the plug."""

from itertools import pairwise
from pathlib import Path

import cv2
import mujoco
import numpy as np
import pytest

from restac_ros.sim.cell.arm_model import HAND
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.cell_model import PLUG, TCP_IN_HAND_M
from restac_ros.sim.cell.parameters import MOUNT, CellScene
from restac_ros.sim.touch.gel import WINDOW_M, Gel
from restac_ros.sim.touch.plug_face import PlugFace
from restac_ros.sim.touch.tactile_sensor import NOISE_GREY, TactileSensor

BALL_RADIUS_M = 6.31e-3 / 2  # of the real presses
SIZE_PX = (240, 320)  # of the real sensor's images
AT_REST = np.zeros(6)


def ball_depth_m(gel: Gel, depth_m: float) -> np.ndarray:
    """How deep a ball stands in the gel, pressed by `depth_m` in the middle of the window."""
    v_m, u_m = gel.positions_m()
    inside = np.maximum(BALL_RADIUS_M**2 - v_m**2 - u_m**2, 0)
    return (np.sqrt(inside) - BALL_RADIUS_M + depth_m).astype(np.float32)


def press_statistics(difference: np.ndarray) -> np.ndarray:
    """Mean, 99.9th percentile and maximum of |difference| in grey levels, share of pixels above 10 in %."""
    size = np.abs(difference)
    return np.array(
        [size.mean(), np.percentile(size, 99.9), size.max(), 100 * (size.max(axis=-1) > 10).mean()]
    )


def around(difference: np.ndarray, centre_px: tuple[int, int], distance_px: int) -> np.ndarray:
    """Colour [4, 3] left, right, above and below of a point, each the mean of 5 x 5 pixels."""
    places = [(0, -distance_px), (0, distance_px), (-distance_px, 0), (distance_px, 0)]
    found = []
    for down, right in places:
        row, column = centre_px[0] + down, centre_px[1] + right
        found.append(difference[row - 2 : row + 3, column - 2 : column + 3].mean(axis=(0, 1)))
    return np.array(found)


def mount(**moved: float) -> np.ndarray:
    return np.array([moved.get(name, 0.0) for name in ('px', 'py', 'pz', 'rx', 'ry', 'rz')])


@pytest.fixture
def sensor() -> TactileSensor:
    return TactileSensor(PlugFace(), (128, 160), seed=5)


def as_grey(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32)


def test_a_pressed_ball_looks_as_the_real_presses_do(shared_dir: Path) -> None:
    folder = shared_dir / 'data' / 'real_streams' / 'gelsight'
    background = as_grey(cv2.imread(str(folder / 'background.png'))[..., ::-1])
    presses = [as_grey(cv2.imread(str(file))[..., ::-1]) for file in sorted(folder.glob('press_*.png'))]
    assert len(presses) == 44
    real = np.array([press_statistics(press - background) for press in presses])

    gel = Gel(SIZE_PX)
    noise = np.sqrt(2) * NOISE_GREY * np.random.default_rng(0).standard_normal((*SIZE_PX, 3))
    for depth_m in (0.5e-3, 0.6e-3, 0.7e-3):
        difference = gel.shade(gel.surface_m(ball_depth_m(gel, depth_m))) - gel.untouched + noise
        found = press_statistics(difference)
        assert np.all(real.min(axis=0) <= found), f'{depth_m} m: {found}'
        assert np.all(found <= real.max(axis=0)), f'{depth_m} m: {found}'
    assert np.abs(gel.untouched.mean(axis=(0, 1)) - background.mean(axis=(0, 1))).max() < 3
    assert np.abs(gel.untouched - cv2.GaussianBlur(background, (0, 0), 5)).mean() < 5


def test_each_side_of_a_press_has_the_colour_of_a_real_one() -> None:
    # Mean of 44 real presses: left, right, above, below of the centre. The strongest channel of each counts.
    real = np.array([(19, -34, 2), (10, 33, 11), (69, -5, -34), (-49, 4, 35)])
    gel = Gel(SIZE_PX)
    difference = gel.shade(gel.surface_m(ball_depth_m(gel, 0.6e-3))) - gel.untouched
    found = around(difference, (SIZE_PX[0] // 2, SIZE_PX[1] // 2), round(1.2e-3 / gel.pitch_m[0]))
    strongest = np.abs(real).argmax(axis=1)
    sides = np.arange(4)
    ratio = found[sides, strongest] / real[sides, strongest]
    assert np.all((ratio > 0.6) & (ratio < 1.4)), found
    assert np.abs(found - real).max() < 25


def test_taxim_renders_the_same_picture() -> None:
    taxim = pytest.importorskip('taxim', reason='Taxim is not installed: pip install taxim')
    renderer = taxim.Taxim(calib_folder=taxim.CALIB_GELSIGHT_MINI, backend='jax', device='cpu')
    gel = Gel(SIZE_PX)

    def by_taxim(depth_m: np.ndarray) -> np.ndarray:
        deepest_mm = max(0.0, float(depth_m.max()) * 1e3)
        return 255 * renderer.render(-depth_m * 1e3, with_shadow=False, press_depth=deepest_mm)

    untouched = by_taxim(np.full(SIZE_PX, -5e-3, np.float32))
    moved = mount(px=3e-4, pz=-5e-4, rx=0.01, ry=0.03, rz=0.01)
    faces = [PlugFace().depth_m(gel, where) for where in (AT_REST, moved)]
    for depth_m in (ball_depth_m(gel, 0.5e-3), *faces):
        theirs = by_taxim(depth_m) - untouched
        ours = gel.shade(gel.surface_m(depth_m)) - gel.untouched
        for channel in range(3):
            likeness = np.corrcoef(theirs[..., channel].ravel(), ours[..., channel].ravel())[0, 1]
            assert likeness > 0.75
        ratio = np.percentile(np.abs(ours), 99.9) / np.percentile(np.abs(theirs), 99.9)
        assert 0.6 < ratio < 1.5


@pytest.mark.parametrize(
    ('moved', 'right_px', 'down_px'),
    [
        (mount(px=1.18125e-3), 10, 0),
        (mount(pz=-1.109375e-3), 0, -10),
        (mount(px=-1.18125e-3, pz=1.109375e-3), -10, 10),
    ],
)
def test_shear_moves_the_imprint_to_the_pixel(moved: np.ndarray, right_px: int, down_px: int) -> None:
    gel = Gel((128, 160))
    at_rest, found = (PlugFace().depth_m(gel, where) for where in (AT_REST, moved))
    expected = np.roll(at_rest, (down_px, right_px), axis=(0, 1))
    inner = np.s_[12:-12, 12:-12]
    np.testing.assert_allclose(found[inner], expected[inner], atol=2e-6)


def test_the_grasp_moves_and_turns_the_imprint_as_the_mount_does() -> None:
    gel = Gel((128, 160))
    grasped = PlugFace(grasp_m=(1e-3, 0.0, -5e-4), grasp_rad=0.05).depth_m(gel, AT_REST)
    moved = PlugFace().depth_m(gel, mount(px=1e-3, pz=-5e-4, ry=0.05))
    np.testing.assert_allclose(grasped, moved, atol=1e-7)


def test_points_of_the_face_are_where_mujoco_has_them() -> None:
    cell = Cell(CellScene(grasp_m=(5e-4, 0.0, 3e-4), grasp_rad=-0.03))
    gel, face = Gel((256, 320)), PlugFace(grasp_m=(5e-4, 0.0, 3e-4), grasp_rad=-0.03, grooves_m=())
    moved = mount(px=4e-4, py=1e-4, pz=-6e-4, rx=0.02, ry=0.04, rz=-0.015)
    for name, value in zip(MOUNT, moved, strict=True):
        cell.data.joint(name).qpos = value
    mujoco.mj_kinematics(cell.model, cell.data)
    depth_m = face.depth_m(gel, moved)
    plug, hand = cell.data.body(PLUG), cell.data.body(HAND)
    half_thickness_m = face.plug.body_m[1] / 2
    for point_m in [(-0.004, -0.003), (0.004, -0.003), (0.0, 0.001), (0.003, 0.004)]:
        on_face = (point_m[0], half_thickness_m, point_m[1])
        in_base = plug.xpos + plug.xmat.reshape(3, 3) @ on_face
        x, y, z = hand.xmat.reshape(3, 3).T @ (in_base - hand.xpos) - TCP_IN_HAND_M
        row = int((z + WINDOW_M[0] / 2) / gel.pitch_m[0])
        column = int((x + WINDOW_M[1] / 2) / gel.pitch_m[1])
        assert depth_m[row, column] == pytest.approx(y - half_thickness_m + face.squeeze_m, abs=5e-6)


@pytest.mark.parametrize(
    'moved',
    [
        mount(px=1e-4),
        mount(py=1e-4),
        mount(pz=-1e-4),
        mount(rx=0.01),
        mount(ry=0.01),
        mount(rz=0.01),
    ],
)
def test_each_coordinate_of_the_mount_shows(sensor: TactileSensor, moved: np.ndarray) -> None:
    reference = as_grey(sensor.reference(AT_REST))
    shown = np.abs(as_grey(sensor.reference(moved)) - reference)
    assert (shown.max(axis=-1) > 5).mean() > 0.01


def test_a_slow_slide_never_makes_the_image_jump(sensor: TactileSensor) -> None:
    steps = [as_grey(sensor.reference(mount(pz=-1e-5 * i, rx=2e-4 * i))) for i in range(40)]
    jumps = [np.abs(new - old).max() for old, new in pairwise(steps)]
    assert max(jumps) < 20  # edges of 110 grey levels, moved by a tenth of a pixel


def test_a_plug_that_leaves_the_gel_leaves_it_untouched(sensor: TactileSensor) -> None:
    untouched = sensor.reference(None)
    np.testing.assert_array_equal(sensor.reference(mount(py=-1e-3)), untouched)
    assert np.abs(as_grey(sensor.reference(AT_REST)) - untouched).max() > 40


def test_frames_repeat_by_seed_and_carry_the_noise_of_a_real_sensor(sensor: TactileSensor) -> None:
    twin = TactileSensor(PlugFace(), (128, 160), seed=5)
    frames = np.stack([sensor.frame(AT_REST) for _ in range(8)])
    np.testing.assert_array_equal(frames, [twin.frame(AT_REST) for _ in range(8)])
    other = TactileSensor(PlugFace(), (128, 160), seed=6).frame(AT_REST)
    assert np.any(other != frames[0])
    spread = (frames - frames.mean(axis=0)).std(axis=(0, 1, 2)) * np.sqrt(8 / 7)
    np.testing.assert_allclose(spread, NOISE_GREY, rtol=0.05)
    np.testing.assert_allclose(frames.mean(axis=0), sensor.reference(AT_REST), atol=4)
