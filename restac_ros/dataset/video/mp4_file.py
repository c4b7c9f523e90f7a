"""Writes a video for people to watch: H.264 in MP4, whole or not at all."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np


class Mp4File:
    """Encodes images as they come, in a file beside `path`, which is moved there when it is whole.

    Attributes:
        frames: images so far.
    """

    def __init__(self, path: Path, fps: int, size_px: tuple[int, int]) -> None:
        """Open the file; `size_px` is height and width, both even."""
        self.frames = 0
        self._path, self._partial = path, path.with_name(f'.partial.{path.name}')
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._partial), 'w', format='mp4')
        self._stream = self._container.add_stream('libx264', fps, options={'crf': '23', 'preset': 'veryfast'})
        self._stream.height, self._stream.width, self._stream.pix_fmt = *size_px, 'yuv420p'
        self._period = Fraction(1, fps)
        self._stream.time_base = self._period

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def add(self, image: np.ndarray) -> None:
        """Append an image, uint8 [H, W, 3] RGB."""
        frame = av.VideoFrame.from_ndarray(image, format='rgb24')
        frame.pts, frame.time_base = self.frames, self._period  # the stream's own changes with its header
        self._container.mux(self._stream.encode(frame))
        self.frames += 1
