"""The planner's benchmark: its targets, and a token beside its floor on a small network."""

from dataclasses import replace

from restac_ros.bench.planning import PlannerFigures, measure_saying
from small_network import SMALL

REACHED = PlannerFigures(learning_s=100.0, trained_right=1.0, held_out_right=0.96, say_s=0.01, floor_s=0.009)


def test_each_target_is_missed_by_itself() -> None:
    assert REACHED.missed == []
    for changes, text in (
        ({'trained_right': 0.99}, '99.0% of the subtasks trained on'),
        ({'held_out_right': 0.94}, '94.0% of held-out'),
        ({'learning_s': 301.0}, 'learning took 301 s'),
        ({'floor_s': 0.007}, '0.70 of the tokens'),
    ):
        (missed,) = replace(REACHED, **changes).missed
        assert text in missed


def test_a_token_and_its_floor_are_timed() -> None:
    say_s, floor_s = measure_saying(SMALL, 2)
    assert min(say_s, floor_s) > 0
