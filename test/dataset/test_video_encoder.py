"""The encoder's statistics are LeRobot's, number for number."""

import numpy as np
import pytest
from lerobot.datasets.compute_stats import RunningQuantileStats

from restac_ros.dataset.video_encoder import PixelStatistics


@pytest.mark.parametrize('seed', range(6))
def test_statistics_are_lerobots(seed: int) -> None:
    """Ranges grow from frame to frame, and a channel may be constant."""
    rng = np.random.default_rng(seed)
    ours, theirs = PixelStatistics(), RunningQuantileStats()
    for _ in range(5):
        low = rng.integers(0, 120)
        pixels = rng.integers(low, rng.integers(low + 1, 257), (500, 3), dtype=np.uint8)
        pixels[:, 1] = 255 * (seed % 2)
        ours.update(pixels)
        theirs.update(pixels)
    found, expected = ours.get_statistics(), theirs.get_statistics()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
