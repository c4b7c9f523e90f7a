"""What a drill has heard, and what that shows: limits kept, stood still in time, reasons given."""

import itertools
import math
import re
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from restac_ros.control.limits import MotionLimits
from restac_ros.geometry import quaternion as quat

_STILL_M, _STILL_RAD = 1e-9, 1e-7
_START_M, _START_RAD = 0.010, 0.05  # how far the first set-point after a silence may be from the arm
_SILENCE_NS = 60_000_000
SLACK = 1 + 1e-6


class ReceivedSetPoint(NamedTuple):
    """A commanded tool pose: [3] m, [4] x y z w; and how far the arm was from it on receipt, m and rad."""

    stamp_ns: int
    position_m: np.ndarray
    quaternion_xyzw: np.ndarray
    apart_m: float = math.inf
    apart_rad: float = math.inf

    @property
    def at_arm(self) -> bool:
        """Whether a streamer may start here."""
        return self.apart_m <= _START_M and self.apart_rad <= _START_RAD


class Saying(NamedTuple):
    """One line of /diagnostics: message and values as one text."""

    stamp_ns: int
    name: str
    text: str


class DrillRecord:
    """Set-points and diagnoses in the order of arrival; written by the executor, read by anybody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set_points: list[ReceivedSetPoint] = []
        self._sayings: list[Saying] = []

    def add_set_point(self, point: ReceivedSetPoint) -> None:
        """Note a set-point."""
        with self._lock:
            self._set_points.append(point)

    def add_saying(self, saying: Saying) -> None:
        """Note a diagnosis."""
        with self._lock:
            self._sayings.append(saying)

    def set_points(self, since_ns: int = 0) -> list[ReceivedSetPoint]:
        """Those stamped since."""
        with self._lock:
            newest_first = itertools.takewhile(
                lambda point: point.stamp_ns >= since_ns, reversed(self._set_points)
            )
            return list(newest_first)[::-1]

    @property
    def newest_ns(self) -> int:
        """Stamp of the last set-point, 0 before the first."""
        with self._lock:
            return self._set_points[-1].stamp_ns if self._set_points else 0

    def heard(self, pattern: str, since_ns: int, of: str = '') -> str:
        """The first text said since that matches, by a status whose name begins with `of`; else ''."""
        return first_match(self._since(since_ns), pattern, of)

    def newest(self, name: str) -> str:
        """What the status called `name` said last; '' if nothing."""
        with self._lock:
            return next((saying.text for saying in reversed(self._sayings) if saying.name == name), '')

    def last_said_ns(self, name: str, pattern: str, since_ns: int) -> int:
        """When the status called `name` last said what matches; `since_ns` if it hasn't."""
        said = [saying for saying in self._since(since_ns) if saying.name == name]
        return max((s.stamp_ns for s in said if re.search(pattern, s.text)), default=since_ns)

    def turned_ns(self, name: str, pattern: str, since_ns: int) -> int:
        """When the status called `name` last began to say what matches; `since_ns` if it hasn't."""
        begun_ns, matched = since_ns, False
        for saying in self._since(since_ns):
            if saying.name == name:
                matches = bool(re.search(pattern, saying.text))
                begun_ns = saying.stamp_ns if matches and not matched else begun_ns
                matched = matches
        return begun_ns

    def _since(self, since_ns: int) -> list[Saying]:
        with self._lock:
            return [saying for saying in self._sayings if saying.stamp_ns >= since_ns]


def first_match(sayings: Sequence[Saying], pattern: str, of: str = '') -> str:
    """The first text that matches a regular expression, by a status whose name begins with `of`; else ''."""
    texts = (saying.text for saying in sayings if saying.name.startswith(of))
    return next((text for text in texts if re.search(pattern, text)), '')


def moved(before: ReceivedSetPoint, after: ReceivedSetPoint) -> bool:
    """Whether two set-points differ."""
    far = float(np.linalg.norm(after.position_m - before.position_m))
    return far > _STILL_M or _turned_rad(before, after) > _STILL_RAD


def last_motion_ns(points: Sequence[ReceivedSetPoint]) -> int | None:
    """Stamp of the set-point that ends the last motion; None if there was none."""
    for before, after in zip(points[-2::-1], points[:0:-1], strict=True):
        if moved(before, after):
            return after.stamp_ns
    return None


def stalls_ns(points: Sequence[ReceivedSetPoint], period_ns: int) -> int:
    """Time for which a busy machine kept set-points waiting: what gaps exceed one and a half periods by.

    The limiter takes its motion up where it was after such a gap, so that a ramp takes as much longer.
    """
    gaps = (after.stamp_ns - before.stamp_ns for before, after in itertools.pairwise(points))
    return sum(gap - period_ns for gap in gaps if gap > 1.5 * period_ns)


def restart_fault(points: Sequence[ReceivedSetPoint]) -> str:
    """What is wrong with the first set-point after the longest silence: it must be at the arm; else ''."""
    before, first = max(itertools.pairwise(points), key=lambda pair: pair[1].stamp_ns - pair[0].stamp_ns)
    if first.at_arm:
        return ''
    silent_s = (first.stamp_ns - before.stamp_ns) * 1e-9
    return (
        f'after {silent_s:.2f} s without set-points the first is {first.apart_m * 1e3:.1f} mm and '
        f'{first.apart_rad:.3f} rad from the arm'
    )


def violations(points: Sequence[ReceivedSetPoint], limits: MotionLimits) -> list[str]:
    """Set-points outside the workspace, steps beyond what their time allows: in words, each once.

    The publisher keeps one set-point, so that a listener may miss some: steps are held against the speed
    limits, which are the stricter ones at a streamer's rate. A start at the arm after a silence is no step.
    """
    found: dict[str, str] = {}
    for point in points:
        if not np.isfinite([*point.position_m, *point.quaternion_xyzw]).all():
            found.setdefault('finite', f'set-point {point.position_m} {point.quaternion_xyzw} is not finite')
        elif not limits.inside(point.position_m):
            found.setdefault('box', f'set-point {point.position_m} m lies outside the workspace')
        if abs(np.linalg.norm(point.quaternion_xyzw) - 1) > 1e-6:
            found.setdefault('unit', f'quaternion {point.quaternion_xyzw} is no unit quaternion')
    for before, after in itertools.pairwise(points):
        gap_s = max(after.stamp_ns - before.stamp_ns, 0) * 1e-9
        if gap_s * 1e9 >= _SILENCE_NS and after.at_arm:
            continue
        far_m = float(np.linalg.norm(after.position_m - before.position_m))
        turned_rad = _turned_rad(before, after)
        if far_m > limits.speed_m_s * gap_s * SLACK + _STILL_M:
            found.setdefault('step', f'a step of {far_m * 1e3:.2f} mm in {gap_s * 1e3:.1f} ms')
        if turned_rad > limits.speed_rad_s * gap_s * SLACK + _STILL_RAD:
            found.setdefault('turn', f'a turn of {turned_rad:.4f} rad in {gap_s * 1e3:.1f} ms')
    return list(found.values())


def _turned_rad(before: ReceivedSetPoint, after: ReceivedSetPoint) -> float:
    return float(np.linalg.norm(quat.difference(after.quaternion_xyzw, before.quaternion_xyzw)))
