"""The figures of a closed-loop evaluation, as a table and as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from restac_ros.sim.cell.intervals import PairedDifference
from restac_ros.sim.evaluation.attempt_record import AttemptRecord
from restac_ros.sim.evaluation.cell_figures import CellFigures, Middle
from restac_ros.sim.evaluation.machine import Machine
from restac_ros.sim.evaluation.settings import CallDurations, SimEvaluationConfig
from restac_ros.training.evaluation.bootstrap import Estimate
from restac_ros.training.evaluation.gate_figures import RiseLatency
from restac_ros.training.evaluation.report import TraceSample, plain_values

COLUMNS = (
    'checkpoint',
    'condition',
    'inserted',
    '95 %',
    'against as it is',
    'against first',
    'aligned',
    'inserted if aligned',
    'alignment [s]',
    'interaction [s]',
    'insertion [s]',
    'peak [N]',
    'mean [N]',
    'gate AUROC',
    'rise [ms]',
    'contact to gate [ms]',
    'halted',
    'dropped',
)


@dataclass(frozen=True)
class TriedCheckpoint:
    """A checkpoint, by its name in the report, what it is, and how long its calls took in simulated time.

    `measured_on` names what the durations were measured on; '': they were given.
    """

    name: str
    path: str
    fingerprint: str
    fusion: str
    trained_steps: int
    durations: CallDurations
    measured_on: str


@dataclass(frozen=True)
class CellReport:
    """Everything that was found.

    Attributes:
        version: of this package.
        command: that makes the same attempts.
        machine: what drew and computed.
        changed_parameters: of policy and streamer, those that differ from the installed ones.
        contract, prompt: of the cell and of the task.
        settings: sizes and seeds.
        checkpoints: the first is what the others are compared with.
        figures: of each checkpoint under each condition.
        insertions_s: times of the successes with nothing changed, by checkpoint.
        trace: gates of one attempt; None where no policy feels.
        films: videos.
    """

    version: str
    command: str
    machine: Machine
    changed_parameters: Mapping[str, Mapping[str, object]]
    contract: str
    prompt: str
    settings: SimEvaluationConfig
    checkpoints: list[TriedCheckpoint]
    figures: list[CellFigures]
    insertions_s: Mapping[str, list[float]]
    trace: TraceSample | None
    films: list[Path]

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the table's rows, one text for each of `COLUMNS`."""
        for one in self.figures:
            gate = one.gate
            yield (
                one.checkpoint,
                one.condition,
                f'{one.success.value:.0%}',
                f'{one.success.low:.0%} to {one.success.high:.0%}',
                _signed(one.against_as_it_is),
                _signed(one.against_first),
                f'{one.aligned.value:.0%}',
                '' if one.inserted_if_aligned is None else f'{one.inserted_if_aligned.value:.0%}',
                _median(one.alignment_s),
                _median(one.interaction_s),
                _median(one.insertion_s),
                f'{_median(one.peak_n)}, most {one.peak_n.largest or 0:.1f}',
                _median(one.mean_n),
                '' if gate is None or gate.auroc is None else _interval(gate.auroc),
                _risen(gate.rise if gate else None),
                _risen(one.contact_to_gate),
                str(one.halted),
                str(one.dropped),
            )

    def describe(self) -> Iterator[str]:
        """Yield a line for each checkpoint and condition: successes and differences."""
        for one in self.figures:
            low, high = one.success.low, one.success.high
            differences = {
                'nothing changed': one.against_as_it_is,
                self.checkpoints[0].name: one.against_first,
            }
            told = ''.join(f'; points against {name} {_signed(d)}' for name, d in differences.items() if d)
            yield (
                f'{one.checkpoint}, {one.condition}: {round(one.success.value * one.attempts)} of '
                f'{one.attempts} inserted ({low:.0%} to {high:.0%}){told}'
            )

    def conduct(self) -> str:
        """Say how policies were deployed, how long their calls took, and on what: sentences."""
        changed = ', '.join(
            f'{name} {values["here"]} (installed: {values["installed"]})'
            for name, values in self.changed_parameters.items()
        )
        calls = {
            one.name: f'a prefix takes {one.durations.prefix_ms:g} ms, a tactile frame '
            f'{one.durations.tactile_ms:g} ms, a chunk {one.durations.act_ms:g} ms'
            + (f' (measured on {one.measured_on})' if one.measured_on else '')
            for one in self.checkpoints
        }
        if len(alike := set(calls.values())) == 1:
            taken = alike.pop()
        else:
            taken = '; '.join(f'{name}: {text}' for name, text in calls.items())
        return (
            f'In simulated time {taken}. Parameters of policy and streamer: '
            f'{f"{changed}; else " if changed else ""}as installed. The attempts were {self.machine}.'
        )

    def to_json(self) -> str:
        """One object; estimates are {value, low, high}, what is not known is null.

        Durations are those of each checkpoint.
        """
        values = plain_values(self)
        del values['settings']['durations']
        values['films'] = [str(film) for film in self.films]
        return json.dumps(values, indent=1, allow_nan=False) + '\n'


def shown_gate(records: Mapping[str, Sequence[AttemptRecord]]) -> TraceSample | None:
    """Return the gate of the first policy that feels, in its first attempt with contact, else its first."""
    for name, made in records.items():
        felt = [record for record in made if record.felt.gate]
        if felt:
            shown = next((record for record in felt if any(record.felt.contact)), felt[0])
            return TraceSample(shown.seed, shown.felt.time_s, shown.felt.contact, {name: shown.felt.gate})
    return None


def _signed(difference: PairedDifference | None) -> str:
    if difference is None:
        return ''
    low, high = 100 * difference.low, 100 * difference.high
    return f'{100 * difference.value:+.0f} [{low:+.0f}, {high:+.0f}], p {difference.p_value:.2g}'


def _median(middle: Middle) -> str:
    return '' if middle.median is None else f'{middle.median:.1f}'


def _risen(rise: RiseLatency | None) -> str:
    """Return the median in ms, and of how many contacts."""
    if rise is None:
        return ''
    median = 'none' if rise.median_ms is None else f'{rise.median_ms:.0f}'
    count = f'{len(rise.latencies_ms)} of {rise.contacts}'
    if rise.open_before or rise.never:
        count += f'; {rise.open_before} open before, {rise.never} never'
    return f'{median} ({count})'


def _interval(estimate: Estimate) -> str:
    return f'{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]'
