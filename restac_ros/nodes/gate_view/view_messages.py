"""Converts the view's shapes and images to messages for rviz."""

from array import array
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Quaternion
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from restac_ros.geometry import quaternion as quat
from restac_ros.view.shapes import Shape

_KINDS = {'line_strip': Marker.LINE_STRIP, 'points': Marker.POINTS, 'text': Marker.TEXT_VIEW_FACING}
# rviz removes the markers of a view that has ended.
LIFETIME = Duration(sec=1)


class MarkerWriter:
    """Converts shapes in the base frame to a MarkerArray; markers of former shapes are deleted.

    The stamp stays zero: rviz then needs no transform of that time, and none at all if its fixed frame is the
    base frame. Markers are reused, as creating them costs more than filling them.
    """

    def __init__(self, base_frame: str) -> None:
        self._base_frame = base_frame
        self._present: dict[tuple[str, int], Marker] = {}

    def write(self, shapes: Sequence[Shape]) -> MarkerArray:
        """Return the message for exactly these shapes; valid until the next `write`."""
        before, self._present = self._present, {}
        for shape in shapes:
            key = shape.name, shape.number
            marker = self._present[key] = before.pop(key, None) or self._new(*key)
            self._fill(marker, shape)
        for marker in before.values():
            marker.action = Marker.DELETE
        return MarkerArray(markers=[*before.values(), *self._present.values()])

    def _new(self, name: str, number: int) -> Marker:
        marker = Marker(ns=name, id=number, action=Marker.ADD, lifetime=LIFETIME)
        marker.header.frame_id = self._base_frame
        return marker

    def _fill(self, marker: Marker, shape: Shape) -> None:
        marker.type = _KINDS[shape.kind]
        marker.pose.position = _point(*shape.pose[:3, 3].tolist())
        marker.pose.orientation = _orientation(shape.pose[:3, :3].tobytes())
        _set_size(marker, shape.size_m)
        marker.color = _colour(*shape.colours[0].tolist())
        marker.text = shape.text
        marker.points = [_point(*point) for point in shape.points.tolist()]
        varied = bool((shape.colours != shape.colours[0]).any())
        marker.colors = [_colour(*colour) for colour in shape.colours.tolist()] if varied else []


@lru_cache(maxsize=64)
def _orientation(rotation: bytes) -> Quaternion:
    x, y, z, w = quat.from_matrix(np.frombuffer(rotation).reshape(3, 3)).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def _set_size(marker: Marker, size_m: float) -> None:
    """Lines have a width in x, points a side in x and y, text a height in z."""
    axes = {Marker.LINE_STRIP: 'x', Marker.POINTS: 'xy', Marker.TEXT_VIEW_FACING: 'z'}[marker.type]
    for axis in axes:
        setattr(marker.scale, axis, float(size_m))


# Most points and colours repeat: creating them anew would be the most expensive part of a view.
@lru_cache(maxsize=4096)
def _point(x: float, y: float, z: float) -> Point:
    return Point(x=x, y=y, z=z)


@lru_cache(maxsize=4096)
def _colour(r: float, g: float, b: float, a: float) -> ColorRGBA:
    return ColorRGBA(r=r, g=g, b=b, a=a)


class ImageWriter:
    """Converts images of one topic to messages. The message is reused: new memory costs more than a copy."""

    def __init__(self, frame_id: str) -> None:
        self._message = Image(encoding='rgb8')
        self._message.header.frame_id = frame_id

    def write(self, image: np.ndarray, stamp: Time) -> Image:
        """Return the message of an image uint8 [H, W, 3] RGB; valid until the next `write`."""
        message = self._message
        message.height, message.width = image.shape[:2]
        message.step = 3 * image.shape[1]
        message.header.stamp = stamp
        if len(message.data) != image.size:
            # rclpy accepts an array.array as it is, and checks any other sequence element by element.
            message.data = array('B', bytes(image.size))
        np.frombuffer(message.data, dtype=np.uint8).reshape(image.shape)[:] = image
        return message
