"""Where the tool has been, thinned to what can be seen."""

from collections import deque

import numpy as np

SPACING_M = 0.015
MAX_POINTS = 100  # 1.5 m of path


class Trail:
    """The executed path of the last `span_ns`, each point with the gate that was in force there."""

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self._points: deque[tuple[int, np.ndarray, float]] = deque(maxlen=MAX_POINTS)

    def append(self, steady_ns: int, position_m: np.ndarray, gate: float) -> None:
        """Add the tool's position [3] in the base frame, unless it lies within SPACING_M of the last one."""
        points = self._points
        if points and steady_ns < points[-1][0]:
            points.clear()
        while points and points[0][0] < steady_ns - self._span_ns:
            points.popleft()
        if not points or np.linalg.norm(position_m - points[-1][1]) >= SPACING_M:
            points.append((steady_ns, np.array(position_m, dtype=np.float64), gate))

    def clear(self) -> None:
        """Forget everything."""
        self._points.clear()

    def path(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions float64 [N, 3] in m, oldest first, and gates float64 [N]."""
        positions = np.array([position for _, position, _ in self._points]).reshape(-1, 3)
        return positions, np.array([gate for _, _, gate in self._points], dtype=np.float64)
