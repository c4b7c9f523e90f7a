"""Reads markers back as the shapes that they were made of."""

from collections.abc import Sequence

import numpy as np
from visualization_msgs.msg import Marker

from restac_ros.geometry import quaternion as quat
from restac_ros.view.shapes import Shape, ShapeKind

# The types that gate_view_node publishes, and the axis of scale that each is sized by.
KINDS: dict[int, tuple[ShapeKind, str]] = {
    Marker.LINE_STRIP: ('line_strip', 'x'),
    Marker.POINTS: ('points', 'x'),
    Marker.TEXT_VIEW_FACING: ('text', 'z'),
}


def shapes_of(markers: Sequence[Marker]) -> list[Shape]:
    """Return the shapes of markers, without the deleted ones."""
    return [shape_of(marker) for marker in markers if marker.action == Marker.ADD]


def shape_of(marker: Marker) -> Shape:
    """Return the shape of one marker."""
    kind, axis = KINDS[marker.type]
    position, orientation = marker.pose.position, marker.pose.orientation
    pose = np.eye(4)
    pose[:3, :3] = quat.to_matrix(np.array([orientation.x, orientation.y, orientation.z, orientation.w]))
    pose[:3, 3] = position.x, position.y, position.z
    points = np.array([(point.x, point.y, point.z) for point in marker.points]).reshape(-1, 3)
    colours = marker.colors or [marker.color] * max(1, len(points))
    rgba = np.array([(colour.r, colour.g, colour.b, colour.a) for colour in colours], dtype=np.float32)
    size_m = getattr(marker.scale, axis)
    return Shape(marker.ns, kind, pose, size_m, points, rgba, marker.text, number=marker.id)
