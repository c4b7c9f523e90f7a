"""A window of steps under the device's profiler."""

from pathlib import Path

import jax

from restac_ros.training.config import ProfileConfig


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
        """Write the trace."""
        if self._is_open:
            self._is_open = False
            jax.profiler.stop_trace()
