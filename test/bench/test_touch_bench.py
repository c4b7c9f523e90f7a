"""The touch benchmark holds what an evaluation found against its targets."""

from dataclasses import replace

import pytest

from restac_ros.bench.settings import TouchBench
from restac_ros.bench.table import missed_targets
from restac_ros.bench.touch import ARMS, CONTROL, FELT, TOKEN, TouchFigures, figures_of
from restac_ros.training.config import CONFIGS


def estimate(value: float) -> dict:
    return {'value': value, 'low': value - 0.01, 'high': value + 0.01}


def evaluation(token_change: float, shuffled: float) -> dict:
    """As `evaluation.json` says it, of the fields that count."""

    def one(error: float, touch: object) -> dict:
        by_dimension = dict.fromkeys(FELT, estimate(error))
        contact = {'action': estimate(error), 'by_dimension': by_dimension}
        return {'errors': {'contact': contact}, 'touch': touch}

    touch = {
        'verdict': {'verdict': 'used', 'reason': ''},
        'ablations': {
            'shuffled': {
                'contact': {'by_dimension': {'ee_y': estimate(shuffled), 'ee_rot_z': estimate(0.21)}}
            }
        },
    }
    changes = [{'change': {'contact': estimate(change)}} for change in (token_change, -0.1)]
    return {'checkpoints': [one(0.2, 'no touch'), one(0.1, touch), one(0.18, touch)], 'comparisons': changes}


@pytest.fixture
def reached() -> TouchFigures:
    return figures_of(evaluation(-0.5, 0.25), dict.fromkeys(ARMS, 300.0))


def test_what_is_reached_misses_nothing(reached: TouchFigures) -> None:
    assert missed_targets(reached.rows) == []
    assert reached.arms[CONTROL].gain is None
    assert reached.arms[CONTROL].verdict == 'no touch'
    token = reached.arms[TOKEN]
    assert (token.gain, token.gain_range) == (0.5, pytest.approx((0.49, 0.51)))
    assert token.shuffled['ee_y'] == pytest.approx((1.2, 1.3))
    assert token.felt == dict.fromkeys(FELT, 0.1)


@pytest.mark.parametrize(
    ('found', 'said'),
    [
        (evaluation(-0.29, 0.25), 'tiny: less than without touch: 29.0% [28.0%, 30.0%], expected >= 30%'),
        (evaluation(+0.005, 0.25), 'tiny: less than without touch: -0.5%'),
        (evaluation(-0.5, 0.15), 'tiny: error of ee_y, shuffled touch: 70% to 80% of that without touch'),
    ],
)
def test_a_missed_target_is_named(found: dict, said: str) -> None:
    (text,) = missed_targets(figures_of(found, dict.fromkeys(ARMS)).rows)
    assert text.startswith(said)


def test_a_wrong_verdict_and_a_long_training_are_named(reached: TouchFigures) -> None:
    token = replace(reached.arms[TOKEN], verdict='not used', training_s=901.0)
    assert missed_targets(replace(reached, arms={**reached.arms, TOKEN: token}).rows) == [
        'tiny: training: 901 s, expected <= 900 s',
        'tiny: touch: not used, expected used',
    ]


def test_arms_are_configurations_of_equal_length() -> None:
    assert len({TouchBench().steps_of(name) for name in ARMS}) == 1
    assert {CONFIGS[name].preset for name in ARMS} == {
        'tiny_cnn',
        'tiny_cnn_forcevla',
        'tiny_cnn_no_touch',
    }
