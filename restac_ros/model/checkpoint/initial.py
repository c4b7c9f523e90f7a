"""Initial values by leaf name, one leaf at a time and without compiling anything.

Two uses. Training starts its new leaves (touch, gate, adapters) as usual: weights by fan-in, constants exact.
A demonstration checkpoint moves every constant off its value too, since a freshly initialised pi0.5 ignores
images, prompt and touch: the vision head and all modulations start at zero.
"""

import re
import zlib
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from restac_ros.model.checkpoint.errors import CheckpointError

JITTER = 0.05
"""Standard deviation by which a demonstration moves biases and norm scales."""

_SLAB = 4 << 20


@dataclass(frozen=True)
class Rule:
    """Value = constant + deviation * N(0, 1).

    Attributes:
        pattern: matched against the end of the leaf's name.
        constant: value at the start of training, where `fan_in` is None.
        fan_in: axes over which a weight sums (counted from the end); deviation 1 / sqrt(their size).
        zero: the weight starts at zero in training; demonstrations use `fan_in`.
        deviation: spread in training; None for a constant.
        fixed: demonstrations keep the constant.
    """

    pattern: str
    constant: float = 0.0
    fan_in: tuple[int, ...] | None = None
    zero: bool = False
    deviation: float | None = None
    fixed: bool = False


_RULES: tuple[Rule, ...] = (
    # Gemma's einsums, with layers (and pairs) on leading axes.
    Rule(r'lora_[ab]', deviation=0.01),
    Rule(r'(q_einsum|kv_einsum)(_\d+)?/w', fan_in=(-2,)),
    Rule(r'attn_vec_einsum(_\d+)?/w', fan_in=(-3, -2)),
    Rule(r'mlp(_\d+)?/(gating_einsum|linear)', fan_in=(-2,)),
    Rule(r'input_embedding', fan_in=(-1,)),
    Rule(r'PaliGemma/llm/.*Dense_0/kernel', fan_in=(-2,), zero=True),
    Rule(r'PaliGemma/llm/.*/scale'),
    # SigLIP, and the fusion attention.
    Rule(r'PaliGemma/img/head/kernel', fan_in=(-2,), zero=True),
    Rule(r'PaliGemma/img/embedding/kernel', fan_in=(-4, -3, -2)),
    Rule(r'pos_embedding', fan_in=(-1,)),
    Rule(r'(MultiHeadDotProductAttention_0|fusion_self_attn)/(query|key|value)/kernel', fan_in=(-3,)),
    Rule(r'(MultiHeadDotProductAttention_0|fusion_self_attn)/out/kernel', fan_in=(-3, -2)),
    Rule(r'PaliGemma/img/.*Dense_\d/kernel', fan_in=(-2,)),
    # Gates start as published.
    Rule(r'gate/(necessity/)?threshold', constant=0.0, fixed=True),
    Rule(r'gate/(necessity/)?temperature', constant=1.0, fixed=True),
    Rule(r'gate/logvar_center', constant=-9.5, fixed=True),
    Rule(r'gate/sensitivity', constant=5.0, fixed=True),
    Rule(r'gate/output_scale', constant=0.01, fixed=True),
    Rule(r'default_tactile_embedding', fan_in=(-2,), zero=True),
    # Unit-Align.
    Rule(r'quantizer/(embed|embed_avg)', deviation=1.0),
    Rule(r'quantizer/cluster_size', constant=1.0, fixed=True),
    Rule(r'/mean', constant=0.0),
    Rule(r'/var', constant=1.0),
    # Everything else: convolutions and linear layers sum over all axes but the last.
    Rule(r'/scale', constant=1.0),
    Rule(r'bias', constant=0.0),
    Rule(r'kernel', fan_in=()),
)


def initial_leaf(
    name: str, shape: tuple[int, ...], dtype: np.dtype, seed: int, *, everything: bool
) -> np.ndarray:
    """Draw one leaf; it depends on `seed` and its name only.

    Args:
        name: slash-joined leaf name.
        shape: its shape.
        dtype: of the result; values are drawn in float32, slab by slab.
        seed: of the whole model.
        everything: move constants too, so that every input of the network matters.

    Raises:
        CheckpointError: a leaf that no rule covers.
    """
    constant, deviation = initial_distribution(name, shape, everything=everything)
    out = np.full(shape, constant, dtype)
    if deviation:
        # The codebook's running sum starts as the codebook: both draw the same numbers.
        stream = name.removesuffix('_avg') if name.endswith('quantizer/embed_avg') else name
        rng = np.random.Generator(np.random.SFC64([seed, zlib.crc32(stream.encode())]))
        flat = out.reshape(-1)
        for start in range(0, flat.size, _SLAB):
            part = flat[start : start + _SLAB]
            draw = rng.standard_normal(part.size, np.float32)
            part[:] = constant + deviation * (np.abs(draw) if name.endswith('/var') else draw)
    return out


def fan_in_axes(name: str) -> tuple[int, ...]:
    """Axes, counted from the end, over which a weight sums in its product.

    Raises:
        CheckpointError: a leaf that is no weight.
    """
    axes = _rule(name).fan_in
    if not axes:
        raise CheckpointError(f'leaf {name!r}: found no axes that it sums over, expected a weight')
    return axes


def _rule(name: str) -> Rule:
    for rule in _RULES:
        if re.search(rf'({rule.pattern})$', name):
            return rule
    raise CheckpointError(f'leaf {name!r}: no rule initialises it; load it from a checkpoint')


def initial_distribution(name: str, shape: tuple[int, ...], *, everything: bool) -> tuple[float, float]:
    """Constant and standard deviation of a leaf's values; see `initial_leaf`."""
    rule = _rule(name)
    if rule.fan_in is not None:
        summed = prod(shape[axis] for axis in rule.fan_in) if rule.fan_in else prod(shape[:-1])
        return 0.0, (1.0 / sqrt(summed) if everything or not rule.zero else 0.0)
    if rule.deviation is not None:
        return rule.constant, rule.deviation
    return rule.constant, (JITTER if everything and not rule.fixed else 0.0)
