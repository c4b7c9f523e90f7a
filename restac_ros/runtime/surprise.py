"""Decides which rises of the gate trigger a replan: edges with hysteresis and a least interval."""

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


class SurpriseTrigger:
    """Follows the gates of one run.

    The first gate can't have risen: if it is high already, it must come down first. A rise that comes too
    soon after the one before counts when the interval is over, if the gate is still high then.
    """

    def __init__(self, rule: SurpriseRule) -> None:
        self._rule = rule
        self._armed: bool | None = None  # None before the first gate
        self._last_ns: int | None = None

    def rises(self, gate: float, time_ns: int) -> bool:
        """Return whether the next gate triggers a replan. `time_ns` is of a steady clock.

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
