"""Gates: how far touch may enter the action, from the uncertainty of the tactile prediction.

Each gate maps log variance [B, 1] (and, for one, the event code [B, E]) to g in [0, 1], in float32 whatever
the parameters' dtype. Parameter names of the last two are those of the published ResTac code, so its
checkpoints load.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.config import GateKind

SATURATED_BELOW = 0.02
SATURATED_ABOVE = 0.98
MIN_TEMPERATURE = 1e-2

type Scalar = Float[Array, '']


def _scalar(value: float) -> nnx.Param[Scalar]:
    return nnx.Param(jnp.asarray(value, jnp.float32))


def _float32(parameter: nnx.Param[Scalar]) -> Scalar:
    return parameter[...].astype(jnp.float32)


class NecessityGate(nnx.Module):
    """g = sigmoid((logvar - threshold) / temperature) on standardised logvar (ResTac, arXiv 2607.03387).

    The temperature is kept above MIN_TEMPERATURE, where the gate is a step already.
    """

    reads_raw_logvar = False

    def __init__(self, event_dim: int, *, rngs: nnx.Rngs) -> None:
        del event_dim, rngs
        self.threshold = _scalar(0.0)
        self.temperature = _scalar(1.0)

    def __call__(self, logvar: Float[Array, 'B 1'], q_event: Float[Array, 'B E']) -> Float[Array, 'B 1']:
        """Return g; the event code is not used."""
        temperature = jnp.maximum(_float32(self.temperature), MIN_TEMPERATURE)
        return jax.nn.sigmoid((logvar - _float32(self.threshold)) / temperature)


class FactorizedGate(nnx.Module):
    """Necessity times sigmoid(MLP(q_event)): the first release's gate, which also reads the touch."""

    reads_raw_logvar = False
    hidden_dim = 256

    def __init__(self, event_dim: int, *, rngs: nnx.Rngs) -> None:
        self.necessity = NecessityGate(event_dim, rngs=rngs)
        self.modulation_in = nnx.Linear(event_dim, self.hidden_dim, rngs=rngs)
        self.modulation_out = nnx.Linear(self.hidden_dim, 1, rngs=rngs)

    def __call__(self, logvar: Float[Array, 'B 1'], q_event: Float[Array, 'B E']) -> Float[Array, 'B 1']:
        """Return g, which never exceeds the necessity gate's."""
        hidden = nnx.relu(self.modulation_in(q_event))
        return self.necessity(logvar, q_event) * jax.nn.sigmoid(
            self.modulation_out(hidden).astype(jnp.float32)
        )


class ScaledNecessityGate(nnx.Module):
    """The published code's gate on raw logvar: a sigmoid with a learned centre, slope and height, clipped.

    At its initial values: slope 5.107, height 0.698, g(-9.5) = 0.349.
    """

    reads_raw_logvar = True

    def __init__(self, event_dim: int, *, rngs: nnx.Rngs) -> None:
        del event_dim, rngs
        self.logvar_center = _scalar(-9.5)
        self.sensitivity = _scalar(5.0)
        self.output_scale = _scalar(0.01)

    def __call__(self, logvar: Float[Array, 'B 1'], q_event: Float[Array, 'B E']) -> Float[Array, 'B 1']:
        """Return g; the event code is not used."""
        slope = jax.nn.softplus(_float32(self.sensitivity)) + 0.1
        height = jax.nn.softplus(_float32(self.output_scale)) + 1e-6
        return jnp.clip(height * jax.nn.sigmoid((logvar - _float32(self.logvar_center)) * slope), 0.0, 1.0)


@dataclass(frozen=True)
class ForcedGate:
    """A gate that stands where it was put; none of a checkpoint."""

    value: float | Float[Array, '']
    reads_raw_logvar: bool = False

    def __call__(self, logvar: Float[Array, 'B 1'], q_event: Float[Array, 'B E']) -> Float[Array, 'B 1']:
        """Return the value for every sample."""
        del q_event
        return jnp.full(logvar.shape, self.value, jnp.float32)


class LearnableGate(nnx.Module):
    """g = sigmoid(kernel * logvar + bias)."""

    reads_raw_logvar = False

    def __init__(self, event_dim: int, *, rngs: nnx.Rngs) -> None:
        del event_dim
        self.proj = nnx.Linear(1, 1, rngs=rngs)

    def __call__(self, logvar: Float[Array, 'B 1'], q_event: Float[Array, 'B E']) -> Float[Array, 'B 1']:
        """Return g; the event code is not used."""
        return jax.nn.sigmoid(self.proj(logvar).astype(jnp.float32))


Gate = NecessityGate | FactorizedGate | ScaledNecessityGate | LearnableGate

_GATES: dict[GateKind, type[Gate]] = {
    'necessity': NecessityGate,
    'factorized': FactorizedGate,
    'scaled_necessity': ScaledNecessityGate,
    'learnable': LearnableGate,
}


def make_gate(kind: GateKind, event_dim: int, *, rngs: nnx.Rngs) -> Gate | None:
    """The gate of this kind; None for 'off', which is g = 1."""
    return None if kind == 'off' else _GATES[kind](event_dim, rngs=rngs)


def is_saturated(gate: Float[Array, 'B 1']) -> Float[Array, 'B 1']:
    """True where the gate is as good as shut or open, so that it passes no gradient."""
    return (gate < SATURATED_BELOW) | (gate > SATURATED_ABOVE)
