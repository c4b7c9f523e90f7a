"""A checkpoint with 8-bit weights, and what that costs: error of each layer, and of the actions on data.

Weight-only, symmetric, one scale per output channel. A calibration finds the weights whose integers change
the actions most and keeps them in bfloat16, as far as a budget of bytes allows.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from restac_ros.framing.values import STATE_DIM
from restac_ros.model.checkpoint.files import check_absent
from restac_ros.model.checkpoint.int8_leaves import becomes_int8, quantised, refuse_int8
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams
from restac_ros.model.checkpoint.params import CastRule, Params, num_bytes
from restac_ros.model.checkpoint.store import (
    PARAMS,
    Checkpoint,
    CheckpointInfo,
    load_info,
    load_params,
    save_checkpoint,
)
from restac_ros.model.int8 import Int8Weight
from restac_ros.training.action_probe import ActionProbe
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.evaluate import Tell

_NORMALISED_RANGE = 2.0  # actions lie in [-1, 1]
_BF16 = CastRule('bfloat16')


@dataclass(frozen=True)
class LeafError:
    """What rounding did to one weight.

    Attributes:
        name: of the leaf.
        layers: how many it stacks; 1 for a weight that is no stack.
        error: root mean square of the change over that of the weight.
        worst_layer, worst_error: the same of the layer where it is largest.
        action_error: median change of the actions when only this weight is rounded, as a share of the
            normalised range; None: not calibrated.
        kept: whether it stayed in bfloat16.
    """

    name: str
    layers: int
    error: float
    worst_layer: int
    worst_error: float
    action_error: float | None = None
    kept: bool = False


@dataclass(frozen=True)
class ActionError:
    """Change of the actions against the unquantised policy, same frames and noise.

    Attributes:
        frames: how many.
        median, p95, largest: over frames, steps and the robot's dimensions, as shares of the range [-1, 1].
    """

    frames: int
    median: float
    p95: float
    largest: float

    @classmethod
    def of(cls, found: Float[np.ndarray, 'n T D'], expected: Float[np.ndarray, 'n T D']) -> 'ActionError':
        """Compare normalised chunks."""
        change = np.abs(found - expected)[..., :STATE_DIM] / _NORMALISED_RANGE
        return cls(len(change), *(float(np.quantile(change, q)) for q in (0.5, 0.95, 1.0)))


@dataclass(frozen=True)
class QuantisationReport:
    """What was written.

    Attributes:
        path: the new checkpoint.
        leaves: every weight that could become integers.
        bytes_int8, bytes_bf16: of all parameters, on a device, now and were all of them bfloat16 (touch and
            gate are float32 in both).
        file_bytes: of the parameters on disk.
        actions: None: no data were given.
    """

    path: Path
    leaves: tuple[LeafError, ...]
    bytes_int8: int
    bytes_bf16: int
    file_bytes: int
    actions: ActionError | None

    def describe(self) -> list[str]:
        """Return the table of weights, then sizes and the actions' error, one line each."""
        lines = [f'{"weight":<66} {"layers":>6} {"error":>8} {"worst layer":>16} {"actions":>9}']
        for leaf in self.leaves:
            actions = '' if leaf.action_error is None else f'{leaf.action_error:.3%}'
            worst = f'{leaf.worst_error:.3%} at {leaf.worst_layer}'
            kept = '  kept in bfloat16' if leaf.kept else ''
            lines.append(
                f'{leaf.name:<66} {leaf.layers:>6} {leaf.error:>8.3%} {worst:>16} {actions:>9}{kept}'
            )
        lines.append(
            f'parameters: {self.bytes_int8 / 1e6:,.1f} MB on the device, {self.share:.3f} of bfloat16; '
            f'{self.file_bytes / 1e6:,.1f} MB on disk'
        )
        if self.actions is None:
            lines.append('actions: not compared; give --dataset')
        else:
            lines.append(
                f'actions against the unquantised policy, {self.actions.frames} frames: median '
                f'{self.actions.median:.3%}, 95 % {self.actions.p95:.3%}, largest '
                f'{self.actions.largest:.3%} of the normalised range'
            )
        return lines

    @property
    def share(self) -> float:
        """Bytes of the parameters over bfloat16's."""
        return self.bytes_int8 / self.bytes_bf16


def quantise(
    path: Path,
    to: Path,
    *,
    dataset: Path | None = None,
    frames: int = 32,
    calibrate: bool = False,
    budget: float = 0.52,
    seed: int = 0,
    tell: Tell,
) -> QuantisationReport:
    """Write a checkpoint whose large weights are 8-bit integers.

    Args:
        path: checkpoint of any configuration without adapters.
        to: directory to make.
        dataset: LeRobot data set on which actions are compared with the unquantised policy's.
        frames: how many frames of it, evenly.
        calibrate: keep in bfloat16 the weights that change the actions most for their size.
        budget: bytes of all parameters, as a share of bfloat16's, up to which weights are kept.
        seed: of the noise that chunks start from.
        tell: progress.

    Raises:
        CheckpointError: unreadable, quantised already, or `to` exists.
        TrainingError: adapters, a calibration without data, or data that do not fit.
    """
    path = Path(path).absolute()
    info, stored = _opened(path, to)
    if calibrate and dataset is None:
        raise TrainingError('--calibrate: found no data set, expected one on which actions are compared')
    probe = None if dataset is None else ActionProbe.open(path, dataset, frames, seed)
    params, errors = _rounded(stored, tell)
    bf16 = sum(array.size_in(_BF16(name, array.dtype)) for name, array in stored.arrays.items())
    expected, original = None, Params()
    if probe is not None:
        original = load_params(path, info.config, consume=jax.device_put)
        expected = probe.chunks(original, tell, 'unquantised policy')
        if calibrate:
            errors = _sensitivities(probe, original, params, errors, expected, tell)
            errors = _kept(errors, params, budget * bf16)
    for leaf in errors:
        if leaf.kept:
            params[leaf.name] = np.asarray(original[leaf.name]).astype(jnp.bfloat16)
    tell('writing', 0, 1)
    origin = replace(info.origin, made_by='quantise', weights=str(path))
    save_checkpoint(to, params, replace(info, origin=origin, versions={}))
    actions = None
    if probe is not None and expected is not None:
        actions = _deployed_error(probe, to, expected, tell)
    file_bytes = sum(file.stat().st_size for file in (to / PARAMS).rglob('*') if file.is_file())
    return QuantisationReport(to, tuple(errors), num_bytes(params), bf16, file_bytes, actions)


def _opened(path: Path, to: Path) -> tuple[CheckpointInfo, OrbaxParams]:
    check_absent(to)
    info = load_info(path)
    experts = info.config.paligemma, info.config.action_expert
    if any(expert.lora_attention or expert.lora_mlp for expert in experts):
        raise TrainingError(
            f'{path}: found adapters, expected none: add them to the weights first, with '
            f"'restac-ros merge-lora {path} --to {to.with_name(path.name + '-merged')}'"
        )
    stored = OrbaxParams(path / PARAMS)
    refuse_int8({name: array.dtype for name, array in stored.arrays.items()}, str(path))
    return info, stored


def _rounded(stored: OrbaxParams, tell: Tell) -> tuple[Params, list[LeafError]]:
    """All leaves, those that can be as integers, and their errors; one floating weight is in memory."""
    params, errors = Params(), []
    for done, name in enumerate(stored.arrays):
        tell('rounding', done, len(stored.arrays))
        leaf = np.asarray(stored.read([name])[name])
        params[name] = leaf
        if becomes_int8(name):
            params[name] = weight = quantised(name, leaf)
            errors.append(_leaf_error(name, leaf, weight))
    return params, errors


def _leaf_error(name: str, leaf: np.ndarray, weight: Int8Weight) -> LeafError:
    is_stack = '/layers/' in name or 'encoderblock' in name
    layers = leaf if is_stack else leaf[None]
    rounded = weight if is_stack else weight[None]
    squares = np.empty((2, len(layers)))
    for layer, exact in enumerate(layers):
        value = exact.astype(np.float32)
        change = np.asarray(rounded.values[layer], np.float32) * rounded.scale[layer] - value
        squares[:, layer] = np.square(change).mean(dtype=np.float64), np.square(value).mean(dtype=np.float64)
    by_layer = np.sqrt(squares[0] / np.maximum(squares[1], np.finfo(np.float64).tiny))
    worst, whole = int(by_layer.argmax()), squares.sum(axis=1)
    error = float(np.sqrt(whole[0] / max(whole[1], np.finfo(np.float64).tiny)))
    return LeafError(name, len(layers), error, worst, float(by_layer[worst]))


def _sensitivities(
    probe: ActionProbe,
    original: Params,
    params: Params,
    errors: list[LeafError],
    expected: np.ndarray,
    tell: Tell,
) -> list[LeafError]:
    """Round one weight at a time, in the original's dtype, so that one program serves all."""
    found = []
    for done, leaf in enumerate(errors):
        tell('calibrating', done, len(errors))
        weight = params[leaf.name]
        assert isinstance(weight, Int8Weight)
        rounded = weight.astype(original[leaf.name].dtype)
        chunks = probe.chunks({**original, leaf.name: rounded})
        found.append(replace(leaf, action_error=ActionError.of(chunks, expected).median))
    return found


def _kept(errors: list[LeafError], params: Params, allowed: float) -> list[LeafError]:
    """Mark the weights that change the actions most for the bytes they cost, until no other fits."""
    size = num_bytes(params)
    cost = {leaf.name: 2 * params[leaf.name].size - params[leaf.name].nbytes for leaf in errors}
    kept = set()
    for leaf in sorted(errors, key=lambda one: -(one.action_error or 0.0) / cost[one.name]):
        if size + cost[leaf.name] <= allowed:
            size += cost[leaf.name]
            kept.add(leaf.name)
    return [replace(leaf, kept=leaf.name in kept) for leaf in errors]


def _deployed_error(probe: ActionProbe, to: Path, expected: np.ndarray, tell: Tell) -> ActionError:
    """The written checkpoint, read and run as a robot does."""
    checkpoint = Checkpoint.on_device(to, load_info(to, checksums=False))
    return ActionError.of(probe.chunks(checkpoint.params, tell, 'quantised policy'), expected)
