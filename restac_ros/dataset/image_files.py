"""Images in files: pictures as PNG, frames of videos."""

import io
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from PIL import Image

from restac_ros.dataset.errors import DatasetError

HALF_TICK_S = 1e-3  # a video's stamps are rounded to its time base


def decoded_picture(data: bytes, feature: str, episode: int) -> np.ndarray:
    """Return a stored PNG as uint8 [H, W, 3] RGB; `feature` and `episode` are its place, for messages.

    Raises:
        DatasetError: it is damaged.
    """
    try:
        return np.asarray(Image.open(io.BytesIO(data), formats=('PNG',)).convert('RGB'))
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f'{feature} of episode {episode}: a picture is damaged: {error}') from error


def images_from(video: InputContainer, begin_s: float) -> Iterator[np.ndarray]:
    """Yield the images of an open video from a time on, uint8 [H, W, 3] RGB.

    Raises:
        OSError, av.FFmpegError: it cannot be decoded.
    """
    video.seek(int(begin_s * av.time_base))
    for frame in video.decode(video=0):
        if frame.time is not None and frame.time >= begin_s - HALF_TICK_S:
            yield frame.to_ndarray(format='rgb24')


def undecodable(path: Path, error: Exception) -> DatasetError:
    """Return what to raise of a file of rows or images that cannot be decoded."""
    return DatasetError(f'{path} cannot be decoded: {error}. Restore it, or convert its recordings again.')


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image, uint8 [H, W, 3] RGB.

    Raises:
        OSError: the file cannot be written.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f'{path} cannot be written')
