"""When the gate's rise is worth a replan of its own: an edge with hysteresis, and no oftener than allowed."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SurpriseRule:
    """When a rise of the gate counts.

    threshold: the gate must rise above it; 1 is never exceeded, and so switches triggering off.
    release: the gate must have come down to this, or below, before it can count again.
    min_interval_ns: least time between two that count.
    """

    threshold: float
    release: float
    min_interval_ns: int

    def __post_init__(self) -> None:
        if not 0 <= self.release <= self.threshold <= 1:
            found = f'release {self.release:g}, threshold {self.threshold:g}'
            raise ValueError(f'{found}; expected 0 <= release <= threshold <= 1')
        if self.min_interval_ns < 0:
            raise ValueError(f'min_interval_ns is {self.min_interval_ns}; expected 0 or more')


class SurpriseTrigger:
    """Follows one run's gates; a new run takes a new one.

    The first gate can't have risen: if it is high already, it must come down first. A rise that comes too
    soon after the one before counts when the interval is over, if the gate is still high then.
    """

    def __init__(self, rule: SurpriseRule) -> None:
        self._rule = rule
        self._armed: bool | None = None  # None before the first gate
        self._last_ns: int | None = None

    def rises(self, gate: float, time_ns: int) -> bool:
        """Take the next gate; whether it triggers. `time_ns` is of a steady clock.

        Raises:
            ValueError: a gate that is no number from 0 to 1.
        """
        if math.isnan(gate) or not 0 <= gate <= 1:
            raise ValueError(f'gate is {gate}; expected a number from 0 to 1')
        rule = self._rule
        if self._armed is None:
            self._armed = gate <= rule.threshold
        elif gate <= rule.release:
            self._armed = True
        if not self._armed or gate <= rule.threshold:
            return False
        if self._last_ns is not None and time_ns - self._last_ns < rule.min_interval_ns:
            return False
        self._armed, self._last_ns = False, time_ns
        return True
