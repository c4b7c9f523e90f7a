"""Draws the change of a tactile image against one without contact as a heat map."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from restac_ros.view.colours import FAINT, HEAT_MAP, INVALID, PANEL, TEXT
from restac_ros.view.drawing import LINE_PX, canvas, fitted, put_text
from restac_ros.view.errors import ViewError

ZOOM = 2  # of the model's input, which is small; publishing images costs more than drawing them
NOISE_SIGMA_PX = 1.0  # smooths the camera's noise, not the contact's edge
RESIDUAL_LABEL = 'felt minus expected'
RESIDUAL_WIDTH_PX = 178  # at least, for its labels
_GAP_PX = 4  # to the residual
_STRONGEST_SHARE = 0.01  # of the area: a small contact is not averaged away
DARKENED = 0.75  # keeps heat the brightest thing on the image


class Reference:
    """The frame without contact: the median of the first ones, robust against noise and shadows."""

    def __init__(self, frames: int) -> None:
        self.needed = frames
        self._collected: list[np.ndarray] = []
        self.image: np.ndarray | None = None  # uint8 [H, W, 3]

    @property
    def collected(self) -> int:
        """Number of frames received so far."""
        return self.needed if self.image is not None else len(self._collected)

    def restart(self) -> None:
        """Start anew: the next frames are assumed to be without contact."""
        self._collected.clear()
        self.image = None

    def add(self, image: np.ndarray) -> None:
        """Add a frame uint8 [H, W, 3], unless the reference is complete."""
        if self.image is not None:
            return
        self._collected.append(image)
        if len(self._collected) == self.needed:
            self.image = np.median(np.stack(self._collected), axis=0).round().astype(np.uint8)
            self._collected.clear()


@dataclass(frozen=True)
class HeatScale:
    """Scale of the heat map, in grey levels of 255: dark up to `threshold`, brightest at `full`.

    Felt minus expected is brightest at `residual_full`. The scales are fixed: noise stays dark.
    """

    threshold: float = 6.0
    full: float = 60.0
    residual_full: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < self.full <= 255:
            found = f'threshold {self.threshold:g}, full {self.full:g}'
            raise ViewError(f'heat scale: {found}; expected 0 <= threshold < full <= 255 grey levels')


def pixel_change(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """|image - reference| of two uint8 [H, W, 3], in grey levels uint8 [H, W]: the channel that changed most.

    Channels are not averaged: three lamps of three colours light a GelSight from three sides, so that a
    slope shows in one channel and is lost in their mean. Noise is smoothed away before the sign is.
    """
    if image.shape != reference.shape:
        raise ViewError(f'tactile image {image.shape}, reference {reference.shape}; take the reference anew')
    change = cv2.subtract(image, reference, dtype=cv2.CV_16S)
    red, green, blue = cv2.split(cv2.convertScaleAbs(cv2.GaussianBlur(change, (0, 0), NOISE_SIGMA_PX)))
    return cv2.max(cv2.max(red, green), blue)


def heat_overlay(image: np.ndarray, change: np.ndarray, scale: HeatScale) -> np.ndarray:
    """An image uint8 [H, W, 3] with its change uint8 [H, W] as heat on it, opaque from `scale.full` on."""
    kept, added = _blending(scale)
    levels = cv2.merge([change, change, change])
    return cv2.add(cv2.multiply(image, cv2.LUT(levels, kept), scale=1 / 255), cv2.LUT(levels, added))


@lru_cache(maxsize=4)
def _blending(scale: HeatScale) -> tuple[np.ndarray, np.ndarray]:
    """For each change 0 .. 255: the share kept of the image, of 255, and what is added; uint8 [256, 1, 3]."""
    heat = np.clip((np.arange(256) - scale.threshold) / (scale.full - scale.threshold), 0.0, 1.0)
    alpha = np.sqrt(heat)[:, None]  # lets faint contact show early
    kept = np.tile(255 * DARKENED * (1 - alpha), (1, 3))
    added = alpha * HEAT_MAP[(heat * 255).astype(np.uint8)]
    return kept.round().astype(np.uint8)[:, None], added.round().astype(np.uint8)[:, None]


def contact_share(change: np.ndarray, scale: HeatScale) -> float:
    """Return the share of a change [H, W] that is above the threshold."""
    return float(np.mean(change > scale.threshold))


def contact_level(change: np.ndarray) -> float:
    """Return the mean of a change [H, W], in grey levels, over the part of the gel that changed most."""
    count = max(1, round(_STRONGEST_SHARE * change.size))
    return float(np.partition(change, change.size - count, axis=None)[-count:].mean())


def tactile_picture(
    image: np.ndarray | None,
    change: np.ndarray | None,
    reference: Reference,
    scale: HeatScale,
    title: str,
    residual: np.ndarray | None = None,
    problem: str = '',
) -> np.ndarray:
    """The overlay, enlarged and captioned: uint8 RGB [H * ZOOM + 2 lines, W * ZOOM (+ residual), 3].

    image:    uint8 [H, W, 3], the newest tactile frame; None before there is one
    change:   its `pixel_change`, uint8 [H, W]; None before the reference is complete
    residual: float [h, w], magnitude of felt minus expected per latent position, drawn beside it
    problem:  why the frame is old, written below it
    """
    height, width = (128, 160) if image is None else image.shape[:2]
    panel = None if residual is None else _residual_panel(residual, scale.residual_full, height)
    right = width * ZOOM + _GAP_PX
    top, full_width = LINE_PX + 6, width * ZOOM if panel is None else right + panel.shape[1]
    picture = canvas(height * ZOOM + 2 * top, full_width, PANEL)
    caption = 'nothing received'
    if image is not None:
        shown, caption = _compare(image, change, reference, scale)
        enlarged = cv2.resize(shown, (width * ZOOM, height * ZOOM), interpolation=cv2.INTER_LINEAR)
        picture[top:-top, : width * ZOOM] = enlarged
    head, foot = picture[:top], picture[-top:]
    put_text(head, fitted(title, width * ZOOM - 8), 6, LINE_PX, TEXT)
    put_text(foot, fitted(problem or caption, width * ZOOM - 8), 6, LINE_PX, INVALID if problem else TEXT)
    if residual is not None and panel is not None:
        # Not enlarged: it has few positions, and the whole picture is published 15 times a second.
        picture[top : top + height, right:] = panel
        put_text(head, RESIDUAL_LABEL, right + 6, LINE_PX, TEXT)
        peak = float(np.max(residual, initial=0.0, where=np.isfinite(residual)))
        put_text(foot, f'up to {peak:.1f}; brightest at {scale.residual_full:g}', right + 6, LINE_PX, TEXT)
    return picture


def _compare(
    image: np.ndarray, change: np.ndarray | None, reference: Reference, scale: HeatScale
) -> tuple[np.ndarray, str]:
    if change is None:
        return image, f'reference without contact: {reference.collected} of {reference.needed}'
    share, peak = contact_share(change, scale), float(change.max())
    caption = f'change up to {peak:.0f} of 255, contact on {100 * share:.1f} % of the gel'
    return heat_overlay(image, change, scale), caption


def _residual_panel(residual: np.ndarray, full: float, height_px: int) -> np.ndarray:
    """The residual map on its fixed scale, with a frame and room for its label."""
    if residual.ndim != 2 or not residual.size:
        raise ViewError(f'residual map of shape {residual.shape}; expected [h, w], a magnitude each')
    heat = np.where(np.isfinite(residual), residual, 0.0) / full
    width_px = round(height_px * residual.shape[1] / residual.shape[0])
    cells = HEAT_MAP[(np.clip(heat, 0, 1) * 255).astype(np.uint8)]
    panel = cv2.resize(cells, (width_px, height_px), interpolation=cv2.INTER_NEAREST)
    framed = cv2.rectangle(panel, (0, 0), (width_px - 1, height_px - 1), FAINT, 1)
    room_px = max(0, RESIDUAL_WIDTH_PX - width_px)
    return cv2.copyMakeBorder(framed, 0, 0, 0, room_px, cv2.BORDER_CONSTANT, value=PANEL)
