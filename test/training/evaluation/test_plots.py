"""Pictures of an evaluation can be read: one extreme value flattens no others, and colours stay."""

import cv2
import numpy as np
import pytest

from restac_ros.training.evaluation.bootstrap import Estimate
from restac_ros.training.evaluation.plots import bars_png, cut_above


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([0.1, 0.5, 0.4, 37.0], 0.625),
        ([0.1, 0.5, 0.4, 1.4], None),
        ([0.1, 0.5, 20.0, 37.0], None),  # half of them are no exceptions
        ([0.4, 0.5, 0.4, 0.5, 0.4, 0.5, 9.0, 37.0], 0.625),
        ([0.0, 0.0, 0.0, 37.0], None),
        ([-0.2, 0.1], None),
        ([], None),
    ],
)
def test_few_bars_far_above_all_others_are_cut_off(values: list[float], expected: float | None) -> None:
    assert cut_above(values) == pytest.approx(expected)


def estimates(*values: float) -> dict[str, Estimate]:
    return {str(number): Estimate(value, 0.9 * value, 1.1 * value) for number, value in enumerate(values)}


def colours(png: bytes) -> dict[tuple, int]:
    """Pixels of each colour that is no grey, of those with 5000 and more: bars."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    found, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    kept = (np.ptp(found.astype(int), axis=1) > 40) & (counts >= 5000)
    return dict(zip(map(tuple, found[kept].tolist()), counts[kept].tolist(), strict=True))


def test_an_extreme_bar_leaves_the_others_as_tall_as_they_were() -> None:
    plain, extreme = (
        bars_png({'one': estimates(0.5, 0.4, 0.3, 0.45), 'two': estimates(0.2, 0.3, 0.4, last)}, 'rise')
        for last in (0.5, 50.0)
    )
    (colour, tall), _ = sorted(colours(plain).items(), key=lambda item: -item[1])
    assert colours(extreme)[colour] > 0.7 * tall


def test_bars_whose_interval_is_unknown_are_drawn_without_one() -> None:
    known = estimates(0.5, 0.4, 0.3, 50.0)
    unknown = {name: Estimate(one.value, np.nan, np.nan) for name, one in known.items()}
    assert set(colours(bars_png({'one': unknown}, 'rise'))) == set(colours(bars_png({'one': known}, 'rise')))


def test_a_checkpoint_without_estimates_leaves_its_colour_to_no_other() -> None:
    both = bars_png({'one': estimates(0.5, 0.4), 'two': estimates(0.2, 0.3)}, 'rise')
    second = bars_png({'one': {}, 'two': estimates(0.2, 0.3)}, 'rise')
    (colour,) = colours(second)
    assert len(colours(both)) == 2
    assert colour in colours(both)
