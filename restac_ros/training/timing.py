"""Where the time of a run goes: steps, waiting for data; and a window of steps under the profiler."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from restac_ros.training.config import ProfileConfig


class StepTimer:
    """Steps per second, and the share of time that went into waiting for data.

    Args:
        now_s: a clock that does not jump, s.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._begun_s, self._waited_s = now_s(), 0.0
        self._step: int | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting."""
        begun_s = self._now_s()
        yield
        self._waited_s += self._now_s() - begun_s

    def lap(self, step: int) -> dict[str, float]:
        """Numbers since the last call; the first lap, with compilation, gives none."""
        now_s = self._now_s()
        elapsed_s, made = max(now_s - self._begun_s, 1e-9), step - (self._step or step)
        numbers = {}
        if made:
            numbers = {'steps_per_s': made / elapsed_s, 'data_wait': self._waited_s / elapsed_s}
        self._begun_s, self._waited_s, self._step = now_s, 0.0, step
        return numbers


class ProfileWindow:
    """Traces the device during some steps, if asked.

    Args:
        directory: TensorBoard's profile plugin and Perfetto read what is written there.
        config: which steps.
    """

    def __init__(self, directory: Path, config: ProfileConfig) -> None:
        self._directory, self._config = directory, config
        self._is_open = False

    def before(self, step: int) -> None:
        """Open the window if `step` is its first."""
        if step == self._config.step:
            jax.profiler.start_trace(str(self._directory))
            self._is_open = True

    def after(self, step: int, result: object) -> None:
        """Close the window after its last step, when the device has finished `result`."""
        if self._is_open and step >= self._config.step + self._config.steps - 1:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """Write what was traced."""
        if self._is_open:
            self._is_open = False
            jax.profiler.stop_trace()
