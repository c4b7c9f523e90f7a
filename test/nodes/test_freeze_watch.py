"""An image that repeats itself for too long is no image."""

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.framing.sample import Sample
from restac_ros.runtime.freeze_watch import FreezeWatch

SECOND = 10**9


@pytest.fixture
def watch(repository) -> FreezeWatch:
    return FreezeWatch(load_contract(repository / 'config' / 'contract.yaml'), 2 * SECOND)


def sample(stream: str, time_s: float, content: np.ndarray) -> Sample:
    """As drivers that hang publish it: the stamp is new."""
    time_ns = round(time_s * SECOND)
    cdr = b'\x00\x01\x00\x00' + time_ns.to_bytes(8, 'little') + content.tobytes()
    return Sample(stream, time_ns, time_ns, cdr)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, 5000, dtype=np.uint8)


def test_the_same_image_is_frozen_once_it_lasts_too_long(watch: FreezeWatch) -> None:
    for step in range(30):
        watch.add(sample('main', 1 + step / 10, image(7)))
    assert watch.reasons(3 * SECOND) == {}
    assert watch.reasons(4 * SECOND) == {'main': 'frozen: the same image for 3000 ms (limit 2000 ms)'}
    watch.add(sample('main', 4.1, image(8)))
    assert watch.reasons(round(4.2 * SECOND)) == {}


def test_one_changed_pixel_is_another_image(watch: FreezeWatch) -> None:
    for step in range(30):
        pixels = image(7)
        pixels[2000] = step
        watch.add(sample('gelsight_left', 1 + step / 10, pixels))
    assert watch.reasons(4 * SECOND) == {}


def test_joints_at_rest_are_not_frozen(watch: FreezeWatch) -> None:
    for step in range(30):
        watch.add(sample('joints', 1 + step / 10, image(7)))
    assert watch.reasons(4 * SECOND) == {}


def test_zero_watches_nothing(repository) -> None:
    watch = FreezeWatch(load_contract(repository / 'config' / 'contract.yaml'), 0)
    for step in range(30):
        watch.add(sample('main', 1 + step / 10, image(7)))
    assert watch.reasons(9 * SECOND) == {}
