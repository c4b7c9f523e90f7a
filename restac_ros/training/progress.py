"""What a run says while it goes on: one line at a time, and TensorBoard's files."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

_LINE = {  # name: how it is printed
    'loss': 'loss {:.4f}',
    'validation_flow_loss': 'validation {:.4f}',
    'position_m': '{:.4f} m',
    'rotation_rad': '{:.4f} rad',
    'gripper_mm': '{:.2f} mm',
    'gate': 'gate {:.2f}',
    'gate_saturated': 'saturated {:.0%}',
    'steps_per_s': '{:.2f} steps/s',
    'data_wait': 'waiting for data {:.1%}',
}


class RunProgress:
    """Prints a line per report, and writes all numbers for TensorBoard.

    Args:
        directory: of the run; TensorBoard's files go into `metrics/`.
        steps: of the whole run.
        say: prints a line.
    """

    def __init__(self, directory: Path, steps: int, say: Callable[[str], None]) -> None:
        self._writer = SummaryWriter(str(directory / 'metrics'))
        self._steps, self._say = steps, say
        self._speed: float | None = None

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a step."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._speed = numbers.get('steps_per_s', self._speed)
        parts = [text.format(numbers[name]) for name, text in _LINE.items() if name in numbers]
        if self._speed and 'steps_per_s' in numbers:
            parts.append(f'{_duration((self._steps - step) / self._speed)} left')
        self._say(f'step {step:>{len(str(self._steps))}}  ' + '  '.join(parts))

    def close(self) -> None:
        """Flush the files."""
        self._writer.close()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'
