"""Frames of the simulated tactile sensor: the held plug with noise, and the reference at the grasp."""

import numpy as np

from restac_ros.sim.randomness import random_for
from restac_ros.sim.touch.gel import Gel
from restac_ros.sim.touch.plug_face import PlugFace

# Standard deviation of a frame's noise in red, green, blue, in grey levels: of a real GelSight Mini.
NOISE_GREY = np.array([1.6, 1.1, 1.8], np.float32)


class TactileSensor:
    """Renders frames; the same seed gives the same noise, frame by frame. Not thread-safe."""

    def __init__(self, face: PlugFace, size_px: tuple[int, int], seed: int) -> None:
        self._face, self._gel = face, Gel(size_px)
        self._noise = random_for(seed, 'noise of the tactile sensor')

    def frame(self, mount: np.ndarray | None) -> np.ndarray:
        """Return one frame, uint8 [H, W, 3] RGB.

        Args:
            mount: displacement [6] of the plug in the hand, as in `PlugFace.depth_m`; None for no plug.
        """
        clean = self._clean(mount)
        noise = self._noise.standard_normal(clean.shape, np.float32)
        return _grey_levels(clean + NOISE_GREY * noise)

    def reference(self, mount: np.ndarray | None) -> np.ndarray:
        """Return the frame at the grasp without noise, uint8 [H, W, 3] RGB: the mean of many frames."""
        return _grey_levels(self._clean(mount))

    def _clean(self, mount: np.ndarray | None) -> np.ndarray:
        if mount is None:
            return self._gel.untouched
        return self._gel.shade(self._gel.surface_m(self._face.depth_m(self._gel, mount)))


def _grey_levels(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
