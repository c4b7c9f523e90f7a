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
    x = jnp.ones((side, side), jnp.bfloat16)
    data = jnp.zeros(size, jnp.uint8)
    product_s = _best_s(jax.jit(lambda: x @ x))
    copy_s = _best_s(jax.jit(lambda: data + jnp.uint8(1)))
    return Rates(2.0 * side**3 / product_s, 2.0 * size / copy_s)


def lower_bounds(
    config: ModelConfig, params: Params, rates: Rates, views: int, prompt_tokens: int, num_steps: int
) -> LeastTimes:
    """Return what sizes and rates allow."""
    flop = views * siglip_flop(config) + prefix_flop(config, views, prompt_tokens)
    read = sum(leaf.nbytes for name, leaf in params.items() if _is_of_prefix(name))
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
            key = jax.random.key(seed ^ zlib.crc32(name.encode()), impl='rbg')
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


def _is_of_prefix(name: str) -> bool:
    """Weights of SigLIP and of expert 0; of the table of words a few rows are read."""
    is_table = 'input_embedding' in name
    return name.startswith('PaliGemma/') and not is_table and not _is_of_second_expert(name)


def _is_of_expert(name: str) -> bool:
    """Weights that every Euler step reads; what its norms need is computed once."""
    return _is_of_second_expert(name) and 'norm' not in name


def _is_of_second_expert(name: str) -> bool:
    return any(part.endswith('_1') for part in name.split('/')[:-1] if name.startswith('PaliGemma/llm/'))


def _best_s(call: Callable[[], jax.Array]) -> float:
    jax.block_until_ready(call())
    times = []
    for _ in range(_ROUNDS):
        begun_s = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begun_s)
    return min(times)
