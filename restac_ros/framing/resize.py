"""Camera and tactile images at the sizes of the models' inputs."""

import cv2
import numpy as np
from PIL import Image

IMAGE_SIZE = 224  # side of a camera image, px
TACTILE_SHAPE = (128, 160)  # height, width of a tactile image, px


def letterbox(image: np.ndarray, size: int = IMAGE_SIZE) -> np.ndarray:
    """Fit an RGB image uint8 [H, W, 3] into [size, size, 3] without distortion, centred on black.

    Pixel for pixel what openpi trains and serves with: Pillow's bilinear filter, which averages over all
    source pixels when shrinking. OpenCV's bilinear filter samples four of them, and differs.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    ratio = max(width / size, height / size)
    fitted_h, fitted_w = max(1, int(height / ratio)), max(1, int(width / ratio))
    fitted = Image.fromarray(image).resize((fitted_w, fitted_h), Image.Resampling.BILINEAR)
    top, left = (size - fitted_h) // 2, (size - fitted_w) // 2
    boxed = np.zeros((size, size, 3), dtype=np.uint8)
    boxed[top : top + fitted_h, left : left + fitted_w] = np.asarray(fitted)
    return boxed


def resize_tactile(image: np.ndarray) -> np.ndarray:
    """A tactile image uint8 [H, W, 3] at [128, 160, 3], by area, never letterboxed: its full view is used."""
    height, width = TACTILE_SHAPE
    if image.shape[:2] == TACTILE_SHAPE:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
