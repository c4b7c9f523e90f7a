"""Making checkpoints: random ones to try the runtime with, and ones from openpi's or LeRobot's weights.

Neither is a trained ResTac policy. What was not measured is marked, and a policy on it logs a warning.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.base_weights import is_safetensors, merge_base_weights, on_host_device
from restac_ros.model.checkpoint.encoder_source import unit_align_params
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.files import check_absent
from restac_ros.model.checkpoint.merge import TOUCH_LEAVES
from restac_ros.model.checkpoint.network import assemble, initial_params, leaf_shapes
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams
from restac_ros.model.checkpoint.params import CastRule, Params, num_bytes
from restac_ros.model.checkpoint.provenance import GateCalibration, Origin
from restac_ros.model.checkpoint.report import LoadReport
from restac_ros.model.checkpoint.sizes import with_sizes_of
from restac_ros.model.checkpoint.store import CheckpointInfo, save_checkpoint
from restac_ros.model.config import Dtype, LogvarCalibration, ModelConfig
from restac_ros.model.presets import PRESETS
from restac_ros.policy.calibration import calibrate_gate
from restac_ros.policy.compatibility import check_model
from restac_ros.policy.demo_tokenizer import train_demo_tokenizer
from restac_ros.policy.normalization import NOT_MEASURED, NormStats, NormStatsError
from restac_ros.policy.provisional import (
    codebook_around,
    encode_noise,
    stats_from_limits,
)
from restac_ros.policy.tokenizer import TokenizerError, find_tokenizer

_CODEBOOK = 'tactile/quantizer/embed'


@dataclass(frozen=True)
class CheckpointReport:
    """What was written; its text is meant for the terminal."""

    path: Path
    num_values: int
    num_bytes: int
    stats_source: str
    calibration_source: str
    tokenizer: str
    leaves: LoadReport | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f'{self.path}: {self.num_values:,} values, {self.num_bytes / 2**20:.0f} MiB',
            f'  normalisation: {self.stats_source}',
            f'  gate calibration: {self.calibration_source}',
            f'  tokenizer: {self.tokenizer}',
            *(f'  note: {note}' for note in self.notes),
        ]
        return '\n'.join([*lines, *([self.leaves.table()] if self.leaves else [])])


def init_checkpoint(
    preset: str | ModelConfig,
    contract: Contract,
    out_dir: Path,
    *,
    seed: int = 0,
) -> CheckpointReport:
    """Write a checkpoint of random weights in which every input matters. It cannot do any task.

    It brings its own small tokenizer, so that nothing needs to be downloaded.

    Args:
        preset: a name in PRESETS, or a configuration.
        contract: of the robot it is to run on.
        out_dir: directory to make.
        seed: of all weights.

    Raises:
        CheckpointError: the directory exists, or the preset is unknown.
        PolicyError: the contract cannot feed the model.
    """
    config = _config_of(preset)
    check_model(config, contract, str(preset if isinstance(preset, str) else 'model'))
    check_absent(out_dir)
    names = leaf_shapes(config)
    params = initial_params(config, names, seed, everything=True, consume=on_host_device)
    config, params, calibration = _calibrated(config, params, seed, draw_codebook=True)
    stats = stats_from_limits(contract, config)
    origin = Origin('init-checkpoint', 'random, untrained', seed)
    _save(out_dir, params, config, contract, stats, calibration, train_demo_tokenizer(), origin)
    return _report(out_dir, params, stats, calibration, 'built in, of a few dozen demonstration words', None)


def import_checkpoint(
    source: Path,
    preset: str | ModelConfig | None,
    contract: Contract,
    out_dir: Path,
    *,
    unit_align: Path | None = None,
    norm_stats: NormStats | None = None,
    tokenizer: Path | None = None,
    dtype: Dtype | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
) -> CheckpointReport:
    """Write a checkpoint from pi0.5 base weights; touch and gate start as at the start of training.

    Args:
        source: an openpi checkpoint (orbax), or a LeRobot pi05 directory or safetensors file.
        preset: a name in PRESETS, or a configuration, of the size of the source; None: pi05_restac with a
            tactile encoder, else pi05, with the sizes that an openpi checkpoint shows.
        contract: of the robot it is for.
        out_dir: directory to make.
        unit_align: where the tactile encoder is, see `unit_align_params`; its sizes replace the preset's.
        norm_stats: measured on the robot's data; default is derived from the contract and marked so.
        tokenizer: SentencePiece file to put into the checkpoint; default is PaliGemma's from the cache,
            looked up when the policy is loaded.
        dtype: of the stored parameters; default as in the source.
        seed: of the leaves that the source does not have.
        progress: receives the name of each step that takes long.

    Raises:
        CheckpointError: the directory exists, the source is damaged or of another architecture or size, or
            no encoder is at `unit_align`.
        TactileCheckpointError, TactileFileError: the Unit-Align file is unusable.
        PolicyError: the contract cannot feed the model.
        NormStatsError: `norm_stats` are of a place outside the contract's workspace.
    """
    check_absent(out_dir)
    if norm_stats is not None:
        _check_range(norm_stats, contract)
    config, notes = _config_for(preset, source, has_touch=unit_align is not None)
    config, encoder = _with_unit_align(config, unit_align)
    check_model(config, contract, str(source))
    progress(f'reading {source}')
    params, leaves = merge_base_weights(
        config, source, seed, encoder=encoder, encoder_origin=str(unit_align), cast=CastRule(dtype)
    )
    notes += _touch_left_out(config, leaves)
    progress('calibrating the gate')
    is_new = _CODEBOOK in leaves.names('kept')
    config, params, calibration = _calibrated(config, params, seed, draw_codebook=is_new)
    stats = norm_stats or stats_from_limits(contract, config)
    origin = Origin(
        'import-checkpoint', str(source), seed, unit_align=str(unit_align) if unit_align else None
    )
    own_tokenizer = find_tokenizer(tokenizer)[0] if tokenizer else None
    progress(f'writing {out_dir}')
    _save(out_dir, params, config, contract, stats, calibration, own_tokenizer, origin)
    return _report(out_dir, params, stats, calibration, _tokenizer_text(tokenizer), leaves, notes)


def _save(
    out_dir: Path,
    params: Params,
    config: ModelConfig,
    contract: Contract,
    stats: NormStats,
    calibration: GateCalibration | None,
    tokenizer: bytes | None,
    origin: Origin,
) -> None:
    info = CheckpointInfo(config, dump_contract(contract), stats.to_dict(), origin, calibration, tokenizer)
    save_checkpoint(out_dir, params, info)


def _tokenizer_text(tokenizer: Path | None) -> str:
    if tokenizer is not None:
        return str(tokenizer)
    try:
        return f"PaliGemma's, not included; read from {find_tokenizer()[1]}"
    except TokenizerError:
        return "PaliGemma's, not included and not in the cache: run `restac-ros download-tokenizer` once"


def _check_range(stats: NormStats, contract: Contract) -> None:
    """Refuse statistics whose positions lie outside of the contract's workspace: they are of other data."""
    box = contract.limits.workspace_m
    for index, axis in enumerate('xyz'):
        low, high = stats.state.q01[index], stats.state.q99[index]
        if high < box.min[index] or low > box.max[index]:
            raise NormStatsError(
                f'norm_stats: state {axis}: found {low:g} to {high:g}, expected values inside the workspace '
                f'({box.min[index]:g} to {box.max[index]:g} m): of another robot, or joint angles? Measure '
                'them on this robot: `restac-ros norm-stats`'
            )


def _config_for(
    preset: str | ModelConfig | None, source: Path, *, has_touch: bool
) -> tuple[ModelConfig, list[str]]:
    """The configuration asked for; without a preset, of the sizes that an openpi checkpoint shows."""
    if preset is not None:
        return _config_of(preset), []
    config = _config_of('pi05_restac' if has_touch else 'pi05')
    if not source.exists() or is_safetensors(source):
        return config, []
    sized = with_sizes_of(config, OrbaxParams(source).shapes, str(source))
    if sized == config:
        return config, []
    sizes = f'widths {sized.paligemma.width} and {sized.action_expert.width}, depth {sized.paligemma.depth}'
    return sized, [f'sizes as in the source, of no preset: {sizes}']


def _touch_left_out(config: ModelConfig, leaves: LoadReport) -> list[str]:
    """Name what is lost when a policy with touch is imported into a network without."""
    touch = [name for name in leaves.names('dropped') if re.search(TOUCH_LEAVES, name)]
    if config.uses_touch or not touch:
        return []
    return [
        f'touch was left out: {len(touch)} leaves of the source are of touch and gate, and this network has '
        'neither; --preset pi05_restac or pi05_restac_token_in_ae keeps them'
    ]


def _with_unit_align(config: ModelConfig, path: Path | None) -> tuple[ModelConfig, Params]:
    """The configuration with the sizes of the encoder at `path`, and its leaves; without a path as it is."""
    if path is None:
        return config, {}
    if not config.uses_touch:
        raise CheckpointError(
            f'{path}: the preset has no touch (fusion = {config.fusion!r}); choose one with it'
        )
    tactile, encoder = unit_align_params(path)
    return replace(config, tactile=tactile), encoder


def _calibrated(
    config: ModelConfig, params: Params, seed: int, *, draw_codebook: bool
) -> tuple[ModelConfig, Params, GateCalibration | None]:
    """Set the gate's standardisation, and a random encoder's codebook, from the encoder's own outputs."""
    if not config.uses_touch:
        return config, params, None
    graph, state = assemble(config, params, source='new checkpoint')
    code = encode_noise(config, graph, state, seed)
    if draw_codebook and _CODEBOOK in params:
        embed = codebook_around(code, np.asarray(params[_CODEBOOK])).astype(np.float32)
        params = params | {name: on_host_device(embed) for name in (_CODEBOOK, f'{_CODEBOOK}_avg')}
    calibration = calibrate_gate(np.asarray(code.logvar[:, 0]), f'{NOT_MEASURED}; random images')
    standardise = LogvarCalibration(calibration.mean, calibration.std)
    return replace(config, logvar_calibration=standardise), params, calibration


def _report(
    path: Path,
    params: Params,
    stats: NormStats,
    calibration: GateCalibration | None,
    tokenizer: str,
    leaves: LoadReport | None,
    notes: Sequence[str] = (),
) -> CheckpointReport:
    return CheckpointReport(
        path=path,
        num_values=sum(leaf.size for leaf in params.values()),
        num_bytes=num_bytes(params),
        stats_source=stats.source,
        calibration_source=calibration.source if calibration else 'none needed',
        tokenizer=tokenizer,
        leaves=leaves,
        notes=tuple(notes),
    )


def _config_of(preset: str | ModelConfig) -> ModelConfig:
    if isinstance(preset, ModelConfig):
        return preset
    if preset not in PRESETS:
        raise CheckpointError(f'preset {preset!r} is unknown; known: {", ".join(PRESETS)}')
    return PRESETS[preset]
