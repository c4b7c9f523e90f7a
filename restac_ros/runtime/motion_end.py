"""Finds the end of a motion: the tool and the gripper stand still after they had moved."""

from collections import deque

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.framing.values import state_change

STILL_M, STILL_RAD = 0.002, 0.01
"""What stands still moves less: noise of a measured pose is a tenth of this."""
_MOVES = 2.0  # times as much is a motion: what creeps in between neither begins nor ends one


class MotionEnd:
    """Follows the states of one run.

    Args:
        contract: what states mean.
        still_ns: so long all must stand still.
    """

    def __init__(self, contract: Contract, still_ns: int) -> None:
        self._contract, self._still_ns = contract, still_ns
        self._held: deque[tuple[int, np.ndarray]] = deque()  # the last `still_ns`, and one from before
        self._moved = False

    def ends(self, state: np.ndarray, time_ns: int) -> bool:
        """Return whether a motion has ended with this state; each end counts once.

        Args:
            state: [7], x y z [m], rotation [3] [rad], gripper opening [m].
            time_ns: when it was measured; a clock that is set back begins anew.
        """
        if self._held and time_ns < self._held[-1][0]:
            self._held.clear()
        self._held.append((time_ns, np.asarray(state, np.float64)))
        while len(self._held) > 1 and time_ns - self._held[1][0] >= self._still_ns:
            self._held.popleft()
        share = max(self._share(before) for _, before in self._held)
        if share > _MOVES:
            self._moved = True
        if not self._moved or share > 1 or time_ns - self._held[0][0] < self._still_ns:
            return False
        self._moved = False
        return True

    def _share(self, before: np.ndarray) -> float:
        """How far the newest state is from an earlier one [7], in what still counts as standing."""
        change = np.abs(state_change(self._contract, self._held[-1][1], before))
        metres = max(float(np.linalg.norm(change[:3])), float(change[6]))
        return max(metres / STILL_M, float(np.linalg.norm(change[3:6])) / STILL_RAD)
