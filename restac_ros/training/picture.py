"""One picture of the model's inputs, saved at the start of every run."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import jax
import numpy as np

from restac_ros.dataset.image_files import write_png
from restac_ros.training.augmentation import AugmentationConfig, augment
from restac_ros.training.batch import Batch

ROWS = 4
SIDE, HEADER = 224, 56  # pixels of a cell, and of the row of names
_LINE_PX, _MARGIN, _LINE_LETTERS = 22, 6, 18


def save_inputs(path: Path, batch: Batch, augmentation: AugmentationConfig, seed: int) -> None:
    """Draw samples as labelled rows: cameras as stored, cameras as augmented where they are, touch.

    Raises:
        OSError: the file cannot be written.
    """
    observation = batch.observation
    columns = {f'{name} stored': np.asarray(pixels) for name, pixels in observation.images.items()}
    if augmentation.enabled:
        changed = jax.device_get(augment(observation.images, jax.random.key(seed), augmentation))
        columns |= {f'{name} augmented': _bytes(pixels) for name, pixels in changed.items()}
    if observation.tactile is not None:
        columns['touch'] = np.asarray(observation.tactile)
    rows = [_labels(['', *columns], HEADER)]
    for row, (number, (episode, frame)) in enumerate(
        zip(batch.source[:ROWS].tolist(), batch.place[:ROWS].tolist(), strict=True)
    ):
        place = _labels([f'set {number}, episode {episode}, frame {frame}'], SIDE)
        rows.append(np.concatenate([place, *(_cell(pixels[row]) for pixels in columns.values())], axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.concatenate(rows))


def _bytes(pixels: np.ndarray) -> np.ndarray:
    return np.clip((pixels + 1) * 127.5, 0, 255).astype(np.uint8)


def _labels(texts: Sequence[str], height: int) -> np.ndarray:
    """Draw texts side by side in cells of one width, a word or two a line."""
    cells = []
    for text in texts:
        cell = np.full((height, SIDE, 3), 255, np.uint8)
        for number, line in enumerate(textwrap.wrap(text, _LINE_LETTERS)):
            at = (_MARGIN, _LINE_PX * (number + 1))
            cv2.putText(cell, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
        cells.append(cell)
    return np.concatenate(cells, axis=1)


def _cell(image: np.ndarray) -> np.ndarray:
    """Centre the image on white, at one size."""
    cell = np.full((SIDE, SIDE, 3), 255, np.uint8)
    height, width = image.shape[:2]
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    cell[top : top + height, left : left + width] = image
    return cell
