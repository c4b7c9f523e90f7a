"""Compares recent set-points with measured poses: whether the arm follows."""

import itertools
from collections import deque
from dataclasses import dataclass

import numpy as np

from restac_ros.geometry.pose import Offset, Pose

LENGTH_NS = 2_000_000_000
MOTIONLESS_NS = 500_000_000  # a slow stream may well give two chunks the same measurement


@dataclass(frozen=True)
class FollowingConfig:
    """How far the arm may stay behind.

    Attributes:
        following_m, following_rad: how far the measured tool may be from what was commanded at that time.
        motionless_m, motionless_rad: how far set-points may go while the measured pose stays the same to the
            bit: the driver that measures it has died and repeats its last message.
    """

    following_m: float = 0.1
    following_rad: float = 0.5
    motionless_m: float = 0.02
    motionless_rad: float = 0.1


class CommandedTrail:
    """The set-points of the last two seconds, and the last measured pose."""

    def __init__(self, config: FollowingConfig) -> None:
        self._config = config
        self._commanded: deque[tuple[int, Pose]] = deque()
        self._measured: Pose | None = None
        self._same_since_ns = 0

    def add(self, time_ns: int, pose: Pose) -> None:
        """Note a set-point."""
        self._commanded.append((time_ns, pose))
        while self._commanded[0][0] <= time_ns - LENGTH_NS:
            self._commanded.popleft()

    def clear(self) -> None:
        """Forget the set-points: nothing is commanded any more, or the clock was set back."""
        self._commanded.clear()

    def judge(self, measured: Pose, stamp_ns: int) -> str | None:
        """Why the arm does not follow, by its pose measured at `stamp_ns`; None if it does."""
        if self._measured is None or not all(map(np.array_equal, self._measured, measured)):
            self._measured, self._same_since_ns = measured, stamp_ns
        commanded = next((pose for time_ns, pose in reversed(self._commanded) if time_ns <= stamp_ns), None)
        if commanded is None:
            return None
        config, gap = self._config, Offset.between(commanded, measured)
        if gap.distance_m <= config.following_m and gap.angle_rad <= config.following_rad:
            return self._motionless(stamp_ns)
        return (
            f'the tool is {gap.distance_m:.3f} m and {gap.angle_rad:.2f} rad from its set-point, at most '
            f'{config.following_m:g} m and {config.following_rad:g} rad are allowed; check the controller, '
            'then resume: motion starts at the measured pose'
        )

    def _motionless(self, stamp_ns: int) -> str | None:
        """How far set-points went while the measured pose stayed what it was to the bit, if too far."""
        same_ns = stamp_ns - self._same_since_ns
        if same_ns < MOTIONLESS_NS:
            return None
        since = itertools.dropwhile(lambda entry: entry[0] < self._same_since_ns, self._commanded)
        during = [pose for _, pose in itertools.takewhile(lambda entry: entry[0] <= stamp_ns, since)]
        ways = [Offset.between(during[0], pose) for pose in during]
        far_m = max((way.distance_m for way in ways), default=0.0)
        far_rad = max((way.angle_rad for way in ways), default=0.0)
        if far_m <= self._config.motionless_m and far_rad <= self._config.motionless_rad:
            return None
        return (
            f'the measured pose has been the same to the bit for {same_ns / 1e6:.0f} ms while set-points '
            f'went {far_m:.3f} m and {far_rad:.2f} rad; check that the robot runs and its state is alive, '
            'then resume'
        )
