"""What a device can do, measured: matrix products and copies a second; and random weights made on it."""

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from restac_ros.bench.flops import act_flop, prefix_flop, siglip_flop
from restac_ros.model.checkpoint.initial import fan_in_axes, initial_distribution, initial_leaf
from restac_ros.model.checkpoint.int8_leaves import becomes_int8
from restac_ros.model.checkpoint.network import abstract_leaves
from restac_ros.model.checkpoint.params import CastRule, Params
from restac_ros.model.config import ModelConfig
from restac_ros.model.int8 import Int8Weight, to_integers

_SMALL = 1 << 20  # values; smaller leaves are drawn on the host
_ROUNDS = 5
_CPU_SIZES, _GPU_SIZES = (512, 8 << 20), (8192, 1 << 30)  # side of a product, bytes of a copy


@dataclass(frozen=True)
class Rates:
    """Measured rates of a device.

    Attributes:
        flop_s: of a bfloat16 product of square matrices.
        byte_s: read and written, of a copy in its own memory.
    """

    flop_s: float
    byte_s: float


@dataclass(frozen=True)
class LeastTimes:
    """Least seconds of each call: arithmetic at the measured rate, or reading the weights, what is longer."""

    prefix_s: float
    act_s: float

    @property
    def full_s(self) -> float:
        """Both; touch is small beside them."""
        return self.prefix_s + self.act_s


def measure_rates() -> Rates:
    """Time a large product and a large copy, the best of several."""
    side, size = _CPU_SIZES if jax.default_backend() == 'cpu' else _GPU_SIZES
    product_s = _best_s(multiplied, jax.random.normal(_key(0), (side, side), jnp.bfloat16))
    copy_s = _best_s(copied, jax.random.bits(_key(0), (size,), jnp.uint8))
    return Rates(2.0 * side**3 / product_s, 2.0 * size / copy_s)


@jax.jit
def multiplied(matrix: jax.Array) -> jax.Array:
    """Return a matrix times itself. It is an argument: of a constant, the compiler may compute ahead."""
    return matrix @ matrix


@jax.jit
def copied(data: jax.Array) -> jax.Array:
    """Read every byte of an argument and write another, as XLA leaves out a copy that changes nothing."""
    return data + jnp.uint8(1)


def lower_bounds(
    config: ModelConfig, params: Params, rates: Rates, views: int, prompt_tokens: int, num_steps: int
) -> LeastTimes:
    """Return what sizes and rates allow."""
    flop = views * siglip_flop(config) + prefix_flop(config, views, prompt_tokens)
    read = sum(leaf.nbytes * _read_share(name, config.paligemma.depth) for name, leaf in params.items())
    expert = sum(leaf.nbytes for name, leaf in params.items() if _is_of_expert(name))
    return LeastTimes(
        max(flop / rates.flop_s, read / rates.byte_s),
        max(
            act_flop(config, views, prompt_tokens, num_steps) / rates.flop_s,
            num_steps * expert / rates.byte_s,
        ),
    )


def random_params(config: ModelConfig, seed: int = 0) -> Params:
    """Draw every leaf in bfloat16 (touch and gate in float32), the large ones on the device."""
    cast, params = CastRule('bfloat16'), Params()
    for name, leaf in abstract_leaves(config).items():
        dtype = cast(name, leaf.dtype)
        if int(np.prod(leaf.shape)) < _SMALL or not jnp.issubdtype(dtype, jnp.floating):
            params[name] = jax.device_put(initial_leaf(name, leaf.shape, dtype, seed, everything=True))
        else:
            constant, deviation = initial_distribution(name, leaf.shape, everything=True)
            key = _key(seed ^ zlib.crc32(name.encode()))
            params[name] = constant + deviation * jax.random.normal(key, leaf.shape, dtype)
    return params


def in_integers(params: Params) -> Params:
    """Return the same weights as 8-bit integers, rounded on the device; the others are shared."""
    return {
        name: Int8Weight(*to_integers(leaf, fan_in_axes(name)))
        if becomes_int8(name) and isinstance(leaf, jax.Array)
        else leaf
        for name, leaf in params.items()
    }


def without_touch(config: ModelConfig, params: Params) -> tuple[ModelConfig, Params]:
    """Return the base policy in a network with touch: for fewer cameras than the tactile prior reads."""
    base = replace(config, fusion='none', tactile=None, logvar_calibration=None)
    return base, {name: params[name] for name in abstract_leaves(base)}


def _key(seed: int) -> jax.Array:
    return jax.random.key(seed, impl='rbg')  # the quickest on a device


def _read_share(name: str, depth: int) -> float:
    """Part of a leaf that a prefix reads: SigLIP's whole, expert 0's until its last layer's keys and values.

    Of the table of words a few rows are read, the final norm is not.
    """
    is_unread = 'input_embedding' in name or 'final_norm' in name or _is_of_second_expert(name)
    if is_unread or not name.startswith('PaliGemma/'):
        return 0.0
    is_stack = name.startswith('PaliGemma/llm/layers/')
    if is_stack and not any(part in name for part in ('kv_einsum', 'pre_attention_norm')):
        return (depth - 1) / depth
    return 1.0


def _is_of_expert(name: str) -> bool:
    """Weights that every Euler step reads; what its norms need is computed once."""
    return _is_of_second_expert(name) and 'norm' not in name


def _is_of_second_expert(name: str) -> bool:
    return any(part.endswith('_1') for part in name.split('/')[:-1] if name.startswith('PaliGemma/llm/'))


def _best_s(call: Callable[[jax.Array], jax.Array], argument: jax.Array) -> float:
    jax.block_until_ready(call(argument))
    times = []
    for _ in range(_ROUNDS):
        begun_s = time.perf_counter()
        jax.block_until_ready(call(argument))
        times.append(time.perf_counter() - begun_s)
    return min(times)
