"""The tactile overlay on synthetic images whose contact is known."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restac_ros.dataset.quality.contact import ContactMeter, in_contact, pixel_change
from restac_ros.view.drawing import LINE_PX
from restac_ros.view.errors import ViewError
from restac_ros.view.tactile import (
    DARKENED,
    PRESSED_REFERENCE,
    ZOOM,
    GelWatch,
    HeatScale,
    heat_overlay,
    tactile_picture,
)

SHAPE = (128, 160, 3)
SCALE = HeatScale(threshold=6, full=60)


@pytest.fixture
def plain() -> np.ndarray:
    """A lit gel without contact: a smooth gradient."""
    rows, columns = np.mgrid[0:128, 0:160]
    return np.stack([60 + rows // 2, 80 + columns // 4, 120 - rows // 4], axis=-1).astype(np.uint8)


def pressed(plain: np.ndarray, levels: int, channel: int = 1) -> np.ndarray:
    """A disc of radius 20 px around (64, 50) brighter by `levels` in one channel."""
    disc = cv2.circle(np.zeros(SHAPE[:2], np.uint8), (50, 64), 20, 1, -1).astype(bool)
    image = plain.astype(int)
    image[disc, channel] += levels
    return np.clip(image, 0, 255).astype(np.uint8)


def gel_of(reference: np.ndarray) -> GelWatch:
    gel = GelWatch(1)
    gel.add(reference)
    return gel


def picture(image: np.ndarray | None, gel: GelWatch, *more, **options) -> np.ndarray:
    if image is not None:
        gel.add(image)
    return tactile_picture(image, gel, *more, **options)


def coloured_share(plain: np.ndarray, overlay: np.ndarray) -> float:
    """The share of an overlay that is more than the darkened image."""
    return float(np.mean(np.abs(overlay - plain * DARKENED).max(axis=-1) > 1))


def test_without_contact_nothing_is_hot(plain: np.ndarray) -> None:
    change = pixel_change(plain, plain)
    assert change.max() == 0
    np.testing.assert_allclose(heat_overlay(plain, change, SCALE), plain * DARKENED, atol=1)


@pytest.mark.parametrize('channel', [0, 1, 2])
@pytest.mark.parametrize('levels', [-40, 40])
def test_a_press_shows_where_and_as_strong_as_it_is(plain: np.ndarray, channel: int, levels: int) -> None:
    change = pixel_change(pressed(plain, levels, channel), plain)
    assert change[64, 50] == 40
    assert change[64, 120] == 0
    overlay = heat_overlay(pressed(plain, levels, channel), change, SCALE).astype(int)
    # The disc's area, seen a little larger as its edge is smoothed.
    assert coloured_share(plain, overlay) == pytest.approx(np.pi * 20**2 / (128 * 160), rel=0.2)
    assert abs(overlay[64, 50] - plain[64, 50]).max() > 60
    np.testing.assert_allclose(overlay[64, 120], plain[64, 120] * DARKENED, atol=1)


def test_noise_stays_below_the_threshold(plain: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 2.5, SHAPE)
    noisy = np.clip(plain + noise, 0, 255).astype(np.uint8)
    assert coloured_share(noisy, heat_overlay(noisy, pixel_change(noisy, plain), SCALE)) < 0.001


@given(st.integers(0, 120), st.integers(0, 120))
def test_heat_rises_with_the_change(low: int, high: int) -> None:
    low, high = sorted((low, high))
    image = np.full((2, 2, 3), 90, np.uint8)
    cool, hot = (
        heat_overlay(image, np.full((2, 2), level, np.uint8), HeatScale(0, 120)) for level in (low, high)
    )
    # Brightness of the map on top of a grey ground rises as the alpha does.
    assert int(hot.max()) + 6 >= int(cool.max())
    if high == 120:
        assert hot.max() > 240


def test_the_reference_is_a_median_of_frames_that_agree(plain: np.ndarray) -> None:
    gel = GelWatch(5)
    for image in (plain, np.zeros_like(plain), plain, pressed(plain, 80), plain):  # a shadow passes, a press
        gel.add(image)
    assert (gel.reference, gel.change, gel.progress) == (None, None, '5 of 5, which differ')
    for _ in range(4):
        gel.add(plain)
    np.testing.assert_array_equal(gel.reference, plain)
    gel.add(np.zeros_like(plain))
    np.testing.assert_array_equal(gel.reference, plain)  # complete: nothing moves it any more
    gel.restart()
    assert (gel.reference, gel.progress) == (None, '0 of 5')


def test_a_frame_of_another_size_begins_anew(plain: np.ndarray) -> None:
    gel = GelWatch(2)
    for image in (plain, plain[:64], plain[:64]):
        gel.add(image)
    np.testing.assert_array_equal(gel.reference, plain[:64])


def test_the_view_calls_those_frames_contact_that_quality_and_calibration_do(plain: np.ndarray) -> None:
    """The same frames, with a noise that raises the threshold, and a press that comes and goes slowly."""
    rng = np.random.default_rng(0)
    depths = [0] * 8 + list(range(0, 60, 4)) + list(range(60, 0, -3)) + [0] * 4
    frames = [
        np.clip(pressed(plain, depth) + rng.normal(0, 1.3, SHAPE), 0, 255).astype(np.uint8)
        for depth in depths
    ]
    gel, meter = GelWatch(5), ContactMeter()
    seen, levels = [], []
    for frame in frames:
        gel.add(frame)
        seen.append(gel.is_contact)
        level = meter.level(frame)
        levels.append(np.nan if level is None else level)
    assert meter.threshold == gel.threshold
    np.testing.assert_array_equal(seen, in_contact(np.array(levels), meter.threshold))
    assert 10 < sum(seen) < 40


def test_a_pressed_reference_is_doubted(plain: np.ndarray) -> None:
    gel = gel_of(pressed(plain, 60))
    gel.add(plain)
    assert gel.problem == PRESSED_REFERENCE
    gel.restart()
    assert (gel.problem, gel.is_contact, gel.change) == ('', False, None)


def test_before_the_reference_is_complete_the_plain_image_is_shown(plain: np.ndarray) -> None:
    shown = picture(plain, GelWatch(3), SCALE, 'gelsight_left')
    head = shown.shape[0] - 128 * ZOOM
    middle = shown[head // 2 : head // 2 + 128 * ZOOM]
    enlarged = cv2.resize(plain, (160 * ZOOM, 128 * ZOOM), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(middle, enlarged)


def test_every_state_has_a_picture_of_its_own(plain: np.ndarray) -> None:
    states = [
        picture(None, GelWatch(3), SCALE, 'left'),
        picture(plain, GelWatch(3), SCALE, 'left'),
        picture(pressed(plain, 60), gel_of(plain), SCALE, 'left'),
        picture(pressed(plain, 60), gel_of(plain), SCALE, 'left', problem='no tactile frame for 2.0 s'),
    ]
    assert {state.shape for state in states} == {(128 * ZOOM + 2 * (LINE_PX + 6), 160 * ZOOM, 3)}
    assert all(state.dtype == np.uint8 for state in states)
    assert len({state.tobytes() for state in states}) == len(states)


def test_the_residual_is_shown_beside(plain: np.ndarray) -> None:
    residual = np.zeros((16, 20))
    residual[4, 5] = 3.0
    without = picture(plain, gel_of(plain), SCALE, 'left')
    shown = picture(plain, gel_of(plain), SCALE, 'left', residual)
    assert shown.shape[0] == without.shape[0]
    panel = shown[LINE_PX + 6 :][: plain.shape[0], without.shape[1] + 4 :].astype(int)
    row, column = np.unravel_index(panel.sum(axis=-1)[2:-2, 2:-2].argmax(), panel[2:-2, 2:-2].shape[:2])
    cell = panel.shape[0] / 16
    assert (int((row + 2) // cell), int((column + 2) // cell)) == (4, 5)


@pytest.mark.parametrize('residual', [np.full((16, 20), np.nan), np.zeros((16, 20))])
def test_a_residual_that_says_nothing_is_dark(plain: np.ndarray, residual: np.ndarray) -> None:
    shown = picture(plain, gel_of(plain), SCALE, 'left', residual)
    assert shown[80, 160 * ZOOM + 80].max() < 120


def test_the_residuals_scale_does_not_follow_its_maximum(plain: np.ndarray) -> None:
    noise, event = np.full((16, 20), 0.3), np.full((16, 20), 9.0)
    drawn = [picture(plain, gel_of(plain), SCALE, 'left', values) for values in (noise, event)]
    place = drawn[0][80, 160 * ZOOM + 80].astype(int).sum(), drawn[1][80, 160 * ZOOM + 80].astype(int).sum()
    assert place[0] + 150 < place[1]


def test_wrong_shapes_and_scales_are_refused(plain: np.ndarray) -> None:
    with pytest.raises(ViewError, match='residual map of shape'):
        picture(plain, gel_of(plain), SCALE, 'left', np.zeros(5))
    with pytest.raises(ViewError, match='expected 0 <= threshold < full'):
        HeatScale(threshold=60, full=6)
