"""The end of a motion, at times that are handed in."""

from collections.abc import Sequence

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.runtime.motion_end import STILL_M, STILL_RAD, MotionEnd

MS = 10**6
STILL_NS, PERIOD_NS = 200 * MS, 50 * MS
HERE = np.array([0.5, 0.0, 0.1, np.pi, 0.0, 0.0, 0.04])


@pytest.fixture(scope='module')
def contract(repository) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


def ends(motion: MotionEnd, along: Sequence[float], axis: int, first_ns: int = 0) -> list[int]:
    """Numbers of the states, moved by so much along an axis, at which a motion ended."""
    found = []
    for number, value in enumerate(along):
        state = HERE.copy()
        state[axis] += value
        if motion.ends(state, first_ns + number * PERIOD_NS):
            found.append(number)
    return found


@pytest.mark.parametrize(('axis', 'much'), [(0, 20 * STILL_M), (6, -20 * STILL_M), (5, 20 * STILL_RAD)])
def test_a_motion_ends_once_when_all_has_stood_still_for_so_long(
    axis: int, much: float, contract: Contract
) -> None:
    """It moves until the sixth state; four periods later it has stood still."""
    course = [0.0, 0.0, *np.linspace(0, much, 5)[1:], *[much] * 10]
    assert ends(MotionEnd(contract, STILL_NS), course, axis) == [9]


def test_noise_is_no_motion_and_two_motions_end_twice(contract: Contract) -> None:
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, 60) * STILL_M
    assert ends(MotionEnd(contract, STILL_NS), noise, 0) == []
    there = 20 * STILL_M
    course = [0.0, there, *[there] * 8, 0.0, *[0.0] * 8]
    assert ends(MotionEnd(contract, STILL_NS), course + noise[: len(course)], 0) == [5, 14]


def test_angles_that_differ_by_a_turn_are_no_motion(contract: Contract) -> None:
    assert ends(MotionEnd(contract, STILL_NS), [0.0, -2 * np.pi] * 10, 3) == []


def test_a_clock_that_is_set_back_begins_anew(contract: Contract) -> None:
    motion = MotionEnd(contract, STILL_NS)
    assert ends(motion, [0.0, 20 * STILL_M], 0, first_ns=10**12) == []
    assert ends(motion, [20 * STILL_M] * 6, 0) == [4]  # it had moved
