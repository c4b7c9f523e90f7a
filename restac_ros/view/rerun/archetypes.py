"""Converts the view's values to Rerun's archetypes."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import cv2
import numpy as np
import rerun as rr
from rerun import AsComponents

from restac_ros.view.colours import FAINT, TEXT
from restac_ros.view.errors import ViewError
from restac_ros.view.shapes import Shape

JPEG_QUALITY = 80
LONGEST_PX = 480  # of an image as shown: a browser receives three cameras of it
ARM_RADIUS_M, FINGER_RADIUS_M = 0.02, 0.006
_AXES = np.eye(3) * 0.08  # of the tool, m
_AXIS_COLOURS = ((220, 60, 60), (60, 180, 60), (80, 120, 255))


def jpeg_image(image: np.ndarray) -> rr.EncodedImage:
    """uint8 [H, W, 3] RGB -> JPEG of at most LONGEST_PX a side; smaller images keep their size."""
    height, width = image.shape[:2]
    scale = LONGEST_PX / max(height, width)
    if scale < 1:
        size = (round(width * scale), round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    if not done:
        raise ViewError(f'an image {width}x{height} cannot be encoded as JPEG')
    return rr.EncodedImage(contents=data.tobytes(), media_type='image/jpeg')


def shape_archetypes(shapes: Iterable[Shape]) -> dict[str, AsComponents]:
    """Shapes by name, each name's as one archetype; lines have the colour of their first point.

    Rerun has one colour for a whole line: a line of several colours becomes one line a colour.
    """
    named: dict[str, list[Shape]] = defaultdict(list)
    for shape in shapes:
        named[shape.name].append(shape)
    return {name: _archetype(parts) for name, parts in named.items()}


def arm_lines(origins_in_base_m: np.ndarray) -> rr.LineStrips3D:
    """Origins of the joints' frames [N, 3] m -> the arm as one line."""
    return rr.LineStrips3D([origins_in_base_m], radii=ARM_RADIUS_M, colors=[TEXT])


def finger_lines(pose_tool_in_base: np.ndarray, opening_m: float) -> rr.LineStrips3D:
    """Pose [4, 4] of the tool and opening in m -> two fingers, apart along the tool's y."""
    ends = []
    for side in (-1, 1):
        ends.append([(0.0, side * opening_m / 2, -0.05, 1.0), (0.0, side * opening_m / 2, 0.0, 1.0)])
    points = np.asarray(ends) @ pose_tool_in_base.T
    return rr.LineStrips3D(points[..., :3], radii=FINGER_RADIUS_M, colors=[FAINT])


def tool_axes(pose_tool_in_base: np.ndarray) -> rr.Arrows3D:
    """Pose [4, 4] of the tool in the base -> its axes, x red, y green, z blue."""
    vectors = _AXES @ pose_tool_in_base[:3, :3].T
    origins = np.broadcast_to(pose_tool_in_base[:3, 3], (3, 3))
    return rr.Arrows3D(vectors=vectors, origins=origins, colors=_AXIS_COLOURS, radii=0.004)


def _archetype(parts: list[Shape]) -> AsComponents:
    kind = parts[0].kind
    if kind == 'line_strip':
        strips, colours, radii = [], [], []
        for part in parts:
            points = part.in_base()
            for first, last in _runs(part.colours):
                strips.append(points[max(first - 1, 0) : last])
                colours.append(part.colours[first])
                radii.append(part.size_m / 2)
        return rr.LineStrips3D(strips, colors=_bytes(colours), radii=radii)
    colours = np.concatenate([part.colours for part in parts])
    if kind == 'points':
        points = np.concatenate([part.in_base() for part in parts])
        return rr.Points3D(points, colors=_bytes(colours), radii=parts[0].size_m / 2)
    places = np.stack([part.pose[:3, 3] for part in parts])
    texts = [part.text.partition('\n')[0] for part in parts]  # the plots show the rest
    return rr.Points3D(places, labels=texts, show_labels=True, colors=_bytes(colours), radii=0.001)


def _runs(colours: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last of each run of points of equal colour."""
    changes = np.flatnonzero((colours[1:] != colours[:-1]).any(axis=1)) + 1
    borders = [0, *changes.tolist(), len(colours)]
    runs = list(pairwise(borders))
    return runs if len(runs) == 1 or runs[0][1] > 1 else runs[1:]  # one point alone makes no line


def _bytes(colours: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """float [N, 4] in 0 .. 1 -> uint8 [N, 4]."""
    return np.rint(np.asarray(colours) * 255).astype(np.uint8)
