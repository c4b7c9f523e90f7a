"""A video of one attempt: the scene, what the policy feels, and the gate over time, side by side."""

from pathlib import Path

import cv2
import numpy as np

from restac_ros.dataset.video.mp4_file import Mp4File

_FPS = 15
_SIDE_PX, _CHART_PX = 448, 96
_TACTILE_PX = (_SIDE_PX, _SIDE_PX - _CHART_PX)  # width and height, near 4 : 3
_SPAN_S = 6.0
_BACKGROUND, _LINE, _CONTACT, _TEXT = (250, 249, 246), (0, 114, 178), (243, 217, 177), (60, 60, 60)
_THIN, _SMALL = 1, 0.42
_SHOWN = cv2.FONT_HERSHEY_SIMPLEX


def open_film(path: Path) -> Mp4File:
    """Open the file of a film."""
    return Mp4File(path, _FPS, (_SIDE_PX, 2 * _SIDE_PX))


class Film:
    """Draws an attempt while it is made.

    Args:
        encoder: of `open_film`; the caller closes it.
        scene: camera stream that shows the scene.
        tactile: tactile stream; None without touch.
        caption: shown on each image.
    """

    def __init__(self, encoder: Mp4File, scene: str, tactile: str | None, caption: str) -> None:
        self._encoder = encoder
        self._scene, self._tactile, self._caption = scene, tactile, caption
        self._felt: np.ndarray = np.full((*_TACTILE_PX[::-1], 3), 255, np.uint8)
        self._gates: list[tuple[float, float, bool]] = []

    def add_image(self, stream: str, time_s: float, image: np.ndarray) -> None:
        """Show an image uint8 [H, W, 3] RGB of a stream; others than the two are ignored."""
        if stream == self._tactile:
            self._felt = cv2.resize(image, _TACTILE_PX, interpolation=cv2.INTER_LINEAR)
        elif stream == self._scene and time_s * _FPS >= self._encoder.frames:
            self._encode(image, time_s)

    def add_gate(self, time_s: float, gate: float, in_contact: bool) -> None:
        """Show the gate of a tactile frame, and whether that was in contact."""
        self._gates.append((time_s, gate, in_contact))

    def _encode(self, scene: np.ndarray, time_s: float) -> None:
        picture = np.empty((_SIDE_PX, 2 * _SIDE_PX, 3), np.uint8)
        picture[:, :_SIDE_PX] = cv2.resize(scene, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_LINEAR)
        picture[: _TACTILE_PX[1], _SIDE_PX:] = self._felt
        picture[_TACTILE_PX[1] :, _SIDE_PX:] = gate_chart(
            [sample for sample in self._gates if sample[0] >= time_s - _SPAN_S],
            time_s,
            (_CHART_PX, _SIDE_PX),
        )
        text = f'{self._caption}, {time_s:.1f} s'
        cv2.putText(picture, text, (8, 20), _SHOWN, _SMALL, (255, 255, 255), 3 * _THIN, cv2.LINE_AA)
        cv2.putText(picture, text, (8, 20), _SHOWN, _SMALL, _TEXT, _THIN, cv2.LINE_AA)
        self._encoder.add(picture)


def gate_chart(
    samples: list[tuple[float, float, bool]], now_s: float, size_px: tuple[int, int]
) -> np.ndarray:
    """Return a chart uint8 [H, W, 3] of the last seconds: the gate from 0 to 1, contact shaded.

    Args:
        samples: time in s, gate, whether in contact.
        now_s: right edge.
        size_px: height and width.
    """
    height, width = size_px
    chart = np.full((height, width, 3), _BACKGROUND, np.uint8)
    columns = [round((time_s - now_s + _SPAN_S) / _SPAN_S * (width - 1)) for time_s, _, _ in samples]
    ends = [*columns[1:], width - 1][: len(columns)]
    for column, end, (_, _, in_contact) in zip(columns, ends, samples, strict=True):
        if in_contact:
            chart[:, max(column, 0) : end + 1] = _CONTACT
    shown = 'no touch'
    if samples:
        rows = [round((1.0 - gate) * (height - 5)) + 2 for _, gate, _ in samples]
        line = np.array(list(zip(columns, rows, strict=True)), np.int32)
        cv2.polylines(chart, [line], False, _LINE, 2, cv2.LINE_AA)
        shown = f'gate {samples[-1][1]:.2f}; shaded: contact'
    cv2.putText(chart, shown, (8, 16), _SHOWN, _SMALL, _TEXT, _THIN, cv2.LINE_AA)
    return chart
