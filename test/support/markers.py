"""Markers of gate_view_node, live or recorded, as the shapes that they were made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from restac_ros.geometry import quaternion as quat
from restac_ros.view.shapes import Shape, ShapeKind

# visualization_msgs/Marker: the action and the types we send, and the axis of scale that each is sized by.
ADD = 0
_KINDS: dict[int, tuple[ShapeKind, str]] = {4: ('line_strip', 'x'), 8: ('points', 'x'), 9: ('text', 'z')}


def shapes_of(markers: Sequence[Any]) -> list[Shape]:
    """Markers as gate_view_node sends them, live or recorded -> shapes, without the deleted ones."""
    return [_shape_of(marker) for marker in markers if marker.action == ADD]


def _shape_of(marker: Any) -> Shape:
    kind, axis = _KINDS[marker.type]
    position, orientation = marker.pose.position, marker.pose.orientation
    pose = np.eye(4)
    pose[:3, :3] = quat.to_matrix(np.array([orientation.x, orientation.y, orientation.z, orientation.w]))
    pose[:3, 3] = position.x, position.y, position.z
    points = np.array([(point.x, point.y, point.z) for point in marker.points]).reshape(-1, 3)
    colours = marker.colors or [marker.color] * max(1, len(points))
    rgba = np.array([(colour.r, colour.g, colour.b, colour.a) for colour in colours], dtype=np.float32)
    size_m = getattr(marker.scale, axis)
    return Shape(marker.ns, kind, pose, size_m, points, rgba, marker.text, number=marker.id)
