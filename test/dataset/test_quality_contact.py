"""Contact levels and phases, against sequences made by hand."""

import numpy as np
import pytest

from restac_ros.dataset.freezes import ContentWatch
from restac_ros.dataset.quality.contact import MIN_LEVEL, ContactMeter, contact_phases, looks_pressed

FREE = np.full((128, 160, 3), 90, np.uint8)


def pressed(depth: int) -> np.ndarray:
    """A change of one channel in a patch of 2 % of the sensor."""
    image = FREE.copy()
    image[40:60, 50:71, 1] += np.uint8(depth)
    return image


def test_the_level_is_the_depth_of_a_small_contact() -> None:
    meter = ContactMeter()
    levels = [meter.level(image) for image in [FREE] * 5 + [pressed(30), FREE]]
    assert levels == [None] * 5 + [30.0, 0.0]
    assert meter.threshold == MIN_LEVEL


def test_noise_raises_the_threshold_and_is_no_contact() -> None:
    rng = np.random.default_rng(0)
    meter = ContactMeter()
    noisy = [np.clip(FREE + rng.normal(0, 1.5, FREE.shape), 0, 255).astype(np.uint8) for _ in range(40)]
    levels = [level for image in noisy if (level := meter.level(image)) is not None]
    assert MIN_LEVEL < meter.threshold < 30
    assert max(levels) < 0.6 * meter.threshold


def test_a_beginning_in_motion_is_no_reference() -> None:
    meter = ContactMeter()
    for depth in range(10, 130, 20):
        assert meter.level(pressed(depth)) is None
    for _ in range(5):
        meter.level(FREE)
    assert np.array_equal(meter.reference, FREE)


def test_a_reference_taken_anew_forgets_the_one_before() -> None:
    meter = ContactMeter(2)
    for image in (FREE, pressed(8)):
        meter.level(image)
    assert (meter.noise, meter.collected) == (4.0, 2)
    meter.restart()
    assert (meter.reference, meter.noise, meter.collected) == (None, 0.0, 0)
    assert [meter.level(image) for image in (pressed(30), pressed(30), FREE)] == [None, None, 30.0]


@pytest.mark.parametrize('depth', [20, 100])
@pytest.mark.parametrize('noise', [0.0, 3.0])
@pytest.mark.parametrize('dots', [False, True])
def test_of_two_images_the_one_with_the_imprint_looks_pressed(depth: int, noise: float, dots: bool) -> None:
    rng = np.random.default_rng(0)
    images = [FREE.astype(float), pressed(depth).astype(float)]
    for image in images:
        image += np.linspace(0, 60, 160)[:, None]  # lamps light the gel unevenly
        if dots:  # as are printed on some gels
            image[5::12, 5::12] -= 60
        image += rng.normal(0, noise, image.shape)
    free, imprinted = (np.clip(image, 0, 255).astype(np.uint8) for image in images)
    assert looks_pressed(imprinted, free)
    assert not looks_pressed(free, imprinted)


def test_a_lamp_that_changes_is_no_imprint() -> None:
    lit = np.clip(FREE + np.linspace(0, 60, 160)[:, None], 0, 255).astype(np.uint8)
    assert not looks_pressed(lit, lit - 40)
    assert not looks_pressed(lit - 40, lit)


@pytest.mark.parametrize(
    ('levels', 'expected'),
    [
        ([0, 0, 12, 20, 8, 5, 0], [(2, 4, 20, 3)]),  # 8 is above 60 % of 10: still in contact
        ([15, 15], [(0, 1, 15, 0)]),  # lasts to the end
        ([9, 9, 7, 9], []),
        ([11, 0, 11, 0], [(0, 0, 11, 0), (2, 2, 11, 2)]),
        ([np.nan, 11, np.nan, 11], [(1, 1, 11, 1), (3, 3, 11, 3)]),
        ([], []),
    ],
)
def test_phases(levels: list[float], expected: list[tuple[float, ...]]) -> None:
    times = np.arange(len(levels), dtype=float)
    phases = contact_phases('left', times, np.array(levels, float), threshold=10.0)
    assert [(phase.start_s, phase.end_s, phase.peak, phase.peak_s) for phase in phases] == expected


def test_runs_of_equal_content() -> None:
    watch = ContentWatch()
    for stamp, letter in enumerate('aabcccd'):
        watch.add(np.frombuffer(letter.encode() * 9000, np.uint8), stamp)
    assert [tuple(run) for run in watch.runs()] == [(0, 1, 2), (3, 5, 3)]


def test_content_that_differs_only_in_its_last_byte() -> None:
    watch = ContentWatch()
    for stamp in range(3):
        content = np.zeros(9000, np.uint8)
        content[-1] = stamp
        watch.add(content, stamp)
    assert watch.runs() == []
