"""In which arithmetic a network runs fastest here: by device and instruction set, measured once a machine."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from restac_ros.model.checkpoint.store import CheckpointInfo
from restac_ros.model.config import Dtype
from restac_ros.model.int8 import Int8Weight, apply_weight
from restac_ros.whole_files import read_bounded_json, replaced

CPU_FACTS = Path('/proc/cpuinfo')
MEASURED = 'arithmetic.json'
BFLOAT16_FLAGS = frozenset({'avx512_bf16', 'amx_bf16'})
INT8_FLAGS = frozenset({'avx512_vnni', 'avx_vnni', 'amx_int8'})
"""Instruction sets, as Linux names them."""

WORTHWHILE = 0.9
"""A faster arithmetic is chosen where it takes at most this share of the time of the more exact one."""

_TOKENS, _WIDTH, _HIDDEN = 816, 512, 2048  # a prefix of three cameras in a network of medium size
_ROUNDS = 10
_MAX_BYTES = 1 << 16

type Seconds = Mapping[str, float]
"""Of one product: 'float32', 'bfloat16', 'int8' (integer weights, bfloat16 tokens), 'integer' (both)."""


class Arithmetic(NamedTuple):
    """How a network computes, and why so.

    Attributes:
        dtype: of parameters and tokens.
        integer_products: tokens become integers where weights are.
        reason: for people.
    """

    dtype: Dtype
    integer_products: bool
    reason: str

    def __str__(self) -> str:
        integers = ', integer products' if self.integer_products else ''
        return f'{self.dtype}{integers} ({self.reason})'


def arithmetic_of(
    info: CheckpointInfo, asked: Literal['float32', 'bfloat16', 'auto'] | None, kept_in: Path
) -> Arithmetic:
    """Return the arithmetic that was asked for; None: the checkpoint's own.

    Args:
        info: of the checkpoint.
        asked: 'auto' chooses for this machine.
        kept_in: directory where what was measured is kept, one file for all checkpoints.
    """
    if asked == 'auto':
        return choose_arithmetic(jax.default_backend(), cpu_facts(), lambda: measured_once(kept_in))
    if asked is None:
        return Arithmetic(info.config.dtype, False, 'as the checkpoint says')
    return Arithmetic(asked, False, 'as asked for')


def choose_arithmetic(
    platform: str, facts: tuple[str, frozenset[str]], measure: Callable[[], Seconds]
) -> Arithmetic:
    """Choose by device, instruction set and, where these leave a choice, measured products.

    Args:
        platform: JAX's name, such as 'cpu'.
        facts: of `cpu_facts`.
        measure: seconds by arithmetic; called only where the instructions are there.
    """
    if platform != 'cpu':
        return Arithmetic('bfloat16', False, f'auto: {platform}')
    name, flags = facts
    if not flags & BFLOAT16_FLAGS:
        return Arithmetic('float32', False, f'auto: {name} has no bfloat16 instructions')
    seconds = measure()
    told = ', '.join(f'{kind} {1e3 * value:.1f} ms' for kind, value in seconds.items())
    reason = f'auto: {name}, one product: {told}'
    if seconds['bfloat16'] > WORTHWHILE * seconds['float32']:
        return Arithmetic('float32', False, reason)
    faster = seconds['integer'] <= WORTHWHILE * seconds['int8']
    return Arithmetic('bfloat16', bool(faster and flags & INT8_FLAGS), reason)


def cpu_facts(file: Path = CPU_FACTS) -> tuple[str, frozenset[str]]:
    """Return the CPU's name and instruction sets; no sets where Linux does not list them."""
    if not file.is_file():
        return 'this CPU', frozenset()
    lines = [line.partition(':') for line in file.read_text(encoding='utf-8', errors='replace').splitlines()]
    facts = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    return facts.get('model name', 'this CPU'), frozenset(facts.get('flags', '').split())


def measured_once(kept_in: Path) -> Seconds:
    """Return the seconds that this machine needs for each product, measured now unless it was before."""
    file, key = (
        kept_in / MEASURED,
        f'{cpu_facts()[0]}, {len(os.sched_getaffinity(0))} cores, jax {jax.__version__}',
    )
    known = _read(file)
    if key not in known:
        known = {**known, key: measure_products()}
        kept_in.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replaced(file) as partial:
            partial.write_text(json.dumps(known, indent=2) + '\n', encoding='utf-8')
    return known[key]


def measure_products() -> dict[str, float]:
    """Time one product in each arithmetic, in turn; the least CPU time: a busy machine changes it little."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape) for shape in ((1, _TOKENS, _WIDTH), (_WIDTH, _HIDDEN)))
    integers = jnp.asarray(np.clip(np.rint(w * 32), -127, 127), jnp.int8)
    scale = jnp.full((1, _HIDDEN), 1 / 32, jnp.float32)
    weights = {
        'float32': jnp.asarray(w, jnp.float32),
        'bfloat16': jnp.asarray(w, jnp.bfloat16),
        'int8': Int8Weight(integers, scale),
        'integer': Int8Weight(integers, scale, integer_products=True),
    }
    tokens = {kind: jnp.asarray(x, jnp.float32 if kind == 'float32' else jnp.bfloat16) for kind in weights}
    run = jax.jit(lambda x, w: apply_weight('BTW,WM->BTM', x, w))
    seconds: dict[str, list[float]] = {kind: [] for kind in weights}
    for _ in range(_ROUNDS + 1):
        for kind, weight in weights.items():
            begun_s = time.process_time()
            jax.block_until_ready(run(tokens[kind], weight))
            seconds[kind].append(time.process_time() - begun_s)
    return {kind: min(times[1:]) for kind, times in seconds.items()}


def _read(file: Path) -> dict[str, dict[str, float]]:
    """What was measured before; nothing where that cannot be read, since measuring again costs little."""
    try:
        known = read_bounded_json(file, _MAX_BYTES, ValueError)
        kinds = {'float32', 'bfloat16', 'int8', 'integer'}
        return {key: {kind: float(times[kind]) for kind in kinds} for key, times in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
