"""Everything a run needs, checked and assembled before anything is compiled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.framing.values import STATE_DIM
from restac_ros.model.checkpoint.network import abstract_leaves, assemble, model_paths
from restac_ros.model.checkpoint.provenance import GateCalibration
from restac_ros.model.config import LogvarCalibration, ModelConfig
from restac_ros.policy.calibration import calibrate_gate
from restac_ros.policy.compatibility import check_model
from restac_ros.policy.normalization import NormStats, read_norm_stats
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.tokenizer import PromptTokenizer
from restac_ros.training import norm_stats
from restac_ros.training.batch import Batch
from restac_ros.training.config import TrainConfig
from restac_ros.training.data.episodes import Episodes, chosen, open_episodes
from restac_ros.training.data.loader import SampleSource, longest_prompt, validation_batches
from restac_ros.training.data.selection import FrameSelection, select
from restac_ros.training.errors import TrainingError
from restac_ros.training.memory import MemoryEstimate, estimate
from restac_ros.training.optimizer import transformation
from restac_ros.training.start import Start, starting_point
from restac_ros.training.step import NamedLeaves, StepFunction
from restac_ros.training.trainable import Split, split_leaves

CALIBRATION_FRAMES = 256


@dataclass(frozen=True)
class Prepared:
    """A run, ready to begin.

    Attributes:
        train: its configuration.
        config: the network, gate calibration included.
        contract: of the data.
        stats: normalisation.
        calibration: of the gate; None without touch.
        start: weights and tokenizer.
        split: which leaves are trained.
        sources: training samples of each data set.
        selections: what was chosen of each data set.
        validation: held-out batches; empty when nothing is held out.
        step: the training step.
        identity: what a resumed run must have in common with this one.
        memory: estimate per device.
    """

    train: TrainConfig
    config: ModelConfig
    contract: Contract
    stats: NormStats
    calibration: GateCalibration | None
    start: Start
    split: Split
    sources: Sequence[SampleSource]
    selections: Sequence[FrameSelection]
    validation: Sequence[Batch]
    step: StepFunction
    identity: Mapping[str, Any]
    memory: MemoryEstimate

    @property
    def trained(self) -> NamedLeaves:
        """Weights that are trained, float32, on the host."""
        return {name: jnp.asarray(self.start.params[name]) for name in self.split.trained}

    @property
    def frozen(self) -> NamedLeaves:
        """The others, in the dtype asked for; statistics and codebooks keep theirs."""
        dtype = jnp.dtype(self.train.frozen_dtype)
        return {name: _cast(self.start.params[name], dtype) for name in self.split.frozen}

    def describe(self) -> list[str]:
        """What an operator wants to see before the first step."""
        lines = [self.start.described]
        lines += self.split.describe({name: leaf.shape for name, leaf in self.start.params.items()})
        for source, selection in zip(self.sources, self.selections, strict=True):
            lines.append(
                f'{source.episodes.name}: {len(selection.trained)} frames of '
                f'{len(selection.trained_episodes)} episodes, {len(selection.validated)} frames held out, '
                f'{selection.idle:.1%} idle left out'
            )
        lines.append(self.train.optimizer.describe(self.train.steps))
        lines.append(str(self.memory))
        return lines


def prepare(train: TrainConfig) -> Prepared:
    """Open data, statistics and weights.

    Raises:
        TrainingError, DatasetError, NormStatsError, TokenizerError, CheckpointError, PolicyError: what can be
            refused before compiling, naming item, value, expectation and remedy.
    """
    opened = _open_data(train)
    start = starting_point(train)
    for episodes in opened:
        check_model(start.config, episodes.contract, episodes.name)
        _check_touch(start.config, episodes)
        episodes.check_videos()
    horizon = start.config.action_horizon
    selections = [_select(train, episodes, horizon) for episodes in opened]
    stats = _statistics(train, opened, selections, horizon)
    words = PromptTokenizer(start.tokenizer, start.config.max_prompt_tokens, start.tokenizer_source)
    make = partial(Preprocessor.from_contract, config=start.config, stats=stats, tokenizer=words)
    prompt = max(longest_prompt(make(episodes.contract), [episodes]) for episodes in opened)
    sources, held_out = (
        [
            SampleSource(episodes, make(episodes.contract), getattr(selection, side), number, prompt)
            for number, (episodes, selection) in enumerate(zip(opened, selections, strict=True))
        ]
        for side in ('trained', 'validated')
    )
    config, calibration = _calibrated(start, sources)
    start = replace(start, config=config)
    split = split_leaves(config, start.params, train.part)
    return Prepared(
        train=train,
        config=config,
        contract=opened[0].contract,
        stats=stats,
        calibration=calibration,
        start=start,
        split=split,
        sources=sources,
        selections=selections,
        validation=validation_batches(
            [source for source in held_out if len(source)], train.batch_size, train.validation_batches
        ),
        step=_step_function(train, config, len(sources)),
        identity=_identity(train, config, opened, selections),
        memory=_memory(train, config, split),
    )


def _open_data(train: TrainConfig) -> list[Episodes]:
    if not train.data.datasets:
        raise TrainingError('data.datasets: found none, expected one or more LeRobot data sets')
    contract = None if train.data.contract is None else load_contract(train.data.contract)
    opened = [open_episodes(root, contract) for root in train.data.datasets]
    _check_mixture(train, opened)
    return opened


def _select(train: TrainConfig, episodes: Episodes, horizon: int) -> FrameSelection:
    numbers = chosen(episodes, train.data.episodes or None)
    return select(episodes, numbers, horizon, train.data.validation_share, skip_idle=train.data.skip_idle)


def _memory(train: TrainConfig, config: ModelConfig, split: Split) -> MemoryEstimate:
    return estimate(
        config,
        abstract_leaves(config),
        split.trained,
        frozen_itemsize=jnp.dtype(train.frozen_dtype).itemsize,
        average=train.ema_decay is not None,
        micro_batch=max(1, train.batch_size // train.accumulate // jax.device_count()),
        fsdp=train.fsdp,
    )


def _step_function(train: TrainConfig, config: ModelConfig, sources: int) -> StepFunction:
    graph, paths = model_paths(config)
    return StepFunction(
        graph=graph,
        paths=paths,
        transformation=transformation(train.optimizer, train.steps),
        augmentation=train.augmentation,
        dims=STATE_DIM,
        max_delay_steps=train.max_delay_steps,
        accumulate=train.accumulate,
        ema_decay=train.ema_decay,
        sources=sources,
        seed=train.seed,
    )


def _check_mixture(train: TrainConfig, opened: Sequence[Episodes]) -> None:
    data = train.data
    if data.weights and len(data.weights) != len(opened):
        raise TrainingError(
            f'data.weights: found {len(data.weights)}, expected {len(opened)}, one per data set'
        )
    if data.weights and min(data.weights) <= 0:
        raise TrainingError(f'data.weights: found {data.weights}, expected numbers above 0')
    if data.episodes and len(opened) != 1:
        raise TrainingError(
            f'data.episodes: found {len(opened)} data sets, expected one when episodes are listed'
        )
    if train.batch_size % train.accumulate:
        raise TrainingError(f'accumulate: found {train.accumulate}, expected a divisor of {train.batch_size}')


def _check_touch(config: ModelConfig, episodes: Episodes) -> None:
    if config.uses_touch and episodes.tactile is None:
        raise TrainingError(
            f'{episodes.name}: found no tactile images, expected them: fusion = {config.fusion!r} reads '
            'touch; train pi05 instead, or record with a tactile stream'
        )
    missing = [
        stream.slot
        for name, stream in episodes.contract.by_role('camera').items()
        if name not in episodes.cameras
    ]
    if config.uses_touch and missing:
        raise TrainingError(
            f'{episodes.name}: found no images for {missing}, expected all: the tactile prior reads every '
            'camera'
        )


def _statistics(
    train: TrainConfig, opened: Sequence[Episodes], selections: Sequence[FrameSelection], horizon: int
) -> NormStats:
    numbers = [selection.trained_episodes for selection in selections]
    identity = norm_stats.identity_of(opened, numbers, horizon)
    path = train.data.norm_stats
    if path is None:
        return norm_stats.measure_norm_stats(opened, numbers, horizon, widen=train.data.min_range).stats
    stats = read_norm_stats(path, STATE_DIM)
    found = json.loads(path.read_text(encoding='utf-8')).get('identity')
    norm_stats.check_identity(found, identity, str(path))
    return stats


def _calibrated(start: Start, sources: Sequence[SampleSource]) -> tuple[ModelConfig, GateCalibration | None]:
    """Standardise the gate by logvar over frames of the data, before it is trained.

    Not that of an encoder that trains with the policy: its logvar soon leaves what was measured, by many of
    the tiny deviations of the start, and the gate would be shut or open for good.
    """
    config = start.config
    if not config.uses_touch or config.tactile is None or config.tactile.kind == 'cnn':
        return config, None
    rows = [
        source[int(index)]
        for source in sources
        for index in np.linspace(0, len(source) - 1, CALIBRATION_FRAMES // len(sources)).round()
    ]
    graph, state = assemble(config, start.params, source='starting weights')

    @jax.jit
    def logvar(state: nnx.State, row: Batch) -> jax.Array:
        return nnx.merge(graph, state).observe_touch(row.observation).logvar[:, 0]

    values = np.concatenate([np.asarray(logvar(state, row)) for row in rows])
    calibration = calibrate_gate(values, f'{len(values)} training frames')
    return replace(
        config, logvar_calibration=LogvarCalibration(calibration.mean, calibration.std)
    ), calibration


def _identity(
    train: TrainConfig, config: ModelConfig, opened: Sequence[Episodes], selections: Sequence[FrameSelection]
) -> dict[str, Any]:
    """Everything that the order of samples and the meaning of the state depend on."""
    return {
        'data': [episodes.fingerprint for episodes in opened],
        'frames': [len(selection.trained) for selection in selections],
        'weights': list(train.data.weights),
        'batch_size': train.batch_size,
        'seed': train.seed,
        'steps': train.steps,
        'model': config.to_dict(),
        'part': train.part,
        'ema_decay': train.ema_decay,
    }


def _cast(leaf: Any, dtype: jnp.dtype) -> Any:
    is_weight = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.ndim > 1
    return leaf.astype(dtype) if is_weight else leaf
