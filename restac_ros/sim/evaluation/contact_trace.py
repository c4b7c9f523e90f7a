"""True contact over an attempt, as the physics has it."""

from bisect import bisect_right

import numpy as np

from restac_ros.sim.cell.cell_loop import TOUCH_N


class ContactTrace:
    """The contact force at the times it was added; times never go back."""

    def __init__(self) -> None:
        self._times_ns: list[int] = []
        self._forces_n: list[float] = []

    def add(self, time_ns: int, force_n: np.ndarray) -> None:
        """Note the force [3] of all contacts on the plug."""
        self._times_ns.append(time_ns)
        self._forces_n.append(float(np.linalg.norm(force_n)))

    def in_contact_at(self, time_ns: int) -> bool:
        """Return whether there was contact at the last time noted by then; False before the first."""
        place = bisect_right(self._times_ns, time_ns) - 1
        return place >= 0 and self._forces_n[place] > TOUCH_N

    @property
    def mean_n(self) -> float | None:
        """Mean force in contact; None where there was none."""
        touching = [force for force in self._forces_n if force > TOUCH_N]
        return float(np.mean(touching)) if touching else None

    @property
    def share(self) -> float:
        """Share of the times in contact."""
        return sum(force > TOUCH_N for force in self._forces_n) / max(len(self._forces_n), 1)
