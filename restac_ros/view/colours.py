"""Colours that colour-blind readers can order and distinguish: sRGB in 0 .. 1, or uint8 for images."""

import math

import cv2
import numpy as np

# Plasma (van der Walt and Smith 2015) has evenly rising lightness, also for the colour-blind. Its dark end
# would vanish on rviz's dark grey: a closed gate starts where the contrast with it reaches 3 : 1. Of the maps
# of this kind its remaining part has the most distinct colours.
_CLOSED_AT = 0.51
_STEPS = 256


def _colour_map(name: int) -> np.ndarray:
    """uint8 [256, 3] RGB of one of OpenCV's colour maps."""
    ramp = np.arange(_STEPS, dtype=np.uint8)[:, None]
    return cv2.applyColorMap(ramp, name)[:, 0, ::-1].copy()


_PLASMA = _colour_map(cv2.COLORMAP_PLASMA)
GATE_MAP = _PLASMA[np.linspace(_CLOSED_AT * (_STEPS - 1), _STEPS - 1, _STEPS).round().astype(int)]
# Inferno without its black end, which resembles a shadow on an image.
HEAT_MAP = _colour_map(cv2.COLORMAP_INFERNO)[np.linspace(70, 255, _STEPS).round().astype(int)]

BACKGROUND = (48, 48, 48)  # rviz's own
PANEL = (30, 30, 30)
FAINT = (92, 92, 92)
TEXT = (225, 225, 225)
# Okabe and Ito (2008), distinct for colour-blind readers; the four that are bright enough for a dark ground.
SKY, ORANGE, GREEN, PINK = (86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167)
INVALID = SKY  # far from every gate's colour


def gate_colours(gate: np.ndarray | float) -> np.ndarray:
    """Gate [...] -> uint8 [..., 3] RGB: red when shut, yellow when open; INVALID where not finite."""
    gate = np.asarray(gate, dtype=np.float64)
    known = np.isfinite(gate)
    index = np.rint(np.clip(np.where(known, gate, 0.0), 0.0, 1.0) * (_STEPS - 1)).astype(int)
    return np.where(known[..., None], GATE_MAP[index], np.array(INVALID, dtype=np.uint8))


def gate_rgba(gate: float) -> np.ndarray:
    """The colour of one gate, opaque, float32 [4]."""
    return (
        _GATE_RGBA[round(min(max(gate, 0.0), 1.0) * (_STEPS - 1))] if math.isfinite(gate) else _INVALID_RGBA
    )


def rgba(colours: np.ndarray | tuple[int, int, int], alpha: np.ndarray | float = 1.0) -> np.ndarray:
    """uint8 RGB [..., 3] and alpha [...] -> float32 [..., 4] in 0 .. 1."""
    colours = np.asarray(colours)
    values = np.empty((*colours.shape[:-1], 4), dtype=np.float32)
    values[..., :3] = colours / 255
    values[..., 3] = alpha
    return values


_GATE_RGBA, _INVALID_RGBA = rgba(GATE_MAP), rgba(INVALID)
