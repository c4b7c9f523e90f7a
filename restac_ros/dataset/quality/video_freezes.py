"""Finds frozen stretches of a video by its packets: an encoder makes equal packets of equal images.

A key packet is coded by itself. Of one image our encoders (h264, hevc, av1) make key packets of one size,
while a real camera's noise changes the size by tens of bytes. Only stretches of one size are decoded.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer

from restac_ros.dataset.image_files import undecodable

SIZE_SLACK_BYTES = 2  # h264 numbers key frames alternately, which may move the rest by a few bits
MIN_KEYS = 3  # two neighbours have one size by chance now and then
MAX_KEY_DISTANCE = 8  # frames; between keys further apart a camera could freeze unseen


class _Key(NamedTuple):
    row: int
    pts: int
    size: int


def frozen_rows(path: Path, begin_s: float, rows: int, fps: float) -> list[tuple[int, int]] | None:
    """Find first and last row of each stretch of one image; None where key frames are too far apart.

    `rows` frames from `begin_s` of the video on are examined; rows count from there.

    Raises:
        DatasetError: the video cannot be read.
    """
    try:
        with av.open(str(path)) as video:
            keys = _keys(video, begin_s, rows, fps)
            edges = [0, *(key.row for key in keys), rows]
            is_dense = keys and max(after - before for before, after in pairwise(edges)) <= MAX_KEY_DISTANCE
            groups = _equally_large(keys) if is_dense else ()
            runs = [run for group in groups for run in _equal_images(video, group)]
    except (OSError, av.FFmpegError, IndexError) as error:
        raise undecodable(path, error) from error
    return runs if is_dense else None


def _keys(video: InputContainer, begin_s: float, rows: int, fps: float) -> list[_Key]:
    """Return the key packets of the rows, in order."""
    stream, found = video.streams.video[0], []
    if stream.time_base is None:
        return []
    for packet in video.demux(stream):
        if packet.pts is None or not packet.is_keyframe:
            continue
        row = round((float(packet.pts * stream.time_base) - begin_s) * fps)
        if 0 <= row < rows:
            found.append(_Key(row, packet.pts, packet.size))
    return sorted(found)


def _equally_large(keys: list[_Key]) -> Iterator[list[_Key]]:
    group = keys[:1]
    for before, key in pairwise(keys):
        if abs(key.size - before.size) > SIZE_SLACK_BYTES:
            if len(group) >= MIN_KEYS:
                yield group
            group = []
        group.append(key)
    if len(group) >= MIN_KEYS:
        yield group


def _equal_images(video: InputContainer, group: list[_Key]) -> Iterator[tuple[int, int]]:
    """Yield runs of key frames that decode to the same image."""
    rows = {key.pts: key.row for key in group}
    stream = video.streams.video[0]
    stream.codec_context.skip_frame = 'NONKEY'
    video.seek(group[0].pts, stream=stream)
    before: np.ndarray | None = None
    first = last = group[0].row
    for frame in video.decode(stream):
        if frame.pts is None or frame.pts not in rows:
            if frame.pts is not None and frame.pts > group[-1].pts:
                break
            continue
        image = frame.to_ndarray(format='rgb24')
        if before is None or not np.array_equal(before, image):
            if last > first:
                yield first, last
            first = rows[frame.pts]
        before, last = image, rows[frame.pts]
    if last > first:
        yield first, last
