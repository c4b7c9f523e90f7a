"""The newest image of every camera and tactile sensor side by side, with its name and age."""

import textwrap
from collections.abc import Mapping

import cv2
import numpy as np

from restac_ros.framing.frame import StreamStatus
from restac_ros.view.colours import INVALID, PANEL, TEXT
from restac_ros.view.drawing import LINE_PX, canvas, put_text

_HEIGHT_PX, EMPTY_WIDTH_PX, BETWEEN_PX = 224, 224, 4


def contact_sheet(images: Mapping[str, np.ndarray], statuses: Mapping[str, StreamStatus]) -> np.ndarray:
    """Images uint8 [h, w, 3] RGB by stream -> one uint8 [H, W, 3] RGB.

    Every stream of `statuses` has a cell; one without an image shows the reason.
    """
    return np.concatenate(
        [_cell(name, images.get(name), status) for name, status in statuses.items()], axis=1
    )


def _cell(name: str, image: np.ndarray | None, status: StreamStatus) -> np.ndarray:
    if image is None:
        body = canvas(_HEIGHT_PX, EMPTY_WIDTH_PX, PANEL)
        for number, line in enumerate(textwrap.wrap(status.reason, 30)):
            put_text(body, line, 8, 40 + number * LINE_PX, INVALID)
    else:
        width_px = round(_HEIGHT_PX * image.shape[1] / image.shape[0])
        body = cv2.resize(image, (width_px, _HEIGHT_PX), interpolation=cv2.INTER_AREA)
    head = canvas(LINE_PX + 6, body.shape[1], PANEL)
    age = 'nothing received' if status.age_ns is None else f'{status.age_ns / 1e6:.0f} ms old'
    put_text(head, f'{name}, {age}', 6, LINE_PX, TEXT if status.valid else INVALID)
    cell = np.concatenate([head, body])
    return cv2.copyMakeBorder(cell, 0, 0, 0, BETWEEN_PX, cv2.BORDER_CONSTANT, value=PANEL)
