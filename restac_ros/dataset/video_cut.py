"""Parts of videos without decoding them."""

from pathlib import Path

import av

from restac_ros.dataset.errors import DatasetError


def frame_count(path: Path) -> int:
    """How many frames a video says that it has."""
    with av.open(str(path)) as video:
        return video.streams.video[0].frames


def cut_video(source: Path, target: Path, begin_s: float, end_s: float) -> None:
    """Copy the frames of [begin_s, end_s) to a video of their own, which begins at zero.

    Raises:
        DatasetError: the first of them is no key frame, so that it cannot be shown without those before.
    """
    with av.open(str(source)) as video, av.open(str(target), 'w') as cut:
        stream = video.streams.video[0]
        copied = cut.add_stream_from_template(stream, opaque=True)       # needs no encoder of that codec
        half_frame_s = 0.5 / float(stream.average_rate)
        begin, end = (round((time_s - half_frame_s) / stream.time_base) for time_s in (begin_s, end_s))
        offset = round(begin_s / stream.time_base)
        first = True
        for packet in video.demux(stream):
            if packet.pts is None or not begin <= packet.pts < end:
                continue
            if first and not packet.is_keyframe:
                raise DatasetError(f'{source}: the frame at {begin_s:.3f} s is no key frame, so that an '
                                   'episode cannot begin there. Convert its recording again.')
            first = False
            packet.pts -= offset
            packet.dts = None if packet.dts is None else packet.dts - offset
            packet.stream = copied
            cut.mux(packet)
