"""Text on images. OpenCV's built-in font has ASCII letters only."""

from functools import lru_cache

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
SCALE = 0.38
LINE_PX = 15


def put_text(
    image: np.ndarray,
    text: str,
    left_px: int,
    baseline_px: int,
    colour: tuple[int, int, int],
    scale: float = SCALE,
) -> None:
    """Write `text` onto an RGB image [H, W, 3] in place."""
    cv2.putText(image, text, (left_px, baseline_px), FONT, scale, colour, 1, cv2.LINE_AA)


def text_width_px(text: str, scale: float = SCALE) -> int:
    """How wide `put_text` writes it."""
    return cv2.getTextSize(text, FONT, scale, 1)[0][0]


def canvas(height_px: int, width_px: int, colour: tuple[int, int, int]) -> np.ndarray:
    """uint8 [height, width, 3] RGB of one colour, to be drawn on."""
    return _filled(height_px, width_px, colour).copy()


@lru_cache(maxsize=64)
def _filled(height_px: int, width_px: int, colour: tuple[int, int, int]) -> np.ndarray:
    """Filling takes numpy ten times as long as copying what is filled."""
    return np.full((height_px, width_px, 3), colour, dtype=np.uint8)
