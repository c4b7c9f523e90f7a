"""What a run prints and writes while it goes on: one line at a time, and TensorBoard's files."""

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from restac_ros.training.errors import TrainingError


@contextmanager
def _hiding(module: str) -> Iterator[None]:
    """Hide a module from imports in the block, unless it is loaded already."""
    hidden = module not in sys.modules
    if hidden:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[module]


with _hiding('torch'):  # the writer would load it wherever it is installed, and needs nothing of it
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

_WANDB_ID = 'wandb_id.txt'
_LINE = {  # name: how it is printed
    'loss': 'loss {:.4f}',
    'reconstruction_grey': 'reconstruction {:.2f} grey levels',
    'nll': 'NLL {:.3f}',
    'unexplained': 'unexplained {:.0%}',
    'perplexity': '{:.1f} codes in effect',
    'restarts': 'restarts {:.0f}',
    'validation_reconstruction_grey': 'validation: reconstruction {:.2f} grey levels',
    'validation_explained': 'validation: explained {:.0%}',
    'validation_nll': 'NLL {:.3f}',
    'validation_nll_constant': '(constant variance {:.3f})',
    'validation_rank_correlation': 'rank correlation {:.2f}',
    'validation_perplexity': '{:.1f} codes in effect',
    'validation_codes_used': '{:.0%} used',
    'subtask_accuracy': 'subtasks right {:.1%}',
    'validation_subtask_loss': 'validation: subtasks {:.4f}',
    'validation_subtask_accuracy': 'right {:.1%}',
    'validation_flow_loss': 'validation {:.4f}',
    'validation_action_position_m': 'chunks {:.4f} m',
    'validation_action_rotation_rad': '{:.4f} rad',
    'validation_action_gripper_mm': '{:.2f} mm',
    'position_m': '{:.4f} m',
    'rotation_rad': '{:.4f} rad',
    'gripper_mm': '{:.2f} mm',
    'gate': 'gate {:.2f}',
    'gate_saturated': 'saturated {:.0%}',
    'steps_per_s': '{:.2f} steps/s',
    'data_wait': 'waiting for data {:.1%}',
    'memory_gib': '{:.1f} GiB',
}
_OF_DATA_SET = 'flow_loss_of/'


class Reporter(Protocol):
    """Where numbers go."""

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Report the numbers of a step."""


class StepTimer:
    """Measures steps per second, and the share of time that went into waiting for data.

    Args:
        now_s: a clock that does not jump, s.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._begun_s, self._waited_s = now_s(), 0.0
        self._step: int | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting for data."""
        begun_s = self._now_s()
        yield
        self._waited_s += self._now_s() - begun_s

    def lap(self, step: int) -> dict[str, float]:
        """Return the numbers since the last call; the first lap, with compilation, has none."""
        now_s = self._now_s()
        elapsed_s, made = max(now_s - self._begun_s, 1e-9), step - (self._step or step)
        numbers = {}
        if made:
            numbers = {'steps_per_s': made / elapsed_s, 'data_wait': self._waited_s / elapsed_s}
        self._begun_s, self._waited_s, self._step = now_s, 0.0, step
        return numbers


class RunProgress:
    """Prints a line per report, and writes all numbers for TensorBoard.

    Args:
        directory: of the run; TensorBoard's files go into `metrics/`.
        steps: of the whole run.
        show: prints a line.
        wall_s: time of day, s since 1970, which TensorBoard shows.
        beside: where else numbers go.

    Raises:
        TrainingError: no file can be made.
    """

    def __init__(
        self,
        directory: Path,
        steps: int,
        show: Callable[[str], None],
        wall_s: Callable[[], float],
        beside: 'WandbNumbers | None' = None,
    ) -> None:
        self._metrics, self._wall_s = directory / 'metrics', wall_s
        with self._saying('a file of numbers cannot be made'):
            self._metrics.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(self._metrics / 'events'))
        self._steps, self._show, self._beside = steps, show, beside
        self._speed: float | None = None

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Print and write the numbers of a step.

        They are on the disk when this returns. A thread that writes them ends, unseen, at a full disk, and
        the run waits for it for ever.

        Raises:
            TrainingError: the disk is full.
        """
        now_s = self._wall_s()
        with self._saying(f'the numbers of step {step} cannot be written'):
            for name, value in numbers.items():
                self._events.write_event(Event(wall_time=now_s, step=step, summary=scalar(name, value)))
            self._events.flush()
        if self._beside is not None:
            self._beside.step(step, numbers)
        self._speed = numbers.get('steps_per_s', self._speed)
        parts = [text.format(numbers[name]) for name, text in _LINE.items() if name in numbers]
        parts += [
            f'{name.removeprefix(_OF_DATA_SET)} {value:.4f}'
            for name, value in numbers.items()
            if name.startswith(_OF_DATA_SET)
        ]
        if self._speed and 'steps_per_s' in numbers:
            parts.append(f'{_duration((self._steps - step) / self._speed)} left')
        self._show(f'step {step:>{len(str(self._steps))}}  ' + '  '.join(parts))

    def close(self) -> None:
        """Close the files.

        Raises:
            TrainingError: the disk is full.
        """
        try:
            with self._saying('the last numbers cannot be written'):
                self._events.close()
        finally:
            if self._beside is not None:
                self._beside.close()

    @contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        """Name what a fault of the disk in the block prevents."""
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f'{self._metrics}: {what}: {error}; the states that are saved stay. Free some disk, then run '
                'the same command, which goes on from the last of them'
            ) from error


class SilentProgress:
    """Reporter of all processes but the first, whose numbers are the same."""

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Drop the numbers."""

    def close(self) -> None:
        """Do nothing: no file is open."""


class WandbNumbers:
    """Sends numbers to Weights & Biases; a resumed run goes on in the same place.

    Args:
        project: name of the project.
        directory: of the run.
        settings: what the run was started with.

    Raises:
        TrainingError: the package is not installed.
    """

    def __init__(self, project: str, directory: Path, settings: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise TrainingError(
                'wandb: found no package of that name, expected it as numbers shall go to project '
                f"{project!r}: `pip install -e '.[wandb]'`, or leave --wandb out: TensorBoard's "
                'files are always written'
            ) from error
        self._run = wandb.init(
            project=project,
            id=_wandb_id(directory),
            name=directory.name,
            dir=str(directory.absolute()),
            config=dict(settings),
            resume='allow',
        )

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Send the numbers of a step."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Send the remaining numbers."""
        self._run.finish()


def _wandb_id(directory: Path) -> str:
    """The run's number at Weights & Biases, drawn when it begins; another run in that place has another."""
    path = directory / _WANDB_ID
    if not path.exists():
        path.write_text(secrets.token_hex(8), encoding='ascii')
    return path.read_text(encoding='ascii').strip()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'
