"""The loss of each data set: over the steps since the last report, of the sets that occurred in them."""

import jax.numpy as jnp
import pytest

from restac_ros.policy.normalization import Quantiles
from restac_ros.training.numbers import over_steps, report_numbers
from restac_ros.training.objective import means

ACTIONS = Quantiles(q01=(-1.0,) * 7, q99=(1.0,) * 7, mean=(0.0,) * 7, std=(1.0,) * 7)
NAMES = ['/data/plug', '/data/evening', '/data/night']


def report(loss: list[float], valid: list[float]) -> dict:
    """Of a step whose batch holds so many action steps of each data set."""
    return means(
        {
            'valid': jnp.asarray(sum(valid)),
            'flow_loss': jnp.asarray(sum(loss)),
            'flow_loss_by_dim': jnp.ones(7),
            'source_loss': jnp.asarray(loss),
            'source_valid': jnp.asarray(valid),
        }
    )


def by_data_set(found: dict[str, float]) -> dict[str, float]:
    return {name.split('/')[1]: value for name, value in found.items() if name.startswith('flow_loss_of/')}


def test_a_data_set_without_a_sample_is_left_out() -> None:
    found = report_numbers(report([3.0, 0.0, 0.0], [2.0, 0.0, 4.0]), ACTIONS, NAMES)
    assert by_data_set(found) == {'0_plug': 1.5, '2_night': 0.0}
    assert not {'source_loss', 'source_valid', 'valid'} & set(found)


def test_each_data_set_counts_over_all_steps_since_the_last_report() -> None:
    steps = [report([3.0, 4.0, 0.0], [2.0, 1.0, 0.0]), report([1.0, 0.0, 0.0], [6.0, 0.0, 0.0])]
    found = report_numbers(over_steps(steps), ACTIONS, NAMES)
    assert by_data_set(found) == {'0_plug': 0.5, '1_evening': 4.0}
    assert found['flow_loss'] == pytest.approx(1 / 6), 'everything else is of the last step'


def test_a_run_that_learns_texts_alone_has_no_loss_of_data_sets() -> None:
    assert over_steps([{'loss': 1.0}, {'loss': 2.0}]) == {'loss': 2.0}
    assert report_numbers({'loss': 2.0}, ACTIONS, NAMES) == {'loss': 2.0}
