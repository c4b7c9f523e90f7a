"""Keys that move the arm of the simulated cell step by step, without terminal and processes."""

from restac_ros.nodes.keyboard.requests import ConsoleCall, ConsoleRequest, JogStep

STEPS_M = {'1': 0.0005, '2': 0.002, '3': 0.008}
STEPS_RAD = {'1': 0.01, '2': 0.04, '3': 0.15}
# In the base frame: x away from the robot, y to its left, z up.
_MOVES = {
    'i': (1, 0, 0), 'k': (-1, 0, 0),
    'j': (0, 1, 0), 'l': (0, -1, 0),
    'u': (0, 0, 1), 'o': (0, 0, -1),
}  # fmt: skip
_TURNS = {',': 1, '.': -1}
_CALLS = {
    'g': ConsoleCall('close', 'teleop_node'),
    'b': ConsoleCall('open', 'teleop_node'),
    'x': ConsoleCall('reset', 'sim_node'),
}
_KEPT_SCENE = 'x: an episode is being recorded, and the arm would leap in it: save or discard it first'


class JogKeys:
    """Turns keys into steps of the tool, and calls of gripper and cell.

    None of its keys is one of a recorder's or a run's.

    Attributes:
        is_recorded: a recorder has an episode open, in which the scene must not change.
        notice: why the last key had no effect; '' where it had one.
    """

    def __init__(self) -> None:
        self._size = '2'
        self.is_recorded = False
        self.notice = ''

    @property
    def requests(self) -> list[ConsoleCall]:
        """All possible calls of services."""
        return list(_CALLS.values())

    @property
    def line(self) -> str:
        """The present keys."""
        sizes = ' '.join(f'[{key}]' if key == self._size else key for key in STEPS_M)
        return (
            f'i k j l: forward back left right   u o: up down   , .: turn   {sizes}: '
            f'steps of {1000 * STEPS_M[self._size]:g} mm   g b: close open   x: next scene'
        )

    def key(self, key: str) -> list[ConsoleRequest] | None:
        """Return the requests of a typed character; None where it is none of these keys."""
        self.notice = ''
        if key in _MOVES:
            x_m, y_m, z_m = (STEPS_M[self._size] * share for share in _MOVES[key])
            return [JogStep((x_m, y_m, z_m), 0.0)]
        if key in _TURNS:
            return [JogStep((0.0, 0.0, 0.0), STEPS_RAD[self._size] * _TURNS[key])]
        if key in STEPS_M:
            self._size = key
            return []
        if key == 'x' and self.is_recorded:
            self.notice = _KEPT_SCENE
            return []
        return [_CALLS[key]] if key in _CALLS else None
