"""Text on images, in matplotlib's font, as on all other pictures."""

from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LINE_PX = 15
SIZE_PX, SMALL_PX = 11, 10


def put_text(
    image: np.ndarray,
    text: str,
    left_px: int,
    baseline_px: int,
    colour: tuple[int, int, int],
    size_px: int = SIZE_PX,
) -> None:
    """Write `text` onto an RGB image uint8 [H, W, 3] in place; parts outside are cut off."""
    kept, added, ascent = _ink(text, size_px, colour)
    top, left = baseline_px - ascent, max(0, left_px)
    cut = slice(max(0, -top), None), slice(left - left_px, None)
    area = image[max(0, top) :, left:][: len(kept[cut]), : kept[cut].shape[1]]
    within = slice(area.shape[0]), slice(area.shape[1])
    area[:] = (area * kept[cut][within] + added[cut][within]) // 255


def text_width_px(text: str, size_px: int = SIZE_PX) -> int:
    """Return the width of a text as written by `put_text`, px."""
    return _mask(text, size_px)[0].shape[1]


def fitted(text: str, width_px: int, size_px: int = SIZE_PX) -> str:
    """Return the text, shortened by an ellipsis to at most `width_px`."""
    shown = text
    while shown and text_width_px(shown, size_px) > width_px:
        shown = shown.removesuffix('…')[:-1].rstrip() + '…'
        if shown == '…':
            break
    return shown


@lru_cache(maxsize=512)
def _mask(text: str, size_px: int) -> tuple[np.ndarray, int]:
    """Return the coverage of each pixel by the letters, uint8 [h, w], and the row of their baseline."""
    font = _font(size_px)
    ascent, descent = font.getmetrics()
    picture = Image.new('L', (max(1, round(font.getlength(text)) + 1), ascent + descent))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture), ascent


@lru_cache(maxsize=512)
def _ink(text: str, size_px: int, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the share of 255 kept of each pixel below, what is added to it, uint16, and the baseline."""
    mask, ascent = _mask(text, size_px)
    alpha = mask[..., None].astype(np.uint16)
    return 255 - alpha, np.array(colour, np.uint16) * alpha, ascent


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    spec = find_spec('matplotlib')
    if spec is None or spec.origin is None:
        raise RuntimeError('matplotlib, whose letters are used, is not installed: pip install matplotlib')
    return ImageFont.truetype(str(Path(spec.origin).parent / 'mpl-data/fonts/ttf/DejaVuSans.ttf'), size_px)


def canvas(height_px: int, width_px: int, colour: tuple[int, int, int]) -> np.ndarray:
    """Return a new image uint8 [height, width, 3] RGB of one colour."""
    return _filled(height_px, width_px, colour).copy()


@lru_cache(maxsize=64)
def _filled(height_px: int, width_px: int, colour: tuple[int, int, int]) -> np.ndarray:
    """A cached image of one colour: numpy copies ten times as fast as it fills."""
    return np.full((height_px, width_px, 3), colour, dtype=np.uint8)
