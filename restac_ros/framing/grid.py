"""The time grid that frames lie on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Ticks start_ns + i * 10**9 // fps: integers throughout, hence no drift over any duration."""

    start_ns: int
    fps: int

    def tick_ns(self, index: int) -> int:
        """Time of tick `index`."""
        return self.start_ns + index * 10**9 // self.fps
