"""The figures of a closed-loop evaluation, as a table and as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from restac_ros.sim.cell.intervals import PairedDifference
from restac_ros.sim.evaluation.attempt_record import AttemptRecord
from restac_ros.sim.evaluation.cell_figures import CellFigures, Middle
from restac_ros.sim.evaluation.settings import SimEvaluationConfig
from restac_ros.training.evaluation.bootstrap import Estimate
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
    """A checkpoint, by its name in the report, and what it is."""

    name: str
    path: str
    fingerprint: str
    fusion: str
    trained_steps: int


@dataclass(frozen=True)
class CellReport:
    """Everything that was found.

    Attributes:
        version: of this package.
        contract, prompt: of the cell and of the task.
        settings: sizes and seeds.
        checkpoints: the first is what the others are compared with.
        figures: of each checkpoint under each condition.
        insertions_s: times of the successes with nothing changed, by checkpoint.
        trace: gates of one attempt; None where no policy feels.
        films: videos.
    """

    version: str
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
            rise = gate.rise.median_ms if gate and gate.rise else None
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
                '' if rise is None else f'{rise:.0f}',
                _median(one.contact_to_gate_ms),
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

    def to_json(self) -> str:
        """One object; estimates are {value, low, high}, what is not known is null."""
        values = plain_values(self)
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


def _interval(estimate: Estimate) -> str:
    return f'{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]'
