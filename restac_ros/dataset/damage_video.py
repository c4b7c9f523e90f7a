"""How much of a video file LeRobot can use."""

from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

TOLERANCE_S = 1e-4          # LeRobot's own between a row's time and its frame's


class Video(NamedTuple):
    """The first `frames` of a file are whole and on the fps grid; `fault` says why not more, if so."""

    frames: int
    fault: str


def examine_video(path: Path, fps: int) -> Video:
    """Look at every packet of a video, without decoding."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.pts is not None]
            whole = [packet.pts for packet in packets if not packet.is_corrupt]
            times_s = np.sort(np.array(whole, np.float64)) * float(stream.time_base)
    except FileNotFoundError:
        return Video(0, 'is missing')
    except (av.error.FFmpegError, IndexError) as error:
        return Video(0, f'cannot be opened ({error})')
    off = np.abs(times_s - np.arange(len(times_s)) / fps) > TOLERANCE_S
    on_grid = int(np.argmax(off)) if off.any() else len(times_s)
    if on_grid < len(times_s):
        return Video(on_grid, f'is off the grid of {fps} fps from frame {on_grid} on')
    return Video(on_grid, 'is cut off' if len(whole) < max(len(packets), stream.frames) else '')
