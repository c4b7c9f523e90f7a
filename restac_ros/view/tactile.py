"""Draws the change of a tactile image against one without contact as a heat map."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from restac_ros.dataset.quality.contact import (
    RELEASE_SHARE,
    ContactMeter,
    contact_level,
    is_contact,
    looks_pressed,
    pixel_change,
)
from restac_ros.view.colours import FAINT, HEAT_MAP, INVALID, PANEL, TEXT
from restac_ros.view.drawing import LINE_PX, canvas, fitted, put_text
from restac_ros.view.errors import ViewError

ZOOM = 2  # of the model's input, which is small; publishing images costs more than drawing them
NOISE_SIGMA_PX = 1.0  # smooths the camera's noise, not the contact's edge
RESIDUAL_LABEL = 'felt minus expected'
RESIDUAL_WIDTH_PX = 178  # at least, for its labels
_GAP_PX = 4  # to the residual
PRESSED_REFERENCE = 'the reference looks pressed: take it anew without contact'
DARKENED = 0.75  # keeps heat the brightest thing on the image


class GelWatch:
    """The image of a gel without contact, the newest one's change against it, and whether that is contact.

    change: `pixel_change` of the newest image, uint8 [H, W]; None before the reference is complete
    level: its `contact_level`, grey levels
    is_contact: as `restac-ros quality` and calibration tell contact from free space
    problem: why the reference is doubtful; '' while it is not
    """

    change: np.ndarray | None
    level: float
    is_contact: bool
    problem: str

    def __init__(self, reference_frames: int) -> None:
        self._meter = ContactMeter(reference_frames)
        self._size: tuple[int, ...] = ()
        self._strongest_level = 0.0  # since the reference was made
        self._forget()

    @property
    def reference(self) -> np.ndarray | None:
        """The image without contact, uint8 [H, W, 3]."""
        return self._meter.reference

    @property
    def reference_frames(self) -> int:
        """Number of frames that make the reference."""
        return self._meter.needed

    @property
    def threshold(self) -> float:
        """The level from which on there is contact, grey levels."""
        return self._meter.threshold

    @property
    def progress(self) -> str:
        """How far the reference is, in words."""
        differ = self.reference is None and self._meter.collected == self._meter.needed
        return f'{self._meter.collected} of {self._meter.needed}' + (', which differ' if differ else '')

    def restart(self) -> None:
        """Take the reference anew: the next frames are assumed to be without contact."""
        self._meter.restart()
        self._forget()

    def add(self, image: np.ndarray) -> None:
        """Add a frame uint8 [H, W, 3]; the first ones that agree become the reference."""
        if image.shape != self._size:
            self._size = image.shape
            self.restart()
        self.change = self._meter.change(image)
        if self.reference is None:
            return
        if self.change is None:  # this image has completed the reference
            self.change = pixel_change(image, self.reference)
        self.level = contact_level(self.change)
        self.is_contact = is_contact(self.level, self.threshold, self.is_contact)
        if self.level >= self.threshold and self.level > self._strongest_level:
            self._strongest_level = self.level
            self.problem = PRESSED_REFERENCE if looks_pressed(self.reference, image) else ''

    def _forget(self) -> None:
        self.change, self.level, self._strongest_level = None, 0.0, 0.0
        self.is_contact, self.problem = False, ''


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


def heat_overlay(image: np.ndarray, change: np.ndarray, scale: HeatScale) -> np.ndarray:
    """An image uint8 [H, W, 3] with its change uint8 [H, W] as heat on it, opaque from `scale.full` on."""
    kept, added = _blending(scale)
    smooth = cv2.GaussianBlur(change, (0, 0), NOISE_SIGMA_PX)
    levels = cv2.merge([smooth, smooth, smooth])
    return cv2.add(cv2.multiply(image, cv2.LUT(levels, kept), scale=1 / 255), cv2.LUT(levels, added))


@lru_cache(maxsize=4)
def _blending(scale: HeatScale) -> tuple[np.ndarray, np.ndarray]:
    """For each change 0 .. 255: the share kept of the image, of 255, and what is added; uint8 [256, 1, 3]."""
    heat = np.clip((np.arange(256) - scale.threshold) / (scale.full - scale.threshold), 0.0, 1.0)
    alpha = np.sqrt(heat)[:, None]  # lets faint contact show early
    kept = np.tile(255 * DARKENED * (1 - alpha), (1, 3))
    added = alpha * HEAT_MAP[(heat * 255).astype(np.uint8)]
    return kept.round().astype(np.uint8)[:, None], added.round().astype(np.uint8)[:, None]


def tactile_picture(
    image: np.ndarray | None,
    gel: GelWatch,
    scale: HeatScale,
    title: str,
    residual: np.ndarray | None = None,
    problem: str = '',
) -> np.ndarray:
    """The overlay, enlarged and captioned: uint8 RGB [H * ZOOM + 2 lines, W * ZOOM (+ residual), 3].

    image:    uint8 [H, W, 3], the newest tactile frame, which `gel` has seen; None before there is one
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
        shown, caption = _compare(image, gel, scale)
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


def _compare(image: np.ndarray, gel: GelWatch, scale: HeatScale) -> tuple[np.ndarray, str]:
    if gel.change is None:
        return image, f'reference without contact: {gel.progress}'
    share = float(np.mean(gel.change >= RELEASE_SHARE * gel.threshold))
    found = f'contact on {100 * share:.1f} % of the gel' if gel.is_contact else 'no contact'
    return heat_overlay(image, gel.change, scale), f'change up to {gel.level:.0f} of 255, {found}'


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
