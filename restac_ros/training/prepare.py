"""Everything a run needs, checked and assembled before anything is compiled."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from restac_ros.contract.load import load_contract, parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.framing.values import STATE_DIM
from restac_ros.model.checkpoint.network import abstract_leaves, assemble, model_paths
from restac_ros.model.checkpoint.params import CastRule
from restac_ros.model.checkpoint.provenance import GateCalibration, Origin, Subtasks
from restac_ros.model.checkpoint.store import (
    CONTRACT,
    MANIFEST,
    NORM_STATS,
    PARAMS,
    CheckpointInfo,
    load_info,
)
from restac_ros.model.config import LogvarCalibration, ModelConfig
from restac_ros.policy.calibration import calibrate_gate
from restac_ros.policy.normalization import NormStats, read_norm_stats
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.tokenizer import PromptTokenizer
from restac_ros.training import norm_stats
from restac_ros.training.batch import Batch
from restac_ros.training.checks import (
    check_data,
    check_delay,
    check_settings,
    check_teacher,
    distillation_of,
)
from restac_ros.training.config import TrainConfig
from restac_ros.training.data.chunk_tokens import chunk_tokens, token_files
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.data.lessons import LessonLengths, Lessons, is_stated, lesson_lengths
from restac_ros.training.data.loader import SampleSource, longest_prompt
from restac_ros.training.data.picture_cache import with_cache_of
from restac_ros.training.data.selection import FrameSelection, selection_of
from restac_ros.training.distillation import TEACHER
from restac_ros.training.distributed import agreed
from restac_ros.training.memory import MemoryEstimate, estimate
from restac_ros.training.norm_stats import MeasuredStats
from restac_ros.training.objective import Objective
from restac_ros.training.optimizer import transformation
from restac_ros.training.run_identity import run_identity
from restac_ros.training.run_store import check_resumable
from restac_ros.training.sharding import Placement
from restac_ros.training.start import StartPlan, StartWeights, calibration_note, plan_start, read_weights
from restac_ros.training.step import StepFunction, action_dims
from restac_ros.training.trainable import Split, part_of_run, split_leaves

CALIBRATION_FRAMES = 256
_AT_ONCE = 16


@dataclass(frozen=True)
class Prepared:
    """A run, ready to begin.

    Attributes:
        train: its configuration.
        config: the network, gate calibration included.
        contract: of the data.
        stats: normalisation.
        measured: how the data lie in it; None where it was read from a file.
        calibration: of the gate; None without touch.
        tokenizer: SentencePiece model.
        weights: before the first step.
        split: which leaves are trained.
        sources: training samples of each data set.
        selections: what was chosen of each data set.
        held_out: samples for validation; empty when nothing is held out.
        placement: devices.
        step: the training step.
        identity: what a resumed run must have in common with this one.
        memory: estimate per device.
        subtasks: what the network will have learnt of subtasks; None: nothing.
        teacher: checkpoint that is distilled; None: the data's actions are learnt.
        action_tokens: files of the FAST tokenizer that it learns actions by.
        before: origin of the checkpoint of ours that it begins with or distils; None: there is none.
    """

    train: TrainConfig
    config: ModelConfig
    contract: Contract
    stats: NormStats
    measured: MeasuredStats | None
    calibration: GateCalibration | None
    tokenizer: bytes
    weights: StartWeights
    split: Split
    sources: Sequence[SampleSource]
    selections: Sequence[FrameSelection]
    held_out: Sequence[SampleSource]
    placement: Placement
    step: StepFunction
    identity: Mapping[str, Any]
    memory: MemoryEstimate
    subtasks: Subtasks | None = None
    teacher: CheckpointInfo | None = None
    action_tokens: Mapping[str, bytes] = field(default_factory=dict)
    before: Origin | None = None

    @property
    def trained(self) -> dict[str, np.ndarray]:
        """Return trained weights by leaf, float32, on the host."""
        return {name: np.asarray(self.weights.params[name]) for name in self.split.trained}

    @property
    def frozen(self) -> dict[str, np.ndarray]:
        """Return the other leaves, in `frozen_dtype`, and a teacher's; touch and statistics stay float32."""
        rule, params = CastRule(self.train.frozen_dtype), self.weights.params
        frozen = {name: _cast(name, np.asarray(params[name]), rule) for name in self.split.frozen}
        if self.teacher is not None:
            taught = self.split.trained
            frozen |= {TEACHER + name: _cast(name, np.asarray(params[name]), rule) for name in taught}
        return frozen

    def leaf_lines(self) -> list[str]:
        """Every leaf by name: its shape, and whether it is trained."""
        trained = set(self.split.trained)
        return [
            f'{"trained" if name in trained else "frozen":<8} {name} {list(leaf.shape)}'
            for name, leaf in self.weights.params.items()
        ]

    def describe(self) -> list[str]:
        """What an operator wants to know before the first step."""
        shapes = {name: leaf.shape for name, leaf in self.weights.params.items()}
        lines = [self.weights.described, *self.split.describe(shapes)]
        lines += [
            f'{source.episodes.name}: {selection}'
            for source, selection in zip(self.sources, self.selections, strict=True)
        ]
        longest, limit = self.sources[0].prompt_length, self.config.max_prompt_tokens
        if self.train.hierarchy.mode != 'off':
            lines.append(f'hierarchy: {self.train.hierarchy.mode}; {Objective.of(self.train.hierarchy)}')
        lines.append(f'longest prompt: padded to {longest} of at most {limit} tokens')
        lines += [f'statistics: {self.stats.source}', *(self.measured.describe() if self.measured else ())]
        lines.append(self.train.optimizer.describe(self.train.steps))
        lines += [str(self.memory), self.placement.describe(self.train.batch_size)]
        return lines


def prepare(train: TrainConfig, show: Callable[[str], None] = lambda _: None) -> Prepared:
    """Open data, statistics and weights; what cannot work is refused before weights are read.

    `show` prints the progress of long work.

    Raises:
        TrainingError, DatasetError, NormStatsError, TokenizerError, CheckpointError, PolicyError: what can be
            refused before compiling, naming item, value, expectation and remedy.
    """
    check_settings(train)
    placement = Placement.over(train.fsdp, train.batch_size, train.accumulate)
    plan = _planned(train)
    opened = _open_data(train, plan.teacher)
    check_data(plan.config, opened)
    if plan.teacher is not None:
        check_teacher(plan.teacher, train, opened)
    horizon = plan.config.action_horizon
    selections = [selection_of(episodes, horizon, train.data) for episodes in opened]
    stats, measured = _statistics(train, plan.teacher, opened, selections, horizon)
    words = PromptTokenizer(plan.tokenizer, plan.config.max_prompt_tokens, plan.tokenizer_source)
    bins = train.hierarchy.state_bins
    roads = [Preprocessor.from_contract(one.contract, plan.config, stats, words, bins) for one in opened]
    lessons, prompt = _lessons(train, roads, words, opened)
    for episodes in opened:
        episodes.check_videos()
    identity = run_identity(train, plan, stats, opened, selections)
    check_resumable(train.to, identity, allow_changes=train.allow_changes)
    opened = with_cache_of(train.loader, opened, show)
    sources, held_out = (
        _samples(opened, roads, [getattr(selection, side) for selection in selections], lessons, prompt)
        for side in ('trained', 'validated')
    )
    show(f'weights: {"random ones are drawn" if plan.source is None else f"reading {plan.source}"}')
    weights = read_weights(train, plan)
    config, calibration = _calibrated(plan, weights, sources)
    if plan.calibration is not None:
        show(calibration_note(plan.calibration, calibration, str(train.init)))
    split = split_leaves(config, weights.params, part_of_run(train))
    return Prepared(
        train=train,
        config=config,
        contract=opened[0].contract,
        stats=stats,
        measured=measured,
        calibration=calibration,
        tokenizer=plan.tokenizer,
        weights=weights,
        split=split,
        sources=sources,
        selections=selections,
        held_out=[source for source in held_out if len(source)],
        placement=placement,
        step=_step_function(train, config, opened[0].contract, len(sources), plan.teacher),
        identity=identity,
        memory=_memory(train, config, split),
        subtasks=_with_tokens(plan.subtasks, lessons[0]),
        teacher=plan.teacher,
        action_tokens=token_files(train.hierarchy.action_tokens) or plan.action_tokens,
        before=_origin_before(train),
    )


def _planned(train: TrainConfig) -> StartPlan:
    plan = plan_start(train)
    check_delay(train, plan.config)
    return plan


def _origin_before(train: TrainConfig) -> Origin | None:
    """Origin of the checkpoint that `init` is, or whose parameters it is; None: no checkpoint of ours."""
    if train.init is None:
        return None
    place = train.init.parent if train.init.name == PARAMS else train.init
    return load_info(place, checksums=False).origin if (place / MANIFEST).is_file() else None


def _open_data(train: TrainConfig, teacher: CheckpointInfo | None) -> list[Episodes]:
    contract = None if train.data.contract is None else load_contract(train.data.contract)
    otherwise = None if teacher is None else parse_contract(teacher.contract_text, f'{train.init}/{CONTRACT}')
    return [open_episodes(root, contract, otherwise) for root in train.data.datasets]


def _lessons(
    train: TrainConfig, roads: Sequence[Preprocessor], words: PromptTokenizer, opened: Sequence[Episodes]
) -> tuple[list[Lessons | None], int]:
    """What is made of each data set's subtasks, None without a mode, and the tokens of the longest prompt."""
    pairs = list(zip(roads, opened, strict=True))
    if train.hierarchy.mode == 'off':
        return [None] * len(pairs), max(longest_prompt(road, [one]) for road, one in pairs)
    each = (lesson_lengths(train.hierarchy, road, words, one) for road, one in pairs)
    lengths = reduce(LessonLengths.longest, each)
    tokens = chunk_tokens(train.hierarchy.action_tokens, roads, words, opened)
    return [Lessons(train.hierarchy, road, words, lengths, tokens) for road in roads], lengths.prompt


def _with_tokens(subtasks: Subtasks | None, lessons: Lessons | None) -> Subtasks | None:
    """Return the same with what is learnt of action tokens."""
    if subtasks is None or lessons is None or lessons.tokens is None:
        return subtasks
    sentences = lessons.tokens.sentences
    return replace(subtasks, action_tokens=sentences.codec.kind, max_action_tokens=sentences.longest)


def _samples(
    opened: Sequence[Episodes],
    roads: Sequence[Preprocessor],
    places: Sequence[np.ndarray],
    lessons: Sequence[Lessons | None],
    prompt: int,
) -> list[SampleSource]:
    """Samples of each data set: with lessons, of frames whose subtask is stated."""
    return [
        SampleSource(
            one, road, where if lesson is None else where[is_stated(one, where)], number, prompt, lesson
        )
        for number, (one, road, where, lesson) in enumerate(zip(opened, roads, places, lessons, strict=True))
    ]


def _memory(train: TrainConfig, config: ModelConfig, split: Split) -> MemoryEstimate:
    return estimate(
        config,
        abstract_leaves(config),
        split.trained,
        frozen_itemsize=jnp.dtype(train.frozen_dtype).itemsize,
        average=train.ema_decay is not None,
        teacher=train.distil.steps > 0,
        micro_batch=max(1, train.batch_size // train.accumulate // jax.device_count()),
        fsdp=train.fsdp,
    )


def _step_function(
    train: TrainConfig,
    config: ModelConfig,
    contract: Contract,
    sources: int,
    teacher: CheckpointInfo | None,
) -> StepFunction:
    graph, paths = model_paths(config)
    return StepFunction(
        graph=graph,
        paths=paths,
        transformation=transformation(train.optimizer, train.steps),
        augmentation=train.augmentation,
        dims=action_dims(contract),
        max_delay_steps=train.max_delay_steps,
        accumulate=train.accumulate,
        ema_decay=train.ema_decay,
        sources=sources,
        seed=train.seed,
        objective=Objective.of(train.hierarchy),
        distillation=None if teacher is None else distillation_of(teacher, train),
    )


def _statistics(
    train: TrainConfig,
    teacher: CheckpointInfo | None,
    opened: Sequence[Episodes],
    selections: Sequence[FrameSelection],
    horizon: int,
) -> tuple[NormStats, MeasuredStats | None]:
    """The teacher's statistics, else those of the file given, else measured ones."""
    if teacher is not None:
        return NormStats.from_dict(teacher.norm_stats, f'{train.init}/{NORM_STATS}', STATE_DIM), None
    numbers = [selection.trained_episodes for selection in selections]
    path = train.data.norm_stats
    if path is None:
        measured = norm_stats.measure_norm_stats(opened, numbers, horizon, widen=train.data.min_range)
        return measured.stats, measured
    stats = read_norm_stats(path, STATE_DIM)
    found = json.loads(path.read_text(encoding='utf-8')).get('identity')
    norm_stats.check_identity(found, norm_stats.identity_of(opened, numbers, horizon), str(path))
    return stats, None


def _calibrated(
    plan: StartPlan, weights: StartWeights, sources: Sequence[SampleSource]
) -> tuple[ModelConfig, GateCalibration | None]:
    """Standardise the gate by logvar over frames of the data, before it is trained; a teacher's stays.

    Not that of an encoder that trains with the policy: its logvar soon leaves what was measured, by many of
    the tiny deviations of the start, and the gate would be shut or open for good.
    """
    config = plan.config
    if plan.teacher is not None:
        return config, plan.teacher.calibration
    if not config.uses_touch or config.tactile is None or config.tactile.trains:
        return config, None
    rows = [
        source[int(index)]
        for source in sources
        for index in np.linspace(0, len(source) - 1, CALIBRATION_FRAMES // len(sources)).round()
    ]
    shown = [sources[0].joined(rows[first : first + _AT_ONCE]) for first in range(0, len(rows), _AT_ONCE)]
    graph, state = assemble(config, weights.params, source='starting weights')

    @jax.jit
    def logvar(state: nnx.State, batch: Batch) -> jax.Array:
        return nnx.merge(graph, state).observe_touch(batch.observation).logvar[:, 0]

    values = agreed(np.concatenate([np.asarray(logvar(state, batch)) for batch in shown]))
    calibration = calibrate_gate(values, f'{len(values)} training frames')
    return replace(
        config, logvar_calibration=LogvarCalibration(calibration.mean, calibration.std)
    ), calibration


def _cast(name: str, leaf: np.ndarray, rule: CastRule) -> np.ndarray:
    return leaf.astype(rule(name, leaf.dtype)) if leaf.ndim > 1 else leaf
