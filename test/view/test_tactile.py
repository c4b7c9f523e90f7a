"""The tactile overlay on synthetic images whose contact is known."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restac_ros.view.drawing import LINE_PX
from restac_ros.view.errors import ViewError
from restac_ros.view.tactile import (
    DARKENED,
    ZOOM,
    HeatScale,
    Reference,
    contact_share,
    heat_overlay,
    pixel_change,
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


def reference_of(image: np.ndarray) -> Reference:
    reference = Reference(1)
    reference.add(image)
    return reference


def picture(image: np.ndarray | None, reference: Reference, *more, **options) -> np.ndarray:
    known = image is not None and reference.image is not None
    change = pixel_change(image, reference.image) if known else None
    return tactile_picture(image, change, reference, *more, **options)


def test_without_contact_nothing_is_hot(plain: np.ndarray) -> None:
    change = pixel_change(plain, plain)
    assert change.max() == 0
    assert contact_share(change, SCALE) == 0
    np.testing.assert_allclose(heat_overlay(plain, change, SCALE), plain * DARKENED, atol=1)


@pytest.mark.parametrize('channel', [0, 1, 2])
@pytest.mark.parametrize('levels', [-40, 40])
def test_a_press_shows_where_and_as_strong_as_it_is(plain: np.ndarray, channel: int, levels: int) -> None:
    change = pixel_change(pressed(plain, levels, channel), plain)
    assert change[64, 50] == pytest.approx(40, abs=1)
    assert change[64, 120] == 0
    # The disc's area, seen a little larger as its edge is smoothed.
    assert contact_share(change, SCALE) == pytest.approx(np.pi * 20**2 / (128 * 160), rel=0.2)
    overlay = heat_overlay(pressed(plain, levels, channel), change, SCALE).astype(int)
    assert abs(overlay[64, 50] - plain[64, 50]).max() > 60
    np.testing.assert_allclose(overlay[64, 120], plain[64, 120] * DARKENED, atol=1)


def test_noise_stays_below_the_threshold(plain: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 2.5, SHAPE)
    noisy = np.clip(plain + noise, 0, 255).astype(np.uint8)
    assert contact_share(pixel_change(noisy, plain), SCALE) < 0.001


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


def test_the_reference_is_a_median_that_a_passing_shadow_does_not_move(plain: np.ndarray) -> None:
    reference = Reference(5)
    for image in (plain, plain, np.zeros_like(plain), plain, pressed(plain, 80)):
        assert reference.image is None
        reference.add(image)
    np.testing.assert_array_equal(reference.image, plain)
    reference.add(np.zeros_like(plain))
    np.testing.assert_array_equal(reference.image, plain)  # complete: nothing moves it any more
    reference.restart()
    assert (reference.image, reference.collected) == (None, 0)


def test_before_the_reference_is_complete_the_plain_image_is_shown(plain: np.ndarray) -> None:
    reference = Reference(3)
    reference.add(plain)
    shown = picture(plain, reference, SCALE, 'gelsight_left')
    head = shown.shape[0] - 128 * ZOOM
    middle = shown[head // 2 : head // 2 + 128 * ZOOM]
    enlarged = cv2.resize(plain, (160 * ZOOM, 128 * ZOOM), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(middle, enlarged)


def test_every_state_has_a_picture_of_its_own(plain: np.ndarray) -> None:
    states = [
        picture(None, Reference(3), SCALE, 'left'),
        picture(plain, Reference(3), SCALE, 'left'),
        picture(pressed(plain, 60), reference_of(plain), SCALE, 'left'),
        picture(pressed(plain, 60), reference_of(plain), SCALE, 'left', problem='no tactile frame for 2.0 s'),
    ]
    assert {state.shape for state in states} == {(128 * ZOOM + 2 * (LINE_PX + 6), 160 * ZOOM, 3)}
    assert all(state.dtype == np.uint8 for state in states)
    assert len({state.tobytes() for state in states}) == len(states)


def test_the_residual_is_shown_beside(plain: np.ndarray) -> None:
    residual = np.zeros((16, 20))
    residual[4, 5] = 3.0
    without = picture(plain, reference_of(plain), SCALE, 'left')
    shown = picture(plain, reference_of(plain), SCALE, 'left', residual)
    assert shown.shape[0] == without.shape[0]
    panel = shown[LINE_PX + 6 :][: plain.shape[0], without.shape[1] + 4 :].astype(int)
    row, column = np.unravel_index(panel.sum(axis=-1)[2:-2, 2:-2].argmax(), panel[2:-2, 2:-2].shape[:2])
    cell = panel.shape[0] / 16
    assert (int((row + 2) // cell), int((column + 2) // cell)) == (4, 5)


@pytest.mark.parametrize('residual', [np.full((16, 20), np.nan), np.zeros((16, 20))])
def test_a_residual_that_says_nothing_is_dark(plain: np.ndarray, residual: np.ndarray) -> None:
    shown = picture(plain, reference_of(plain), SCALE, 'left', residual)
    assert shown[80, 160 * ZOOM + 80].max() < 120


def test_the_residuals_scale_does_not_follow_its_maximum(plain: np.ndarray) -> None:
    noise, event = np.full((16, 20), 0.3), np.full((16, 20), 9.0)
    drawn = [picture(plain, reference_of(plain), SCALE, 'left', values) for values in (noise, event)]
    place = drawn[0][80, 160 * ZOOM + 80].astype(int).sum(), drawn[1][80, 160 * ZOOM + 80].astype(int).sum()
    assert place[0] + 150 < place[1]


def test_wrong_shapes_and_scales_are_refused(plain: np.ndarray) -> None:
    with pytest.raises(ViewError, match='take the reference anew'):
        pixel_change(plain, np.zeros((64, 80, 3), np.uint8))
    with pytest.raises(ViewError, match='residual map of shape'):
        picture(plain, reference_of(plain), SCALE, 'left', np.zeros(5))
    with pytest.raises(ViewError, match='expected 0 <= threshold < full'):
        HeatScale(threshold=60, full=6)
