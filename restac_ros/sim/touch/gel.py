"""Optics of a GelSight Mini: from how deep an object stands in the gel to what the sensor's camera shows.

The gel's surface under an object is found as in Taxim (Si and Yuan, 2022): a pyramid of blurs, with the
contact restored after each. Shading is linear in the surface's slope, fitted to presses of a ball.
"""

import cv2
import numpy as np

WINDOW_M = (0.0142, 0.0189)  # height and width of the gel that the camera covers

# Standard deviations of the blurs, from the far field of a press to the rounding of its edges.
_BLURS_M = (0.90e-3, 0.46e-3, 0.24e-3, 0.10e-3, 0.06e-3)
_FINAL_BLUR_M = 0.06e-3
# Contact is where the object stands deeper than a share of its deepest point. The gel leaves it gradually,
# from the band's end to this share, or edges would move through the image by whole pixels.
_CONTACT_SHARE, _CONTACT_BAND = 0.25, 0.4
# Red, green, blue: grey levels per unit slope along columns and rows.
_GREY_PER_SLOPE_U = np.array([-15.0, 115.0, 10.0], np.float32)
_GREY_PER_SLOPE_V = np.array([-230.0, 20.0, 130.0], np.float32)
_STRENGTH = 0.7  # of the shading; 0.6 to 0.8 resembles real presses
_SATURATION = 1.2  # slopes act through tanh(1.2 m) / 1.2
# Light of each channel on the untouched gel: a floor and a Gaussian spot, in shares of the window.
#       floor   spot  centre u  width u  centre v  width v
_LIGHT = np.array(
    [
        [17.1, 122.7, 0.469, 0.461, 0.577, 0.444],
        [34.9, 79.7, 0.480, 0.668, 0.410, 0.875],
        [42.5, 106.2, 0.484, 0.556, 0.408, 0.524],
    ]
)


class Gel:
    """A gel that is imaged at one size.

    Attributes:
        size_px: height and width of the image.
        pitch_m: height and width of a pixel on the gel.
        untouched: float32 [H, W, 3], RGB grey levels without contact and noise.
    """

    def __init__(self, size_px: tuple[int, int]) -> None:
        self.size_px = size_px
        self.pitch_m = WINDOW_M[0] / size_px[0], WINDOW_M[1] / size_px[1]
        self.untouched = _background(size_px)
        self._blurs_px = [(sigma / self.pitch_m[0], sigma / self.pitch_m[1]) for sigma in _BLURS_M]
        self._final_px = _FINAL_BLUR_M / self.pitch_m[0], _FINAL_BLUR_M / self.pitch_m[1]

    def positions_m(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels' centres from the window's centre, m: v [H, 1] down, u [1, W] right."""
        height, width = self.size_px
        v_m = (np.arange(height) + 0.5) * self.pitch_m[0] - WINDOW_M[0] / 2
        u_m = (np.arange(width) + 0.5) * self.pitch_m[1] - WINDOW_M[1] / 2
        return v_m.astype(np.float32)[:, None], u_m.astype(np.float32)[None, :]

    def surface_m(self, object_depth_m: np.ndarray) -> np.ndarray:
        """Return how deep the gel's surface is, float32 [H, W] in m.

        Args:
            object_depth_m: float32 [H, W], how deep the object stands in the gel at rest; not positive where
                it does not touch.
        """
        pressed = np.maximum(object_depth_m, 0)
        deepest_m = float(pressed.max())
        if deepest_m <= 0:
            return pressed
        contact = np.clip((pressed / deepest_m - _CONTACT_SHARE) / _CONTACT_BAND, 0, 1)
        surface = pressed
        for sigma_v, sigma_u in self._blurs_px:
            blurred = cv2.GaussianBlur(
                surface, (0, 0), sigma_u, sigmaY=sigma_v, borderType=cv2.BORDER_REPLICATE
            )
            surface = blurred + contact * (pressed - blurred)
        sigma_v, sigma_u = self._final_px
        return cv2.GaussianBlur(surface, (0, 0), sigma_u, sigmaY=sigma_v, borderType=cv2.BORDER_REPLICATE)

    def shade(self, surface_m: np.ndarray) -> np.ndarray:
        """Return the image of a surface without noise, float32 [H, W, 3] RGB, not clipped."""
        # Scharr's weights of a unit ramp sum to 32; deeper is farther from the light, hence the sign.
        slope_u = cv2.Scharr(surface_m, cv2.CV_32F, 1, 0, scale=-1 / (32 * self.pitch_m[1]))
        slope_v = cv2.Scharr(surface_m, cv2.CV_32F, 0, 1, scale=-1 / (32 * self.pitch_m[0]))
        steepness = np.hypot(slope_u, slope_v)
        steepness = np.maximum(steepness, 1e-6)
        squash = _STRENGTH * np.tanh(_SATURATION * steepness) / (_SATURATION * steepness)
        slopes = np.stack([slope_u * squash, slope_v * squash], axis=-1)
        return self.untouched + slopes @ np.stack([_GREY_PER_SLOPE_U, _GREY_PER_SLOPE_V])


def _background(size_px: tuple[int, int]) -> np.ndarray:
    height, width = size_px
    v = ((np.arange(height) + 0.5) / height)[:, None, None]
    u = ((np.arange(width) + 0.5) / width)[None, :, None]
    floor, spot, centre_u, width_u, centre_v, width_v = _LIGHT.T
    light = np.exp(-(((u - centre_u) / width_u) ** 2) - ((v - centre_v) / width_v) ** 2)
    return (floor + spot * light).astype(np.float32)
