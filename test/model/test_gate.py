"""Every gate: its formula, the reference's table, and that it compiles and differentiates."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.model.gate import MIN_TEMPERATURE, NecessityGate, is_saturated, make_gate

_KINDS = ('necessity', 'scaled_necessity', 'learnable', 'factorized')
_Q_EVENT = jnp.asarray(np.random.default_rng(0).standard_normal((5, 64)), jnp.float32)
_LOGVAR = jnp.linspace(-12.0, 1.0, 5)[:, None]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ('stored', 'kind'),
    [
        ('necessity', 'scaled_necessity'),
        ('necessity_trained', 'scaled_necessity'),
        ('learnable', 'learnable'),
    ],
)
@pytest.mark.parametrize('name', ['restac_forcevla_uneven_io', 'restac_token_in_ae_uneven_io'])
def test_published_gates_agree_with_the_reference_table(
    golden: Callable, name: str, stored: str, kind: str
) -> None:
    file = golden(name)
    gate = make_gate(kind, 64, rngs=nnx.Rngs(0))
    state = nnx.state(gate)
    for path, value in file.under(f'gate_params/{stored}/').items():
        leaf = state
        for part in path.split('/'):
            leaf = leaf[part]
        leaf[...] = jnp.asarray(value)
    nnx.update(gate, state)
    logvar = jnp.asarray(file['gate_table/logvar'])
    result = gate(logvar, jnp.zeros((len(logvar), 64)))
    np.testing.assert_allclose(result, file[f'gate_table/{stored}'], atol=1e-6)


def test_scaled_necessity_starts_where_the_facts_say() -> None:
    gate = make_gate('scaled_necessity', 64, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(gate(jnp.array([[-9.5]]), _Q_EVENT[:1]), 0.349, atol=5e-4)
    np.testing.assert_allclose(gate(jnp.array([[5.0]]), _Q_EVENT[:1]), 0.698, atol=5e-4)


def test_necessity_starts_as_the_sigmoid_of_standardised_logvar() -> None:
    gate = make_gate('necessity', 64, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(gate(_LOGVAR, _Q_EVENT), _sigmoid(np.asarray(_LOGVAR)), atol=1e-6)


def test_necessity_survives_a_temperature_trained_through_zero() -> None:
    gate = NecessityGate(64, rngs=nnx.Rngs(0))
    gate.temperature[...] = jnp.asarray(-0.3)
    expected = _sigmoid(np.clip(np.asarray(_LOGVAR) / MIN_TEMPERATURE, -80, 80))
    np.testing.assert_allclose(gate(_LOGVAR, _Q_EVENT), expected, atol=1e-6)


def test_factorized_never_exceeds_necessity_and_reads_the_touch() -> None:
    gate = make_gate('factorized', 64, rngs=nnx.Rngs(0))
    value = gate(_LOGVAR, _Q_EVENT)
    assert (value < gate.necessity(_LOGVAR, _Q_EVENT)).all()
    assert not np.allclose(value, gate(_LOGVAR, -_Q_EVENT))


def test_off_has_no_gate() -> None:
    assert make_gate('off', 64, rngs=nnx.Rngs(0)) is None


@pytest.mark.parametrize('kind', _KINDS)
def test_every_gate_compiles_and_every_parameter_gets_a_gradient(kind: str) -> None:
    """The published necessity gate could be neither compiled nor differentiated (defect 13)."""
    gate = make_gate(kind, 64, rngs=nnx.Rngs(0))
    graph, state = nnx.split(gate)
    near_centre = _LOGVAR - 9.5 if kind == 'scaled_necessity' else _LOGVAR

    @jax.jit
    def total(state: nnx.State) -> jax.Array:
        return nnx.merge(graph, state)(near_centre, _Q_EVENT).sum()

    np.testing.assert_allclose(total(state), gate(near_centre, _Q_EVENT).sum(), rtol=1e-6)
    for path, gradient in nnx.to_flat_state(jax.grad(total)(state)):
        assert np.isfinite(gradient).all(), path
        assert np.abs(gradient).max() > 0, path


@pytest.mark.parametrize('kind', _KINDS)
@given(logvar=st.floats(-1e4, 1e4))
@settings(deadline=None, max_examples=25)
def test_gates_stay_between_zero_and_one(kind: str, logvar: float) -> None:
    gate = make_gate(kind, 64, rngs=nnx.Rngs(0))
    value = float(gate(jnp.full((1, 1), logvar, jnp.float32), _Q_EVENT[:1])[0, 0])
    assert 0.0 <= value <= 1.0


def test_saturation_is_flagged_at_both_ends() -> None:
    flags = is_saturated(jnp.array([[0.0], [0.019], [0.5], [0.981]]))
    np.testing.assert_array_equal(flags[:, 0], [True, True, False, True])
