"""The gate at the tool as shapes: ring, bar and label, the coming chunk and the executed path.

A shape is a visualization_msgs/Marker as arrays. Lines carry the gate's colour, as rviz does not shade them,
and shading would falsify it. Everything lies in the robot's base frame, in m.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from restac_ros.view.colours import FAINT, INVALID, TEXT, gate_colours, gate_rgba, rgba
from restac_ros.view.samples import ChunkSample, GateSample

ShapeKind = Literal['line_strip', 'points', 'text']

RING_RADIUS_M = 0.06
RING_SEGMENTS = 36
BAR_OFFSET_M = np.array([0.0, 0.11, 0.0])  # from the tool, in the base frame, so that the bar stays upright
BAR_HEIGHT_M = 0.12
BAR_WIDTH_M = 0.012
TRACK_WIDTH_M = 0.0025
ARC_WIDTH_M = 0.008
PATH_WIDTH_M = 0.005
STEP_SIZE_M = 0.009
LABEL_HEIGHT_M = 0.022
LABEL_ABOVE_M = 0.13
FADES = 8  # steps of opacity along the executed path
PAST_ALPHA = 0.3  # of the part of a chunk whose time has come


_TURN = np.linspace(0.0, 2 * np.pi, RING_SEGMENTS + 1)
_BAR_LOW_M, _BAR_SIDE_M = -BAR_HEIGHT_M / 2, BAR_WIDTH_M / 2
_BAR_FRAME = np.array(
    [
        (0.0, side * _BAR_SIDE_M, end * _BAR_LOW_M)
        for side, end in ((-1, 1), (1, 1), (1, -1), (-1, -1), (-1, 1))
    ]
)
_TRACK_COLOUR = rgba(FAINT)
_CIRCLE = RING_RADIUS_M * np.stack([np.cos(_TURN), np.sin(_TURN), np.zeros_like(_TURN)], axis=-1)


@dataclass(frozen=True, eq=False)
class Shape:
    """One marker.

    name:    namespace in rviz, where each can be switched off
    kind:    'line_strip' of width `size_m`, 'points' of side `size_m`, or 'text' of letter height `size_m`
    pose:    float64 [4, 4], of the points' frame, or of the text, in the base frame
    points:  float64 [N, 3] in m, in the frame `pose`; [0, 3] for text
    colours: float32 [N, 4] RGBA, one for each point; [1, 4] for text
    """

    name: str
    kind: ShapeKind
    pose: np.ndarray
    size_m: float
    points: np.ndarray
    colours: np.ndarray
    text: str = ''
    number: int = field(default=0, kw_only=True)  # distinguishes shapes of one name

    def in_base(self) -> np.ndarray:
        """The points in the base frame [N, 3], in m."""
        return self.points @ self.pose[:3, :3].T + self.pose[:3, 3]


def gate_shapes(pose_tool_in_base: np.ndarray, gate: GateSample | None, problem: str = '') -> list[Shape]:
    """Return ring, bar and label at the tool, whose pose is [4, 4].

    Without a gate, or with a `problem` (why the newest is old), only the empty tracks and the reason are
    drawn.
    """
    value = gate.gate if gate and not problem else math.nan
    shapes = [*ring(pose_tool_in_base, value), *bar(pose_tool_in_base[:3, 3], value)]
    text = problem or (gate_text(gate) if gate else 'no gate yet')
    colour = TEXT if math.isfinite(value) else INVALID
    return [*shapes, _label(pose_tool_in_base[:3, 3], text, colour)]


def gate_text(gate: GateSample) -> str:
    """Return the text of the label."""
    lines = [
        f'gate {gate.gate:.2f}' + (' (saturated)' if gate.saturated else ''),
        f'vision unsure by {gate.logvar_standardised:+.1f} sd',
    ]
    if math.isfinite(gate.residual_norm):  # encoders without a visual prior have none
        lines.append(f'felt minus expected {gate.residual_norm:.1f}')
    if gate.code_index >= 0:
        lines.append(f'touch event {gate.code_index}')
    return '\n'.join(lines)


def ring(pose_tool_in_base: np.ndarray, gate: float) -> list[Shape]:
    """Return a circle around the z axis of the tool's pose [4, 4], and an arc of it: the gate's share."""
    shapes = [_line('ring', pose_tool_in_base, TRACK_WIDTH_M, _CIRCLE, _TRACK_COLOUR, number=0)]
    share = _drawable(gate)
    if share > 0:
        shapes.append(_line('ring', pose_tool_in_base, ARC_WIDTH_M, _arc(share), gate_rgba(gate), number=1))
    return shapes


def bar(position_m: np.ndarray, gate: float) -> list[Shape]:
    """Return an upright column beside the tool at [3], m, filled from below as far as the gate is open."""
    pose = np.eye(4)
    pose[:3, 3] = position_m + BAR_OFFSET_M
    shapes = [_line('bar', pose, TRACK_WIDTH_M, _BAR_FRAME, _TRACK_COLOUR, number=0)]
    share = _drawable(gate)
    if share > 0:
        column = np.array([(0.0, 0.0, _BAR_LOW_M), (0.0, 0.0, _BAR_LOW_M + share * BAR_HEIGHT_M)])
        shapes.append(_line('bar', pose, BAR_WIDTH_M, column, gate_rgba(gate), number=1))
    return shapes


def chunk_shapes(chunk: ChunkSample, now_ns: int) -> list[Shape]:
    """The chunk's path in its gate's colour: faint where its time has passed, dots at the steps to come."""
    coming = chunk.due_ns > now_ns
    colours = np.empty((len(coming), 4), dtype=np.float32)
    colours[:] = gate_rgba(chunk.gate)
    colours[~coming, 3] = PAST_ALPHA
    shapes = [_line('chunk', np.eye(4), PATH_WIDTH_M, chunk.points_m, colours)]
    if coming.any():
        steps = chunk.points_m[coming]
        shapes.append(Shape('chunk steps', 'points', np.eye(4), STEP_SIZE_M, steps, colours[coming]))
    return shapes


def executed_path(positions_m: np.ndarray, gates: np.ndarray) -> list[Shape]:
    """The executed path [N, 3], coloured by the gate at that time; nothing below two points."""
    if len(positions_m) < 2:
        return []
    # Older points fade.
    faded = np.linspace(0.35, 0.9, FADES)[np.arange(len(positions_m)) * FADES // len(positions_m)]
    known = np.isfinite(gates)[:, None]
    colours = np.where(known, gate_colours(gates), np.array(FAINT, dtype=np.uint8))
    return [_line('executed path', np.eye(4), PATH_WIDTH_M * 0.6, positions_m, rgba(colours, faded))]


def _arc(share: float) -> np.ndarray:
    """The first `share` of a circle in the x-y plane, points [N, 3], N >= 2."""
    full = int(RING_SEGMENTS * share)
    end = 2 * np.pi * share
    tip = RING_RADIUS_M * np.array([[np.cos(end), np.sin(end), 0.0]])
    return np.concatenate([_CIRCLE[: full + 1], tip]) if full < RING_SEGMENTS else _CIRCLE


def _drawable(gate: float) -> float:
    """Return the gate within 0 .. 1; 0 for NaN, which the label shows."""
    return min(max(gate, 0.0), 1.0) if math.isfinite(gate) else 0.0


def _line(
    name: str, pose: np.ndarray, width_m: float, points: np.ndarray, colours: np.ndarray, number: int = 0
) -> Shape:
    each = np.empty((len(points), 4), dtype=np.float32)
    each[:] = colours
    return Shape(name, 'line_strip', pose, width_m, points, each, number=number)


def _label(position_m: np.ndarray, text: str, colour: tuple[int, int, int]) -> Shape:
    pose = np.eye(4)
    pose[:3, 3] = position_m + np.array([0.0, 0.0, LABEL_ABOVE_M])
    return Shape('label', 'text', pose, LABEL_HEIGHT_M, np.zeros((0, 3)), rgba(colour)[None], text)
