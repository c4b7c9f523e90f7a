"""Time of each call of the network, beside a matmul yardstick timed between the runs.

Machines differ and their speed drifts; the ratio to the yardstick is what can be compared. Two policies run:
the base pi0.5, whose full call is what openpi does per call, and the preset's own with touch. Both go through
`policy.stages`, the compiled programs that a robot runs.
"""

import functools
import statistics
from dataclasses import asdict, dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from restac_ros.bench.flops import act_flop, prefix_flop, siglip_flop
from restac_ros.bench.profile import Share, profile
from restac_ros.bench.settings import ModelBench
from restac_ros.bench.table import Figure, finish, judged, table_of
from restac_ros.bench.turns import spent
from restac_ros.contract.errors import did_you_mean
from restac_ros.model.checkpoint.network import assemble, initial_params, leaf_shapes
from restac_ros.model.checkpoint.params import Params
from restac_ros.model.config import ModelConfig
from restac_ros.model.observation import ACTION_PREV_DIM, CAMERA_SLOTS, prompt_bucket
from restac_ros.model.present import present
from restac_ros.model.presets import PRESETS
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.stages import Stages

NUM_STEPS = 10
VALID_PROMPT_TOKENS = 66
SHOWN_OPERATIONS = 6
YARDSTICK_FLOP = 8 * 2.0 * 1024**3

# openpi's own code, same sizes, two cores, one run: full call 1.244 s, ten steps 0.23 s, yardsticks 14.8.
MAX_YARDSTICKS = {'full call': 11.8, 'act': 0.6 * 10 * 0.023 / (1.244 / 14.8)}


@dataclass(frozen=True)
class CallFigures:
    """Median seconds of one call, and the median of its ratios to the yardsticks before and after it."""

    seconds: float
    ratio: float
    runs_s: tuple[float, ...]


@dataclass(frozen=True)
class VariantFigures:
    """All calls of one policy. `first_call_s` is compilation and the first full call; `flop` by part."""

    calls: dict[str, CallFigures]
    per_step_s: float
    first_call_s: float
    flop: dict[str, float]
    profiles: dict[str, list[Share]]


class Yardstick:
    """Eight chained float32 products of 1024 x 1024 matrices."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._factor = jnp.asarray(rng.standard_normal((1024, 1024)) / 32, jnp.float32)
        self._run = jax.jit(lambda x: functools.reduce(lambda y, _: y @ x, range(8), x))
        self.times_s: list[float] = []
        for _ in range(2):
            jax.block_until_ready(self._run(self._factor))

    def measure(self) -> float:
        """Seconds of one run."""
        seconds = spent(lambda: self._run(self._factor)).wall_s
        self.times_s.append(seconds)
        return seconds


class Calls:
    """The calls of a policy with random parameters on random inputs; each keeps its result for the next."""

    def __init__(
        self,
        config: ModelConfig,
        params: Params | None = None,
        slots: tuple[str, ...] = CAMERA_SLOTS,
        num_steps: int = NUM_STEPS,
        slices: int | None = None,
    ) -> None:
        if params is None:
            params = initial_params(config, leaf_shapes(config), 0, everything=True, consume=jax.device_put)
        graph, state = assemble(config, params, source='bench')
        self._stages = Stages(config, graph, state, slots, num_steps, slices=slices)
        self._uses_touch = config.uses_touch
        self.prompt_tokens = prompt_bucket(VALID_PROMPT_TOKENS, config.max_prompt_tokens)
        rng = np.random.default_rng(1)
        shape = (1, config.image_size, config.image_size, 3)
        images = {slot: rng.integers(0, 256, shape, np.uint8) for slot in slots}
        masks = {slot: np.array([True]) for slot in slots}
        tokens = rng.integers(0, config.vocab_size, (1, self.prompt_tokens), np.int32)
        self._prefix_inputs = (
            images,
            masks,
            tokens,
            np.arange(self.prompt_tokens)[None] < VALID_PROMPT_TOKENS,
        )
        self._tactile = (
            rng.integers(0, 256, (1, *config.tactile_shape), np.uint8) if config.uses_touch else None
        )
        self._action_prev = rng.normal(0, 0.01, (1, ACTION_PREV_DIM)).astype(np.float32)
        self._state = rng.normal(0, 0.5, (1, config.action_dim)).astype(np.float32)
        self._noise = rng.standard_normal((1, config.action_horizon, config.action_dim), np.float32)

    def compile(self) -> None:
        """Compile all calls."""
        self._stages.compile(self.prompt_tokens)

    def prefix(self) -> None:
        """Cameras and prompt."""
        self._cache = self._stages.encode_prefix(*self._prefix_inputs).cache

    def tactile(self) -> None:
        """One tactile frame on the kept prefix."""
        view_features = present(self._cache.view_features, 'view_features')
        tactile = present(self._tactile, 'tactile')
        self._code = self._stages.encode_tactile(tactile, view_features, self._action_prev).code

    def act(self) -> None:
        """One chunk on the kept prefix and touch."""
        code = self._code if self._uses_touch else None
        self.actions = self._stages.act(self.prompt_tokens, self._cache, code, self._state, self._noise)

    def full(self) -> None:
        """Everything anew, as openpi does per call."""
        self.prefix()
        self.replan()

    def replan(self) -> None:
        """Touch, where the policy reads it, and a chunk, on the kept prefix."""
        if self._uses_touch:
            self.tactile()
        self.act()


def _measure(config: ModelConfig, yardstick: Yardstick, runs: int, warmups: int) -> VariantFigures:
    """Time all calls of a policy, each between two yardsticks."""
    calls = Calls(config)

    def first() -> None:
        calls.compile()
        calls.full()

    first_call_s = spent(first).wall_s
    steps = {'full call': calls.full, 'prefix': calls.prefix, 'act': calls.act}
    if config.uses_touch:
        steps['tactile'] = calls.tactile
    times: dict[str, list[float]] = {name: [] for name in steps}
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    for run in range(-warmups, runs):
        for name, call in steps.items():
            before = yardstick.measure()
            seconds = spent(call).wall_s
            ratio = 2 * seconds / (before + yardstick.measure())
            if run >= 0:
                times[name].append(seconds)
                ratios[name].append(ratio)
    figures = {
        name: CallFigures(statistics.median(times[name]), statistics.median(ratios[name]), tuple(times[name]))
        for name in steps
    }
    cameras, prompt = len(CAMERA_SLOTS), calls.prompt_tokens
    flop = {
        'SigLIP': cameras * siglip_flop(config),
        'Gemma prefix': prefix_flop(config, cameras, prompt),
        'act': act_flop(config, cameras, prompt, NUM_STEPS),
    }
    profiles = {name: profile(steps[name]) for name in ('prefix', 'act')}
    return VariantFigures(figures, figures['act'].seconds / NUM_STEPS, first_call_s, flop, profiles)


def network_of(preset: str) -> ModelConfig:
    """Return the configuration of a preset.

    Raises:
        PolicyError: no such preset.
    """
    if preset not in PRESETS:
        raise PolicyError(f'preset {preset!r} is unknown; {did_you_mean(preset, PRESETS)}')
    return PRESETS[preset]


def main(settings: ModelBench) -> int:
    """Measure, print, and compare the `mid` preset with its targets; exit status 1 when one is missed.

    Raises:
        PolicyError: no such preset.
    """
    preset, runs, warmups = settings.preset, settings.runs, settings.warmups
    own = network_of(preset)
    base = replace(own, fusion='none', tactile=None, state_input='prompt')
    yardstick, console = Yardstick(), Console()
    variants = {'pi0.5': _measure(base, yardstick, runs, warmups)}
    if own.uses_touch:
        variants[own.fusion] = _measure(own, yardstick, runs, warmups)
    yardstick_s = statistics.median(yardstick.times_s)
    console.print(_table(preset, variants))
    console.print(_floor(variants['pi0.5'], yardstick_s))
    console.print(_profiles(variants['pi0.5']))
    rows = _rows(variants['pi0.5'], yardstick_s, is_judged=preset == 'mid')
    described = {'preset': preset, 'yardstick_s': yardstick_s} | {
        name: asdict(variant) for name, variant in variants.items()
    }
    return finish('pi0.5 beside the yardstick', rows, settings.json, described)


def _rows(base: VariantFigures, yardstick_s: float, *, is_judged: bool) -> list[Figure]:
    """The yardstick itself, and the calls that have a target for `mid` as multiples of it."""
    gflop_s = YARDSTICK_FLOP / yardstick_s / 1e9
    return [
        Figure('yardstick (8 x 1024^3)', f'{yardstick_s * 1e3:.1f} ms, {gflop_s:.0f} GFLOP/s'),
        *(
            judged(name, base.calls[name].ratio, '<=', most, '{:.2f} yardsticks').judged_if(is_judged)
            for name, most in MAX_YARDSTICKS.items()
        ),
    ]


def _table(preset: str, variants: dict[str, VariantFigures]) -> Table:
    title = f'preset {preset}, batch 1, {NUM_STEPS} steps'
    table = table_of(title, ('policy', 'call'), ('median ms', 'yardsticks', 'runs, ms'))
    for name, variant in variants.items():
        for call, figures in variant.calls.items():
            runs = ' '.join(f'{seconds * 1e3:.0f}' for seconds in figures.runs_s)
            table.add_row(name, call, f'{figures.seconds * 1e3:.1f}', f'{figures.ratio:.2f}', runs)
        table.add_row(name, 'per step', f'{variant.per_step_s * 1e3:.1f}')
        table.add_row(name, 'first call, with compilation', f'{variant.first_call_s * 1e3:.0f}')
    return table


def _floor(base: VariantFigures, yardstick_s: float) -> Table:
    """What the matrix products alone would take at the yardstick's speed, beside what was measured."""
    title = "floor: matrix products at the yardstick's speed"
    table = table_of(title, ['part'], ('GFLOP', 'floor ms', 'measured ms'))
    speed = YARDSTICK_FLOP / yardstick_s
    prefix = base.flop['SigLIP'] + base.flop['Gemma prefix']
    rows: list[tuple[str, float, float | None]] = [
        ('SigLIP', base.flop['SigLIP'], None),
        ('Gemma prefix', base.flop['Gemma prefix'], None),
        ('prefix', prefix, base.calls['prefix'].seconds),
        ('act', base.flop['act'], base.calls['act'].seconds),
    ]
    for name, flop, seconds in rows:
        shown = '' if seconds is None else f'{seconds * 1e3:.0f}'
        table.add_row(name, f'{flop / 1e9:.1f}', f'{flop / speed * 1e3:.0f}', shown)
    return table


def _profiles(base: VariantFigures) -> Table:
    """The operations that take the most time."""
    table = table_of('where the time goes', ('call', 'operation'), ('share', 'times run'))
    for call, found in base.profiles.items():
        for share in found[:SHOWN_OPERATIONS]:
            table.add_row(call, share.operation, f'{share.share:.1%}', str(share.count))
    return table
