"""Axes of a gamepad as speeds of the tool: which axis moves what, the dead zone, and what is missing."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

DIRECTIONS = ('x', 'y', 'z', 'roll', 'pitch', 'yaw')
"""Along and about the base frame's axes, in the order of the six shares."""
AXIS_EXAMPLES = "'1 +x' (axis 1, pushed forward, moves along x) or '3 -yaw'"
_AXIS = re.compile(rf'(?P<axis>\d+)\s+(?P<sign>[+-]?)(?P<direction>{"|".join(DIRECTIONS)})')


class StickAxis(NamedTuple):
    """An axis of a gamepad, counted from 0, and the direction in which its positive end moves the tool."""

    axis: int
    direction: str
    sign: float

    @property
    def place(self) -> int:
        """Index of the direction among the six shares."""
        return DIRECTIONS.index(self.direction)


def parse_axes(lines: Iterable[str]) -> tuple[StickAxis, ...]:
    """Return axes from lines such as '1 +x'; blank lines count as none.

    Raises:
        ValueError: a line is no axis, or two move the same.
    """
    axes = tuple(_parsed(line) for line in lines if line.strip())
    for index, one in enumerate(axes):
        if one.direction in {other.direction for other in axes[:index]}:
            raise ValueError(f'{one.direction} is moved by two axes; leave one')
    return axes


def deflections(
    axes: Sequence[StickAxis], states: Sequence[float], dead_zone: float
) -> tuple[np.ndarray, list[int]]:
    """Return the shares [6] of the largest speeds that a gamepad asks for, and the axes that it lacks.

    States are -1 to 1. Within the dead zone an axis is at rest; beyond it the share grows from 0, so that
    nothing jumps. A state that is no number is at rest.
    """
    shares, missing = np.zeros(6), []
    for one in axes:
        if one.axis >= len(states):
            missing.append(one.axis)
            continue
        state = float(np.nan_to_num(states[one.axis], posinf=0.0, neginf=0.0))
        beyond = min(max(abs(state) - dead_zone, 0.0) / (1.0 - dead_zone), 1.0)
        shares[one.place] = one.sign * np.sign(state) * beyond
    return shares, missing


def _parsed(line: str) -> StickAxis:
    found = _AXIS.fullmatch(line.strip())
    if not found:
        raise ValueError(
            f'{line!r} is no axis; expected {AXIS_EXAMPLES}; directions: {", ".join(DIRECTIONS)}'
        )
    return StickAxis(int(found['axis']), found['direction'], -1.0 if found['sign'] == '-' else 1.0)
