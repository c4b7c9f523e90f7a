"""One picture of what rviz shows, where there is no rviz: shapes in space, tactile overlay, strip chart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from restac_ros.view.colours import BACKGROUND, FAINT, TEXT
from restac_ros.view.shapes import Shape

SIZE_IN, _DPI = (15.0, 7.6), 100
VIEW_DEG = {'elev': 24, 'azim': -38}
LABEL: dict[str, Any] = {
    'fontsize': 10,
    'ha': 'center',
    'va': 'bottom',
    'zorder': 1e6,
    'bbox': {'facecolor': '#1e1e1ecc', 'edgecolor': 'none', 'pad': 3},
}
NEAR_M = 0.32  # half the side of the cube shown around the tool; the executed path goes on beyond it


def save_preview(
    path: Path,
    shapes: Sequence[Shape],
    tactile: np.ndarray | None,
    chart: np.ndarray,
    base_frame: str,
    title: str = '',
) -> Path:
    """Draw shapes (in `base_frame`, m) and two images uint8 [H, W, 3] RGB into a PNG; no `tactile`: None."""
    figure = Figure(figsize=SIZE_IN, dpi=_DPI, facecolor=_rgb(BACKGROUND))
    space = figure.add_axes((0.01, 0.03, 0.54, 0.93), projection='3d')
    _draw_space(space, shapes, base_frame)
    pictures = [(chart, (0.575, 0.01, 0.415, 0.96))]
    if tactile is not None:
        pictures = [(tactile, (0.575, 0.63, 0.415, 0.35)), (chart, (0.575, 0.01, 0.415, 0.61))]
    for image, box in pictures:
        axes = figure.add_axes(box)
        axes.imshow(image)
        axes.axis('off')
    if title:
        figure.text(0.015, 0.965, title, color=_rgb(TEXT), fontsize=11)
    figure.savefig(path, facecolor=figure.get_facecolor())
    return path


def _draw_space(axes: Any, shapes: Sequence[Shape], base_frame: str) -> None:
    """Every shape near the tool in 3D, with line widths as true to scale as matplotlib's points allow."""
    centre = _centre(shapes)
    limits = zip(('xlim', 'ylim', 'zlim'), centre - NEAR_M, centre + NEAR_M, strict=True)
    axes.set(**{name: (low, high) for name, low, high in limits})
    axes.set_box_aspect((1, 1, 1), zoom=1.05)
    axes.view_init(**VIEW_DEG)
    points_per_m = SIZE_IN[1] * 72 / (2 * NEAR_M) * 0.55
    for shape in shapes:
        if shape.kind == 'text':
            position = shape.pose[:3, 3]
            axes.text(*position, shape.text, color=shape.colours[0], **LABEL)
            continue
        points = shape.in_base()
        near = (np.abs(points - centre) <= NEAR_M).all(axis=1)
        width = max(0.8, shape.size_m * points_per_m)
        if shape.kind == 'points':
            look = {'s': width**2, 'marker': 's', 'depthshade': False, 'linewidths': 0}
            axes.scatter(*points[near].T, c=shape.colours[near], **look)
            continue
        for start in np.flatnonzero(near[:-1] & near[1:]):
            pair = points[start : start + 2]
            axes.plot(*pair.T, color=shape.colours[start], linewidth=width, solid_capstyle='butt')
    _style(axes, base_frame)


def _style(axes: Any, base_frame: str) -> None:
    axes.set_facecolor(_rgb(BACKGROUND))
    for axis, name in ((axes.xaxis, 'x'), (axes.yaxis, 'y'), (axes.zaxis, 'z')):
        axis.set_pane_color((*_rgb(BACKGROUND), 1.0))
        axis._axinfo['grid'].update(color=_rgb(FAINT), linewidth=0.4)
        axis.set_label_text(f'{name} / m ({base_frame})', color=_rgb(TEXT), fontsize=8)
        axis.set_tick_params(colors=_rgb(TEXT), labelsize=7)


def _centre(shapes: Sequence[Shape]) -> np.ndarray:
    """The tool's place, else the middle of what there is."""
    rings = [shape.pose[:3, 3] for shape in shapes if shape.name == 'ring']
    points = [shape.in_base().mean(axis=0) for shape in shapes if len(shape.points)]
    return rings[0] if rings else np.mean(points or [np.zeros(3)], axis=0)


def _rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
