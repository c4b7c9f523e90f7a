"""The scene: old things are called old, a restart begins anew, and what is shown follows what came."""

from collections.abc import Callable

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.view.samples import chunk_sample
from restac_ros.view.scene import GateScene, SceneOptions
from restac_ros.view.tactile import PRESSED_REFERENCE

S = 10**9


@pytest.fixture
def scene(contract: Contract) -> GateScene:
    return GateScene(contract, 'gelsight_left', SceneOptions(reference_frames=2))


def named(scene: GateScene, steady_ns: int) -> dict[str, list]:
    shapes: dict[str, list] = {}
    for shape in scene.shapes(steady_ns):
        shapes.setdefault(shape.name, []).append(shape)
    return shapes


def pose_at(x: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


def test_nothing_is_drawn_before_anything_is_known(scene: GateScene) -> None:
    assert scene.shapes(S) == []
    assert scene.chart_image(S).any()
    assert scene.tactile_image(S).any()


def test_shapes_stand_where_the_tool_is(scene: GateScene, make_gate: Callable) -> None:
    scene.add_pose(pose_at(0.5), 5 * S)
    scene.add_gate(make_gate(gate=0.8), 5 * S)
    shapes = named(scene, 5 * S)
    assert [len(shapes[name]) for name in ('ring', 'bar', 'label')] == [2, 2, 1]
    assert shapes['ring'][0].in_base().mean(axis=0)[0] == pytest.approx(0.5, abs=0.01)


def test_a_policy_that_stopped_leaves_no_living_picture(scene: GateScene, make_gate: Callable) -> None:
    scene.add_gate(make_gate(gate=0.8), 5 * S)
    scene.add_pose(pose_at(0.5), 9 * S)
    shapes = named(scene, 9 * S)
    assert shapes['label'][0].text == 'no gate for 4.0 s'
    assert [len(shapes[name]) for name in ('ring', 'bar')] == [1, 1]


def test_a_robot_that_stopped_reporting_is_told(scene: GateScene, make_gate: Callable) -> None:
    scene.add_pose(pose_at(0.5), 5 * S)
    scene.add_gate(make_gate(gate=0.8), 8 * S)
    assert named(scene, 8 * S)['label'][0].text == 'no tool pose for 3.0 s'


def test_the_trail_has_the_gates_that_were_in_force(scene: GateScene, make_gate: Callable) -> None:
    for i, gate in enumerate((0.0, 1.0)):
        scene.add_gate(make_gate(stamp_ns=(5 + i) * S, gate=gate), (5 + i) * S)
        scene.add_pose(pose_at(0.1 * i), (5 + i) * S)
    scene.add_pose(pose_at(0.3), 9 * S)  # the gate is old by now: unknown
    path = named(scene, 9 * S)['executed path'][0]
    colours = path.colours[:, :3]
    assert len({tuple(colour) for colour in colours}) == 3
    np.testing.assert_allclose(path.in_base()[:, 0], [0, 0.1, 0.3])


def test_a_chunk_runs_out_on_the_policys_own_clock(scene: GateScene, chunk_message: Callable) -> None:
    """Stamps and the reader's clock are unrelated: 4 steps of 50 ms are over after 0.2 s."""
    scene.add_chunk(chunk_sample(chunk_message(stamp_ns=1_760_000_000 * S), 'fr3_link0'), 3 * S)
    assert len(named(scene, 3 * S)['chunk steps'][0].points) == 4
    assert len(named(scene, 3 * S + S // 8)['chunk steps'][0].points) == 2
    assert 'chunk steps' not in named(scene, 4 * S)


def test_a_bag_that_begins_anew_takes_the_old_drawing_away(
    scene: GateScene, make_gate: Callable, chunk_message: Callable
) -> None:
    for i in range(5):
        scene.add_pose(pose_at(0.1 * i), (5 + i) * S)
    scene.add_chunk(chunk_sample(chunk_message(stamp_ns=100 * S), 'fr3_link0'), 10 * S)
    assert {'chunk', 'executed path'} <= set(named(scene, 10 * S))
    scene.add_gate(make_gate(stamp_ns=50 * S), 10 * S)
    assert not {'chunk', 'executed path'} & set(named(scene, 10 * S))


def test_tactile_frames_make_the_reference_and_then_the_overlay(scene: GateScene) -> None:
    plain = np.full((128, 160, 3), 90, np.uint8)
    pictures = []
    for i in range(4):
        scene.add_tactile(plain if i < 3 else plain + 50, i * S)
        pictures.append(scene.tactile_image(i * S).tobytes())
    assert scene.gel.reference is not None
    assert pictures[3] != pictures[2]
    scene.gel.restart()
    assert scene.gel.progress == '0 of 2'
    scene.add_tactile(
        np.full((64, 80, 3), 90, np.uint8), 5 * S
    )  # another size: no comparison with the old one
    assert scene.gel.progress == '1 of 2'


def pressed(plain: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[0:128, 0:160]
    bump = 60 * np.exp(-((rows - 64) ** 2 + (columns - 80) ** 2) / 300)
    return plain + bump[..., None].astype(np.uint8)


def test_a_reference_taken_in_contact_is_doubted_until_it_is_taken_anew(scene: GateScene) -> None:
    plain = np.full((128, 160, 3), 90, np.uint8)
    for i in range(2):
        scene.add_tactile(pressed(plain), i * S)
    assert scene.gel.problem == ''
    scene.add_tactile(plain, 2 * S)
    assert scene.gel.problem == PRESSED_REFERENCE
    scene.gel.restart()
    for i in range(3, 6):
        scene.add_tactile(plain, i * S)
    scene.add_tactile(pressed(plain), 6 * S)
    assert scene.gel.problem == ''


def test_an_old_tactile_frame_is_told(scene: GateScene) -> None:
    scene.add_tactile(np.full((128, 160, 3), 90, np.uint8), S)
    assert (scene.tactile_image(S) != scene.tactile_image(4 * S)).any()


def test_a_residual_is_shown_while_it_holds(scene: GateScene) -> None:
    scene.add_tactile(np.full((128, 160, 3), 90, np.uint8), S)
    width = scene.tactile_image(S).shape[1]
    scene.add_residual(np.eye(16, 20), S)
    assert scene.tactile_image(S).shape[1] > width
    assert scene.tactile_image(3 * S).shape[1] == width
