"""Counts and cuts out frames of videos without decoding them."""

from pathlib import Path

import av
from av.container import InputContainer, OutputContainer

from restac_ros.dataset.errors import DatasetError


def frame_count(path: Path) -> int:
    """Return the number of frames that a video's header states.

    Raises:
        DatasetError: it is no video.
    """
    try:
        with av.open(str(path)) as video:
            count = video.streams.video[0].frames
    except (av.FFmpegError, IndexError) as error:
        raise DatasetError(f'{path} is no video that can be read: {error}.') from error
    return count


def cut_video(source: Path, target: Path, begin_s: float, end_s: float) -> int:
    """Copy the frames of [begin_s, end_s) to a video of their own, which begins at zero; return their number.

    Raises:
        DatasetError: the first of them is no key frame, so that it cannot be shown without those before; or
            one of the videos cannot be read or written.
    """
    try:
        with av.open(str(source)) as video, av.open(str(target), 'w') as cut:
            copied = _copy_packets(source, video, cut, begin_s, end_s)
    except (av.FFmpegError, IndexError) as error:
        raise DatasetError(f'{source} cannot be cut: {error}.') from error
    return copied


def _copy_packets(
    source: Path, video: InputContainer, cut: OutputContainer, begin_s: float, end_s: float
) -> int:
    stream = video.streams.video[0]
    copied = cut.add_stream_from_template(stream, opaque=True)  # needs no encoder of that codec
    if stream.average_rate is None or stream.time_base is None:
        raise DatasetError(f'{source} states no frame rate or no time base: convert its recording again.')
    half_frame_s, time_base = 0.5 / float(stream.average_rate), stream.time_base
    begin, end = (round((time_s - half_frame_s) / time_base) for time_s in (begin_s, end_s))
    offset = round(begin_s / time_base)
    count = 0
    for packet in video.demux(stream):
        if packet.pts is None or not begin <= packet.pts < end:
            continue
        if not count and not packet.is_keyframe:
            raise DatasetError(
                f'{source}: the frame at {begin_s:.3f} s is no key frame, so that an episode '
                'cannot begin there. Convert its recording again.'
            )
        packet.pts -= offset
        packet.dts = None if packet.dts is None else packet.dts - offset
        packet.stream = copied
        cut.mux(packet)
        count += 1
    return count
