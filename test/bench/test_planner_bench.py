"""The planner's benchmark: its targets, and a token beside its floor on a small network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restac_ros.bench.plan_delay import PLAN_TOKENS, compared, measure_plan_delay, speaking_policy
from restac_ros.bench.planning import PlannerFigures, measure_saying
from restac_ros.bench.table import missed_targets
from restac_ros.contract.load import load_contract
from small_network import SMALL

REACHED = PlannerFigures(
    learning_s=100.0,
    trained_right=1.0,
    held_out_right=0.96,
    say_s=0.01,
    floor_s=0.009,
    touch=compared([5.0, 6.0, 20.0], [6.0, 7.0, 25.0], plans=4, tokens=12),
    load_average=0.5,
)


def test_each_target_is_missed_by_itself() -> None:
    assert missed_targets(REACHED.rows) == []
    for changes, text in (
        ({'trained_right': 0.99}, 'right of the frames trained on: 99.0%'),
        ({'held_out_right': 0.94}, 'right of held-out frames: 94.0%'),
        ({'learning_s': 301.0}, 'learning: 301 s'),
        ({'floor_s': 0.007}, 'share of the floor: 0.70'),
        ({'touch': replace(REACHED.touch, delay_ms=10.1)}, 'delay by a plan, of 3 by rank: 10.1 ms'),
    ):
        (missed,) = missed_targets(replace(REACHED, **changes).rows)
        assert missed.startswith(text)


def test_a_token_and_its_floor_are_timed() -> None:
    say_s, floor_s = measure_saying(SMALL, 2)
    assert min(say_s, floor_s) > 0


def test_a_delay_is_the_largest_difference_of_readings_of_equal_rank() -> None:
    assert REACHED.touch.delay_ms == pytest.approx(5.0)  # 25 ms beside 20: none is later by 25 - 5
    rng = np.random.default_rng(0)
    alone = rng.permutation(101) / 10
    later = compared(alone.tolist(), (rng.permutation(alone) + 3.0).tolist(), plans=1, tokens=12)
    assert later.delay_ms == pytest.approx(3.0)
    assert (later.alone_ms, later.readings) == (pytest.approx((5.0, 9.9, 10.0)), 101)
    assert compared([5.0, 6.0], [4.0, 5.0], plans=1, tokens=12).delay_ms < 0


def test_touch_is_read_beside_plans_and_alone(repository: Path, tmp_path: Path) -> None:
    contract = load_contract(repository / 'config' / 'contract.yaml')
    patient = {
        name: spec.model_copy(update={'max_age_ms': 60_000}) for name, spec in contract.streams.items()
    }
    policy = speaking_policy(tmp_path, contract.model_copy(update={'streams': patient}), 'tiny_cnn')
    found = measure_plan_delay(policy, rounds=1, readings=3)
    assert found.readings >= 3
    assert found.plans >= 1
    assert 0 < found.tokens <= PLAN_TOKENS
    assert min(*found.alone_ms, *found.beside_ms) > 0
