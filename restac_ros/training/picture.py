"""One picture of what the model sees, saved at the start of every run."""

from pathlib import Path

import cv2
import jax
import numpy as np

from restac_ros.training.augmentation import AugmentationConfig, augment
from restac_ros.training.batch import Batch

ROWS = 4
SIDE = 224


def save_inputs(path: Path, batch: Batch, augmentation: AugmentationConfig, seed: int) -> None:
    """Draw samples as rows: cameras as stored, cameras as augmented, touch."""
    observation = batch.observation
    changed = jax.device_get(augment(observation.images, jax.random.key(seed), augmentation))
    rows = []
    for row in range(min(ROWS, len(batch.source))):
        cells = [np.asarray(pixels[row]) for pixels in observation.images.values()]
        cells += [np.clip((pixels[row] + 1) * 127.5, 0, 255).astype(np.uint8) for pixels in changed.values()]
        if observation.tactile is not None:
            cells.append(np.asarray(observation.tactile[row]))
        rows.append(np.concatenate([_cell(image) for image in cells], axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    image = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), image):
        raise OSError(f'{path} cannot be written')


def _cell(image: np.ndarray) -> np.ndarray:
    """The image at one size, centred on white."""
    cell = np.full((SIDE, SIDE, 3), 255, np.uint8)
    height, width = image.shape[:2]
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    cell[top : top + height, left : left + width] = image
    return cell
