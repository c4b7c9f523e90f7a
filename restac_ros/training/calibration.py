"""Set a policy's gate by recorded touch: shut in free space, open in contact."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Bool, Float, Int

from restac_ros.contract.load import load_contract
from restac_ros.model.checkpoint.network import assemble
from restac_ros.model.checkpoint.params import Params
from restac_ros.model.checkpoint.provenance import ContactCalibration, GateCalibration
from restac_ros.model.checkpoint.store import CheckpointInfo, load_info, load_params, save_checkpoint
from restac_ros.model.config import LogvarCalibration, ModelConfig
from restac_ros.model.gate import MIN_TEMPERATURE
from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.model.tactile.interface import NO_CODE
from restac_ros.policy.calibration import calibrate_gate
from restac_ros.policy.compatibility import check_fit
from restac_ros.training.contact import contact_labels
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.gate_figures import auroc
from restac_ros.training.evaluation.phases import evenly
from restac_ros.training.evaluation.surprise import CodebookUse, codebook_use
from restac_ros.training.gate_goal import GateGoal
from restac_ros.training.tactile.samples import TouchBatch, TouchSource, check_touch_data

_BATCH = 16
_THRESHOLD, _TEMPERATURE = 'gate/threshold', 'gate/temperature'
_LEAST_FRAMES = 20  # of either kind: fewer give no usable quantiles


@dataclass(frozen=True)
class TouchReadings:
    """Outputs of a policy's encoder for some frames.

    Attributes:
        logvar: raw.
        code_index: row of the codebook; NO_CODE without one.
        in_contact: by the labels.
    """

    logvar: Float[np.ndarray, ' N']
    code_index: Int[np.ndarray, ' N']
    in_contact: Bool[np.ndarray, ' N']


@dataclass(frozen=True)
class CalibrationReport:
    """A calibration, and what it was made of.

    Attributes:
        calibration: as the checkpoint holds it.
        goal: where frames were to lie.
        readings: of the frames.
        codes: use of the codebook; None of an encoder without one.
    """

    calibration: GateCalibration
    contact: ContactCalibration
    goal: GateGoal
    readings: TouchReadings
    codes: CodebookUse | None

    @property
    def standardised(self) -> Float[np.ndarray, ' N']:
        """Logvar as the gate reads it."""
        return (self.readings.logvar - self.calibration.mean) / self.calibration.std

    def gate(self, standardised: Float[np.ndarray, ' N']) -> Float[np.ndarray, ' N']:
        """The gate's value at standardised logvar."""
        return 1 / (1 + np.exp(-(standardised - self.contact.threshold) / self.contact.temperature))

    def describe(self) -> list[str]:
        """Return the calibration in words, one line for each part."""
        contact, gate = self.contact, self.gate(self.standardised)
        told = self.readings.in_contact
        quantiles = {
            name: np.quantile(self.readings.logvar[mask], (0.05, 0.5, 0.95))
            for name, mask in (('free', ~told), ('contact', told))
        }
        lines = [
            f'logvar {name:<8} 5 % {low:7.3f}   median {middle:7.3f}   95 % {high:7.3f}   of {count} frames'
            for (name, (low, middle, high)), count in zip(
                quantiles.items(), (contact.free_frames, contact.contact_frames), strict=True
            )
        ]
        lines.append(
            f'logvar mean {self.calibration.mean:.3f}, deviation {self.calibration.std:.3f}; '
            f'AUROC against contact {contact.auroc:.3f}'
        )
        lines.append(
            f'gate: threshold {contact.threshold:.3f}, temperature {contact.temperature:.3f}: '
            f'{np.mean(gate[~told] < contact.free_below):.0%} of free frames below {contact.free_below:g}, '
            f'{np.mean(gate[told] > contact.contact_above):.0%} of contact frames above '
            f'{contact.contact_above:g}'
        )
        use = 'none'
        if self.codes is not None:
            use = f'{self.codes.used} of {self.codes.size} used, perplexity {self.codes.perplexity:.1f}'
        return [*lines, f'codes: {use}']


def calibrate(
    path: Path,
    dataset: Path,
    *,
    goal: GateGoal,
    contact_column: str | None = None,
    contract: Path | None = None,
    most_frames: int = 2_000,
    to: Path | None = None,
) -> CalibrationReport:
    """Measure a checkpoint's encoder on a data set and write the calibrated checkpoint.

    Args:
        path: the checkpoint.
        dataset: LeRobot data set.
        goal: where frames are to lie.
        contact_column: column that labels contact; None: measure the tactile images.
        contract: of data that are not this package's.
        most_frames: frames that are read, evenly; half of each kind if there are so many.
        to: directory for the calibrated checkpoint; None replaces the one at `path`.

    Raises:
        CheckpointError, PolicyError, DatasetError, TrainingError: a checkpoint whose gate has no threshold,
            that does not fit the data, data without both kinds of frames, or frames that logvar cannot tell
            apart, with how far they overlap. The checkpoint stays as it is.
    """
    info = load_info(path)
    _check_gate(info.config, path)
    episodes = open_episodes(dataset, None if contract is None else load_contract(contract))
    check_fit(info, episodes.contract, str(path))
    check_touch_data(episodes)
    places, in_contact = _chosen_frames(episodes, contact_column, most_frames)
    params = load_params(path, info.config)
    logvar, code_index = _read(info.config, params, episodes, places)
    readings = TouchReadings(logvar, code_index, in_contact)
    report = _fitted(readings, goal, info.config, contact_column or 'tactile image', episodes.identity)
    _write(path if to is None else to, params, info, report, replace_there=to is None)
    return report


def fit_gate(
    free: Float[np.ndarray, ' n'], contact: Float[np.ndarray, ' m'], goal: GateGoal
) -> tuple[float, float]:
    """Return (threshold, temperature) of the sigmoid on standardised logvar that reaches the goal.

    The goal's share of free frames lies below `free_below`, the same share of contact frames above
    `contact_above`.

    Raises:
        TrainingError: the frames overlap, or lie too close for any sigmoid; the text states by how much.
    """
    free_end = float(np.quantile(free, goal.share))
    contact_begin = float(np.quantile(contact, 1 - goal.share))
    low, high = _logit(goal.free_below), _logit(goal.contact_above)
    temperature = (contact_begin - free_end) / (high - low)
    if temperature < MIN_TEMPERATURE:
        scores, kinds = np.concatenate([free, contact]), np.repeat([False, True], [len(free), len(contact)])
        area, least = float(auroc(scores, kinds)[0]), MIN_TEMPERATURE * (high - low)
        raise TrainingError(
            f'free space and contact: found {goal.share:.0%} of free frames below {free_end:.3f} and '
            f'{goal.share:.0%} of contact frames above {contact_begin:.3f} deviations of logvar: they '
            f'overlap by {free_end - contact_begin:.3f} (AUROC {area:.3f}), expected a gap of {least:.3f} or '
            'more. '
            'Train the tactile encoder further or on more data, look at the contact labels, or ask for less '
            'with --share'
        )
    return free_end - temperature * low, temperature


def _logit(share: float) -> float:
    return log(share / (1 - share))


def _check_gate(config: ModelConfig, path: Path) -> None:
    if not config.uses_touch or config.tactile is None or config.gate != 'necessity':
        found = f'gate {config.gate!r}' if config.uses_touch else "fusion 'none'"
        raise TrainingError(
            f"{path}: found {found}, expected a policy with a tactile encoder and gate 'necessity', whose "
            'threshold and temperature are set here; other gates are learnt with the policy'
        )


def _chosen_frames(
    episodes: Episodes, column: str | None, most: int
) -> tuple[Int[np.ndarray, 'n 2'], Bool[np.ndarray, ' n']]:
    """Places, and whether each is in contact."""
    labels = contact_labels(episodes, list(episodes.tables.spans), column)
    places = np.concatenate(
        [
            np.stack([np.full(len(label.in_contact), number), np.arange(len(label.in_contact))], axis=1)
            for number, label in labels.items()
        ]
    )
    in_contact = np.concatenate([label.in_contact for label in labels.values()])
    rows, _ = evenly(in_contact, most)
    counts = {'free space': int((~in_contact[rows]).sum()), 'contact': int(in_contact[rows].sum())}
    if few := [f'{count} frames in {name}' for name, count in counts.items() if count < _LEAST_FRAMES]:
        raise TrainingError(
            f'{episodes.name}: found {", ".join(few)}, expected {_LEAST_FRAMES} or more of either kind; '
            'record episodes with contact and without, read more of them with --most-frames, or name a '
            'column that labels contact'
        )
    return places[rows], in_contact[rows]


def _read(
    config: ModelConfig, params: Params, episodes: Episodes, places: Int[np.ndarray, 'n 2']
) -> tuple[Float[np.ndarray, ' n'], Int[np.ndarray, ' n']]:
    """Logvar and code of each place, by the functions that deployment calls."""
    graph, state = assemble(config, params, source='checkpoint')

    @jax.jit
    def read(state: nnx.State, batch: TouchBatch) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(graph, state)
        views = dict(zip(CAMERA_SLOTS, jnp.moveaxis(jnp.asarray(batch.views), 1, 0), strict=True))
        code = model.encode_tactile(batch.tactile, model.encode_views(views), batch.action_prev)
        return code.logvar[:, 0], code.code_index

    source = TouchSource(episodes, places, 0)
    parts = [
        read(state, source.joined([source[index] for index in rows])) for rows in _padded_batches(len(source))
    ]
    logvar, code_index = (np.concatenate([np.asarray(part[i]) for part in parts]) for i in range(2))
    return logvar[: len(source)], code_index[: len(source)]


def _padded_batches(count: int) -> list[Sequence[int]]:
    """Indices by batch; the last batch is filled with its last index, so that one program serves all."""
    indices = [*range(count)]
    indices += [count - 1] * (-count % _BATCH)
    return [indices[begin : begin + _BATCH] for begin in range(0, len(indices), _BATCH)]


def _fitted(
    readings: TouchReadings, goal: GateGoal, config: ModelConfig, labels: str, data: str
) -> CalibrationReport:
    statistics = calibrate_gate(readings.logvar, f'{len(readings.logvar)} frames of {data}')
    told = readings.in_contact
    standardised = (readings.logvar - statistics.mean) / statistics.std
    threshold, temperature = fit_gate(standardised[~told], standardised[told], goal)
    codes = None
    if config.tactile is not None and (readings.code_index != NO_CODE).all():
        codes = codebook_use(readings.code_index, told, config.tactile.quantizer.num_codes)
    contact = ContactCalibration(
        threshold=threshold,
        temperature=temperature,
        free_below=goal.free_below,
        contact_above=goal.contact_above,
        share=goal.share,
        free_frames=int((~told).sum()),
        contact_frames=int(told.sum()),
        auroc=float(auroc(readings.logvar, told)[0]),
        labels=labels,
        codes_used=None if codes is None else codes.used,
        perplexity=None if codes is None else codes.perplexity,
        data=(data,),
    )
    return CalibrationReport(replace(statistics, contact=contact), contact, goal, readings, codes)


def _write(
    path: Path, params: Params, info: CheckpointInfo, report: CalibrationReport, *, replace_there: bool
) -> None:
    calibration = report.calibration
    set_to = {_THRESHOLD: report.contact.threshold, _TEMPERATURE: report.contact.temperature}
    changed = {name: np.asarray(value, params[name].dtype) for name, value in set_to.items()}
    standardise = LogvarCalibration(calibration.mean, calibration.std)
    config = replace(info.config, logvar_calibration=standardise)
    info = replace(info, config=config, calibration=calibration)
    save_checkpoint(path, {**params, **changed}, info, replace=replace_there)
