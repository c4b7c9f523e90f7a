"""Finds how much of a video file LeRobot can use, and copies that much."""

from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from restac_ros.git_lfs import pointer_fault

TOLERANCE_S = 1e-4  # LeRobot's own between a row's time and its frame's
CUT_OFF = 'is cut off'
MISSING = 'is missing'


class Video(NamedTuple):
    """The first `frames` of a file are whole and on the fps grid; `fault` is why not more, or ''."""

    frames: int
    fault: str


def examine_video(path: Path, fps: int) -> Video:
    """Check every packet of a video, without decoding."""
    av.logging.set_libav_level(av.logging.PANIC)  # what is wrong is returned
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.pts is not None]
            whole = [packet.pts for packet in packets if not packet.is_corrupt]
            times_s = np.sort(np.array(whole, np.float64)) * float(stream.time_base or 0)
    except FileNotFoundError:
        return Video(0, MISSING)
    except (av.error.FFmpegError, IndexError, UnicodeDecodeError) as error:
        return Video(0, pointer_fault(path) or f'cannot be opened ({error})')
    off = np.abs(times_s - np.arange(len(times_s)) / fps) > TOLERANCE_S
    on_grid = int(np.argmax(off)) if off.any() else len(times_s)
    if on_grid < len(times_s):
        return Video(on_grid, f'is off the grid of {fps} fps from frame {on_grid} on')
    return Video(on_grid, CUT_OFF if len(whole) < max(len(packets), stream.frames) else '')


def copy_whole_part(source: Path, target: Path) -> None:
    """Copy the packets of a video that was cut off up to the torn one, which decoders stumble over.

    Nothing is encoded anew: frames decode to the same pixels.
    """
    with av.open(str(source)) as torn, av.open(str(target), 'w', options={'movflags': 'faststart'}) as whole:
        stream = whole.add_stream_from_template(torn.streams.video[0])
        for packet in torn.demux(video=0):
            if packet.is_corrupt:
                break
            if packet.dts is not None:
                packet.stream = stream
                whole.mux(packet)
