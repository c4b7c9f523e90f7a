"""What a drill has received, and checks on it: limits kept, motion ended in time, reasons published."""

import itertools
import math
import re
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from restac_ros.control.limits import MotionLimits
from restac_ros.geometry import quaternion as quat

_STILL_M, _STILL_RAD = 1e-9, 1e-7
_START_M, _START_RAD = 0.010, 0.05  # how far the first set-point after a silence may be from the arm
_SILENCE_NS = 60_000_000
SLACK = 1 + 1e-6
STREAMING = 'streamer_node: streaming'
_LASTED = re.compile(r'since_s=([\d.]+)')


class ReceivedSetPoint(NamedTuple):
    """A commanded tool pose, and the distance of the arm from it on receipt, m and rad."""

    stamp_ns: int
    position_m: np.ndarray
    quaternion_xyzw: np.ndarray
    apart_m: float = math.inf
    apart_rad: float = math.inf

    def at_arm(self, limits: MotionLimits, streamed_ns: int = 0) -> bool:
        """Whether a streamer that began `streamed_ns` before may have begun where the arm was on receipt."""
        streamed_s = streamed_ns * 1e-9
        near = self.apart_m <= _START_M + limits.speed_m_s * streamed_s
        return near and self.apart_rad <= _START_RAD + limits.speed_rad_s * streamed_s


class StatusText(NamedTuple):
    """A status of /diagnostics: message and values as one text."""

    stamp_ns: int
    name: str
    text: str


class DrillRecord:
    """Set-points and statuses in the order of arrival; written by the executor, read by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set_points: list[ReceivedSetPoint] = []
        self._statuses: list[StatusText] = []

    def add_set_point(self, point: ReceivedSetPoint) -> None:
        """Append a set-point."""
        with self._lock:
            self._set_points.append(point)

    def add_statuses(self, statuses: Iterable[StatusText]) -> None:
        """Append statuses."""
        with self._lock:
            self._statuses.extend(statuses)

    def set_points(self, since_ns: int = 0) -> list[ReceivedSetPoint]:
        """Set-points stamped at `since_ns` or later."""
        with self._lock:
            newer = itertools.takewhile(lambda point: point.stamp_ns >= since_ns, reversed(self._set_points))
            return list(newer)[::-1]

    @property
    def newest_ns(self) -> int:
        """Stamp of the last set-point, 0 before the first."""
        with self._lock:
            return self._set_points[-1].stamp_ns if self._set_points else 0

    def newest(self, name: str) -> str:
        """Newest text of the status called `name`; '' before the first."""
        with self._lock:
            return next((status.text for status in reversed(self._statuses) if status.name == name), '')

    def statuses(self, since_ns: int, name: str = '') -> list[StatusText]:
        """Statuses stamped at `since_ns` or later whose name begins with `name`."""
        with self._lock:
            newer = [status for status in self._statuses if status.stamp_ns >= since_ns]
        return [status for status in newer if status.name.startswith(name)]


def first_match(statuses: Iterable[StatusText], pattern: str, name: str = '') -> str:
    """First text that matches a regular expression, of statuses whose name begins with `name`; else ''."""
    texts = (status.text for status in statuses if status.name.startswith(name))
    return next((text for text in texts if re.search(pattern, text)), '')


def last_match_ns(statuses: Iterable[StatusText], pattern: str, default_ns: int) -> int:
    """Stamp of the last status whose text matches."""
    return max((s.stamp_ns for s in statuses if re.search(pattern, s.text)), default=default_ns)


def turned_ns(statuses: Iterable[StatusText], pattern: str, default_ns: int) -> int:
    """Begin of the last unbroken run of matching texts.

    Of two changes at once a busy node publishes the later one: the duration of its phase shows both.
    """
    begun_ns, matched = default_ns, False
    for status in statuses:
        before, matched = matched, bool(re.search(pattern, status.text))
        if matched and not before:
            begun_ns = status.stamp_ns
        elif matched and (lasted := _LASTED.search(status.text)):
            begun_ns = max(begun_ns, status.stamp_ns - round(float(lasted[1]) * 1e9))
    return begun_ns


def starts_ns(statuses: Iterable[StatusText]) -> list[int]:
    """When motion began, by each status of the streamer that says that it moves and since when."""
    moving = (s for s in statuses if s.name == STREAMING and s.text.startswith('moving'))
    found = ((status, _LASTED.search(status.text)) for status in moving)
    return [status.stamp_ns - round(float(lasted[1]) * 1e9) for status, lasted in found if lasted]


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
    """Sum of the excess of gaps longer than one and a half periods: a busy machine delays set-points.

    The limiter continues its motion after such a gap, so that a ramp lasts longer by that time.
    """
    gaps = (after.stamp_ns - before.stamp_ns for before, after in itertools.pairwise(points))
    return sum(gap - period_ns for gap in gaps if gap > 1.5 * period_ns)


def restart_fault(points: Sequence[ReceivedSetPoint], limits: MotionLimits, starts: Sequence[int]) -> str:
    """Describe the first set-point after the longest silence if motion didn't start at the arm; else ''.

    `starts`: as of `starts_ns`. A starved machine loses set-points, the first ones of a motion, too.
    """
    before, first = max(itertools.pairwise(points), key=lambda pair: pair[1].stamp_ns - pair[0].stamp_ns)
    if first.at_arm(limits, _streamed_ns(before, first, starts)):
        return ''
    silent_s = (first.stamp_ns - before.stamp_ns) * 1e-9
    return (
        f'after {silent_s:.2f} s without set-points the first is {first.apart_m * 1e3:.1f} mm and '
        f'{first.apart_rad:.3f} rad from the arm'
    )


def violations(
    points: Sequence[ReceivedSetPoint], limits: MotionLimits, starts: Sequence[int] = ()
) -> list[str]:
    """Describe set-points outside the workspace and steps above the speed limits, the first of each kind.

    The queue holds one set-point, so some may be missed: steps are compared with the speed limits, which at a
    streamer's rate are stricter than the step limits. A start at the arm after a silence is no step.
    `starts`: as of `starts_ns`.
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
        if gap_s * 1e9 >= _SILENCE_NS and after.at_arm(limits, _streamed_ns(before, after, starts)):
            continue
        far_m = float(np.linalg.norm(after.position_m - before.position_m))
        turned_rad = _turned_rad(before, after)
        if far_m > limits.speed_m_s * gap_s * SLACK + _STILL_M:
            found.setdefault('step', f'a step of {far_m * 1e3:.2f} mm in {gap_s * 1e3:.1f} ms')
        if turned_rad > limits.speed_rad_s * gap_s * SLACK + _STILL_RAD:
            found.setdefault('turn', f'a turn of {turned_rad:.4f} rad in {gap_s * 1e3:.1f} ms')
    return list(found.values())


def _streamed_ns(before: ReceivedSetPoint, first: ReceivedSetPoint, starts: Sequence[int]) -> int:
    """How long set-points had been published before `first`, which are those lost since `before`."""
    between = (start_ns for start_ns in starts if before.stamp_ns < start_ns <= first.stamp_ns)
    return first.stamp_ns - min(between, default=first.stamp_ns)


def _turned_rad(before: ReceivedSetPoint, after: ReceivedSetPoint) -> float:
    return float(np.linalg.norm(quat.difference(after.quaternion_xyzw, before.quaternion_xyzw)))
