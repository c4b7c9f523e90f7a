"""The figures of an evaluation, and their JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from restac_ros.training.evaluation.action_error import PhaseError
from restac_ros.training.evaluation.bootstrap import Estimate
from restac_ros.training.evaluation.dependence import Effects, TouchVerdict
from restac_ros.training.evaluation.gate_figures import GateFigures
from restac_ros.training.evaluation.parity import Parity
from restac_ros.training.evaluation.settings import EvaluationConfig
from restac_ros.training.evaluation.surprise import CodebookUse, SurpriseCalibration
from restac_ros.training.evaluation.words import SaidActionFigures, SubtaskFigures

NO_TOUCH = 'no touch'
UNKNOWN = 'unknown'  # an interval
NO_ACTIONS = ' (it learnt texts, and no action by them: its chunks are those of its base)'

_HELD_OUT = {
    True: 'that no checkpoint was trained on',
    False: 'of which some were trained on',
    None: 'not known to be held out',
}


@dataclass(frozen=True)
class FlowBin:
    """Velocity loss at one flow time: 1 is noise, 0 is the action."""

    time: float
    loss: Estimate


@dataclass(frozen=True)
class StepFigure:
    """Chunks sampled in fewer Euler steps from the same noise.

    Attributes:
        steps: how many.
        error: action error of all frames.
        change: how far the chunks are from those of the deployed number of steps, in the same units.
    """

    steps: int
    error: Estimate
    change: Estimate


@dataclass(frozen=True)
class TouchReport:
    """Figures on touch; see the modules of its parts.

    `surprise` is None for encoders without a prior, `codebook` for those without one.
    """

    verdict: TouchVerdict
    ablations: Effects
    gate: GateFigures
    surprise: SurpriseCalibration | None
    codebook: CodebookUse | None


@dataclass(frozen=True)
class EvaluatedCheckpoint:
    """Figures of one checkpoint.

    `acts` is False where subtasks were learnt, and no action by them: action errors mean nothing then.
    `touch` is None for a policy without touch, `subtasks` for one without, `tokens` for one that generates
    no actions.
    """

    name: str
    path: str
    fusion: str
    encoder: str
    trained_steps: int
    acts: bool
    parity: Parity
    errors: Mapping[str, PhaseError]
    flow: list[FlowBin]
    steps: list[StepFigure]
    inputs: Effects
    touch: TouchReport | None
    subtasks: SubtaskFigures | None
    tokens: SaidActionFigures | None


@dataclass(frozen=True)
class Comparison:
    """A checkpoint against the first one, by phase.

    `change` is the relative change of the action error, frames and noise paired: negative is better.
    """

    name: str
    against: str
    change: Mapping[str, Estimate]


@dataclass(frozen=True)
class TraceSample:
    """One episode's contact and gates, for drawing."""

    episode: int
    time_s: list[float]
    contact: list[bool]
    gates: Mapping[str, list[float]]


@dataclass(frozen=True)
class EvaluationReport:
    """All figures of an evaluation.

    `held_out`: no checkpoint was trained on any of the episodes; None: that is not known.
    """

    dataset: str
    fingerprint: str
    contract: str
    fps: int
    held_out: bool | None
    episodes: list[int]
    frames: Mapping[str, int]
    settings: EvaluationConfig
    checkpoints: list[EvaluatedCheckpoint]
    comparisons: list[Comparison]
    trace: TraceSample | None

    @property
    def which_episodes(self) -> str:
        """How many episodes were evaluated, and whether they were trained on."""
        return f'{len(self.episodes)} episodes {_HELD_OUT[self.held_out]}'

    def describe(self) -> list[str]:
        """Return the lines for the terminal: episodes, errors, verdicts, comparisons."""
        lines = [f'{self.dataset}: {self.which_episodes}']
        for one in self.checkpoints:
            told = ', '.join(f'{phase} {error.action.value:.4f}' for phase, error in one.errors.items())
            lines.append(f'{one.name}: action error {told}{"" if one.acts else NO_ACTIONS}')
            verdict = one.touch.verdict if one.touch else None
            lines.append(f'  touch: {f"{verdict.verdict}: {verdict.reason}" if verdict else NO_TOUCH}')
            if (said := one.subtasks) is not None:
                lines.append(f'  subtasks: {said.right.value:.1%} right with their end; {_errors_of(said)}')
            if (tokens := one.tokens) is not None:
                lines.append(f'  actions as tokens ({tokens.kind}): {_errors_as_tokens(tokens)}')
        for other in self.comparisons:
            told = ', '.join(f'{phase} {_change(change)}' for phase, change in other.change.items())
            lines.append(f'{other.name} against {other.against}: {told}')
        return lines

    def to_json(self) -> str:
        """One object; estimates are {value, low, high}, what is not known is null."""
        return json.dumps(plain_values(self), indent=1, allow_nan=False) + '\n'


def _change(change: Estimate) -> str:
    ends = f'{change.low:+.1%}, {change.high:+.1%}' if change.has_interval else UNKNOWN
    return f'{change.value:+.1%} [{ends}]'


def _errors_of(said: SubtaskFigures) -> str:
    if said.stated_error is None or said.said_error is None:
        return 'no generated subtask could plan a chunk'
    return (
        f'action error by the stated subtask {said.stated_error.value:.4f}, by the said one '
        f'{said.said_error.value:.4f} ({said.usable:.1%} of the frames)'
    )


def _errors_as_tokens(tokens: SaidActionFigures) -> str:
    if tokens.error is None or tokens.flow_error is None:
        return 'none stand for a chunk'
    return (
        f'action error {tokens.error.value:.4f}, of the action expert {tokens.flow_error.value:.4f} '
        f'({tokens.readable:.1%} of the frames)'
    )


def plain_values(value: Any) -> Any:
    """Return a value as what JSON can hold; numbers that are not finite are None."""
    if isinstance(value, EvaluatedCheckpoint):
        return {**_fields(value), 'touch': plain_values(value.touch) if value.touch else NO_TOUCH}
    if isinstance(value, Estimate):
        return {name: plain_values(part) for name, part in value._asdict().items()}
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(name): plain_values(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(part) for part in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: plain_values(getattr(value, field.name)) for field in fields(value)}
