"""Where a run starts: the network's configuration and the weights before the first step."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from restac_ros.model.checkpoint.base_weights import merge_base_weights, on_host_device
from restac_ros.model.checkpoint.encoder_source import unit_align_params
from restac_ros.model.checkpoint.network import initial_params, leaf_shapes
from restac_ros.model.checkpoint.params import CastRule, Params
from restac_ros.model.checkpoint.provenance import GateCalibration, Origin, Subtasks
from restac_ros.model.checkpoint.store import MANIFEST, PARAMS, CheckpointInfo, load_info
from restac_ros.model.config import ModelConfig
from restac_ros.model.presets import PRESETS
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.policy.demo_tokenizer import train_demo_tokenizer
from restac_ros.policy.tokenizer import find_tokenizer
from restac_ros.training.config import TrainConfig
from restac_ros.training.errors import TrainingError

# What a run may change of the configuration that a checkpoint was made with.
_FREE = ('dtype', 'logvar_calibration', 'tactile', 'use_sparse_loss', 'sparse_loss_weight')


@dataclass(frozen=True)
class StartPlan:
    """What a run will start from, known without reading its weights.

    Attributes:
        config: the network.
        source: weights to read; None: random ones.
        encoder: leaves of another tactile encoder.
        tokenizer: SentencePiece model.
        tokenizer_source: where it is from.
        subtasks: what the weights have learnt of subtasks.
        action_tokens: files of the FAST tokenizer that a language expert which stays says actions by.
        teacher: checkpoint that the run distils; None: it learns from the data.
        calibration: of the gate of the policy at `source`; None: it has none.
    """

    config: ModelConfig
    source: Path | None
    encoder: Params
    tokenizer: bytes
    tokenizer_source: str
    subtasks: Subtasks | None = None
    action_tokens: Mapping[str, bytes] = field(default_factory=dict)
    teacher: CheckpointInfo | None = None
    calibration: GateCalibration | None = None


@dataclass(frozen=True)
class StartWeights:
    """Every leaf in float32 on the host, and where they are from: a table or a sentence."""

    params: Params
    described: str


def plan_start(train: TrainConfig) -> StartPlan:
    """Decide what a run starts from.

    Raises:
        TrainingError: an unknown preset, or a checkpoint of another configuration, or a distilled one.
        CheckpointError, TokenizerError: files are absent or damaged.
    """
    if train.distil.steps and train.init is not None:
        return _plan_distilling(train.init)
    if train.preset not in PRESETS:
        raise TrainingError(f'preset: found {train.preset!r}, expected one of {", ".join(PRESETS)}')
    config = PRESETS[train.preset]
    if train.gate is not None:
        if not config.uses_touch:
            raise TrainingError(
                f'gate: found {train.gate!r}, expected none, as preset {train.preset!r} is without touch'
            )
        config = replace(config, gate=train.gate)
    if train.use_sparse_loss:
        config = _priced(config, train.preset)
    source, tokenizer, subtasks = train.init, None, None
    action_tokens: Mapping[str, bytes] = {}
    calibration: GateCalibration | None = None
    if source is not None and (source / MANIFEST).is_file():
        info = load_info(source)
        _check_not_distilled(info, source)
        config, tokenizer = _like(info.config, config, source, train.preset), info.tokenizer
        _check_encoder(train, config, info.config)
        subtasks, calibration = info.origin.subtasks, info.calibration
        if train.hierarchy.mode == 'action_expert':
            action_tokens = info.action_tokens
        source = source / PARAMS
    _check_kept(train, subtasks)
    encoder: Params = {}
    if train.unit_align is not None:
        tactile, encoder = unit_align_params(train.unit_align)
        config = replace(config, tactile=tactile)
    if train.uncoded:
        config = replace(config, tactile=_uncoded(config.tactile))
    words, words_source = _tokenizer(train.tokenizer, tokenizer, train.init)
    taught = taught_subtasks(train, subtasks)
    return StartPlan(
        config, source, encoder, words, words_source, taught, action_tokens, calibration=calibration
    )


def read_weights(train: TrainConfig, plan: StartPlan) -> StartWeights:
    """Read or draw the weights.

    Raises:
        CheckpointError: files are absent, damaged or of another size.
    """
    config, cast = plan.config, CastRule('float32')
    if plan.source is None:
        names = [name for name in leaf_shapes(config) if name not in plan.encoder]
        fresh = initial_params(config, names, train.seed, cast=cast, consume=on_host_device)
        params = {name: (fresh | plan.encoder)[name] for name in leaf_shapes(config)}
        return StartWeights(params, f'random weights, seed {train.seed}')
    params, report = merge_base_weights(
        config,
        plan.source,
        train.seed,
        encoder=plan.encoder,
        encoder_origin=str(train.unit_align),
        cast=cast,
    )
    return StartWeights(params, report.table())


def calibration_note(before: GateCalibration, now: GateCalibration | None, path: str) -> str:
    """Return a line on what a run makes of the calibration of the policy that it starts from.

    Args:
        before: the calibration of that policy.
        now: what was measured for the run; None: nothing, as the tactile encoder trains along.
        path: of the policy.
    """
    held = f'{path} was calibrated with {before.source} (logvar {before.mean:.2f} +- {before.std:.2f})'
    if now is None:
        line = f'gate: {held}, which no longer holds once the tactile encoder has trained along'
    else:
        line = f'gate: logvar is measured anew, {now.mean:.2f} +- {now.std:.2f} over {now.source}; {held}'
    if before.contact is None:
        return line
    return (
        f'{line}; its threshold and temperature, set by contact, are where this run begins: set them anew '
        'after it by `restac-ros calibrate`'
    )


def taught_subtasks(train: TrainConfig, before: Subtasks | None) -> Subtasks | None:
    """Return what a network will have learnt of subtasks after a run, which began with `before`."""
    hierarchy = train.hierarchy
    how = Subtasks(False, False, hierarchy.prompt, hierarchy.state_bins, hierarchy.max_subtask_tokens)
    match hierarchy.mode:
        case 'hierarchical':
            return replace(how, says=True, acts=True)
        case 'planar':  # the action expert stays, but reads a language expert that does not
            return replace(how, says=True)
        case 'action_expert':  # the language expert stays, and with it what it says
            return replace(before or how, acts=True, prompt=hierarchy.prompt)
    return None


def _plan_distilling(path: Path) -> StartPlan:
    """Start from a checkpoint of ours, as it is, with its own words."""
    info = load_info(path)
    if info.origin.subtasks is not None:
        raise TrainingError(
            f'{path}: found a network that was taught subtasks, expected one that acts by the task: its '
            'prompts are not those of `distil`'
        )
    if info.tokenizer is None:
        words, source = find_tokenizer()
    else:
        words, source = info.tokenizer, str(path)
    return StartPlan(info.config, path / PARAMS, {}, words, source, teacher=info)


def _check_not_distilled(info: CheckpointInfo, path: Path) -> None:
    """Refuse a network that has given up the flow, which training teaches, for a few steps of its own."""
    origin = info.origin
    if origin.flow_steps is not None:
        told = '' if origin.weights == Origin('').weights else f' {origin.weights},'
        raise TrainingError(
            f'init: found {path}, which was distilled to {origin.flow_steps} Euler steps, expected a policy '
            f'that learnt the flow itself: give the one that it was made from,{told} and distil the result'
        )


def _check_kept(train: TrainConfig, before: Subtasks | None) -> None:
    """Refuse other prompts than those of a language expert which stays as it is."""
    hierarchy = train.hierarchy
    if hierarchy.mode != 'action_expert' or before is None:
        return
    if hierarchy.state_bins != before.state_bins:
        raise TrainingError(
            f'hierarchy.state-bins: found {hierarchy.state_bins!r}, expected {before.state_bins!r}, as '
            f'{train.init} was taught to read its state'
        )
    if before.action_tokens and hierarchy.prompt != before.prompt:
        raise TrainingError(
            f'hierarchy.prompt: found {hierarchy.prompt!r}, expected {before.prompt!r}, as {train.init} was '
            'taught to say actions by'
        )


def _like(found: ModelConfig, wanted: ModelConfig, path: Path, preset: str) -> ModelConfig:
    """The checkpoint's configuration; it may differ from the preset's in fields of `_FREE` only.

    A policy without touch may be taught to feel: then fusion, gate and encoder are the preset's.
    """
    feels_anew = wanted.uses_touch and not found.uses_touch
    free = (*_FREE, 'fusion', 'gate') if feels_anew else _FREE
    ours, theirs = wanted.to_dict(), found.to_dict()
    other = [name for name in ours if name not in free and ours[name] != theirs.get(name)]
    if other:
        told = '; '.join(f'{name}: {theirs.get(name)} != {ours[name]}' for name in other)
        raise TrainingError(
            f'{path}: found a checkpoint of another configuration than preset {preset!r} (checkpoint != '
            f'preset): {told}; choose the preset it was made with'
        )
    if feels_anew:
        return wanted
    kept = {name: getattr(found, name) for name in ('logvar_calibration', 'tactile')}
    return replace(wanted, **kept)


def _priced(config: ModelConfig, preset: str) -> ModelConfig:
    """The network whose open gates have a price."""
    if not config.uses_touch or config.gate == 'off':
        why = "gate = 'off' is always open" if config.uses_touch else f'preset {preset!r} is without touch'
        raise TrainingError(
            f'use-sparse-loss: found True, expected False, as {why}: a price on open gates would be constant'
        )
    return replace(config, use_sparse_loss=True)


def _uncoded(tactile: TactileConfig | None) -> TactileConfig:
    """The encoder whose event vector is not replaced by a code."""
    if tactile is None or tactile.trains:
        found = 'no tactile encoder' if tactile is None else f'an encoder of kind {tactile.kind!r}'
        raise TrainingError(
            f'uncoded: found {found}, expected a Unit-Align, which has codes: give --unit-align'
        )
    return replace(tactile, kind='unit_align_uncoded')


def _check_encoder(train: TrainConfig, config: ModelConfig, found: ModelConfig) -> None:
    """Refuse to teach touch by an encoder of random weights that stays as it is."""
    wanted = config.tactile
    feels_anew = wanted is not None and found.tactile is None and not wanted.trains
    if feels_anew and train.unit_align is None:
        raise TrainingError(
            f'{train.init}: found a policy without touch and no --unit-align, expected a trained tactile '
            'encoder, as it is frozen in the policy: train one with `train-tactile`'
        )


def _tokenizer(given: Path | None, own: bytes | None, init: Path | None) -> tuple[bytes, str]:
    if given is not None:
        return find_tokenizer(given)
    if own is not None:
        return own, f'{init}'
    if init is None:  # random weights have learnt no words
        return train_demo_tokenizer(), 'built in'
    return find_tokenizer()
