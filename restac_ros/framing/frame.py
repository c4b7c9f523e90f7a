"""A frame: the inputs of the policy, and a row of the data set, at one instant."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StreamStatus:
    """Which sample of a stream a frame used, its age at the frame's time, and if it is invalid, why.

    `reason` is empty when valid; else it begins with 'missing', 'stale', 'future' or 'undecodable'; of live
    frames also with 'frozen' or 'other joints'.
    """

    stamp_ns: int | None
    receive_ns: int | None
    age_ns: int | None
    valid: bool
    reason: str = ''

    def times_ns(self) -> tuple[int, int]:
        """Return when the sample was captured and received; ValueError where the frame has none."""
        if self.stamp_ns is None or self.receive_ns is None:
            raise ValueError(f'no sample: {self.reason}')
        return self.stamp_ns, self.receive_ns


@dataclass(frozen=True, eq=False)
class Frame:
    """Everything known at `time_ns`, made only of what had been received by then.

    images:      camera stream -> uint8 [224, 224, 3] RGB, letterboxed
    tactile:     tactile stream -> uint8 [128, 160, 3] RGB
    state:       float32 [7]: x y z [m] of the tool in the base frame, rotation [3] [rad], gripper opening [m]
                 (the contract's constant where it states that there is no gripper)
    action_prev: float32 [7]: state minus the state one period earlier, raw units; zeros at an episode's start
    target:      float32 [6]: commanded pose of the tool, where the contract has a target_pose stream
    streams:     status of every stream asked for
    reasons:     why the frame is not usable, each beginning with what is at fault; empty when it is

    An invalid value is absent (or None), never zero. Arrays are read-only, as frames share them.
    """

    time_ns: int
    images: Mapping[str, np.ndarray]
    tactile: Mapping[str, np.ndarray]
    state: np.ndarray | None
    action_prev: np.ndarray | None
    target: np.ndarray | None
    streams: Mapping[str, StreamStatus]
    reasons: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """All required streams valid, and state and action_prev known."""
        return not self.reasons
