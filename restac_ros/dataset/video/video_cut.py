"""Counts and cuts out frames of videos without decoding them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

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


class VideoPart(NamedTuple):
    """The frames of [begin_s, end_s) of a video."""

    path: Path
    begin_s: float
    end_s: float


def cut_video(source: Path, target: Path, begin_s: float, end_s: float) -> int:
    """Copy the frames of [begin_s, end_s) to a video of their own, which begins at zero; return their number.

    Raises:
        DatasetError: the first of them is no key frame, so that it cannot be shown without those before; or
            one of the videos cannot be read or written.
    """
    return join_videos([VideoPart(source, begin_s, end_s)], target)[0]


def join_videos(parts: Sequence[VideoPart], target: Path, fps: float | None = None) -> list[int]:
    """Copy parts of videos, one after the other, to a video that begins at zero; return their frames each.

    Args:
        parts: of videos of one codec and size.
        target: file to write.
        fps: frames a second, from which the begin of the next part follows; needed for more than one part.

    Raises:
        DatasetError: a part begins with no key frame, is encoded in another way than the first, or one of the
            videos cannot be read or written.
    """
    counts: list[int] = []
    try:
        with av.open(str(target), 'w') as joined:
            writer = None
            for part in parts:
                with av.open(str(part.path)) as video:
                    writer = writer or _Joined(joined, video.streams.video[0])
                    first_s = sum(counts) / fps if fps else 0.0
                    counts.append(writer.copy(part, video, first_s))
    except (av.FFmpegError, IndexError) as error:
        names = ', '.join(sorted({part.path.name for part in parts}))
        raise DatasetError(f'{parts[0].path.parent}, {names}: cannot be copied: {error}.') from error
    return counts


class _Joined:
    """A video under way; its packets come from others as they are."""

    def __init__(self, joined: OutputContainer, first: VideoStream) -> None:
        self._joined = joined
        self._stream = joined.add_stream_from_template(first, opaque=True)  # needs no encoder of that codec
        self._like = _encoding(first)

    def copy(self, part: VideoPart, video: InputContainer, first_s: float) -> int:
        """Copy a part's packets, the first of them to `first_s`; return their number."""
        stream = video.streams.video[0]
        source, time_base = part.path, stream.time_base
        if stream.average_rate is None or time_base is None:
            raise DatasetError(f'{source} states no frame rate or no time base: convert its recording again.')
        if _encoding(stream) != self._like:
            raise DatasetError(
                f'{source} is encoded in another way than the video before it, so that one file cannot hold '
                'both. Convert its recording again with the settings of the data set.'
            )
        half_frame_s = 0.5 / float(stream.average_rate)
        begin, end = (round((time_s - half_frame_s) / time_base) for time_s in (part.begin_s, part.end_s))
        offset = round(part.begin_s / time_base) - round(first_s / time_base)
        count = 0
        for packet in video.demux(stream):
            if packet.pts is None or not begin <= packet.pts < end:
                continue
            if not count and not packet.is_keyframe:
                raise DatasetError(
                    f'{source}: the frame at {part.begin_s:.3f} s is no key frame, so that an episode '
                    'cannot begin there. Convert its recording again.'
                )
            packet.pts -= offset
            packet.dts = None if packet.dts is None else packet.dts - offset
            packet.stream = self._stream
            self._joined.mux(packet)  # in the time base of the video that is written
            count += 1
        return count


def _encoding(stream: VideoStream) -> tuple[object, ...]:
    """What packets of two videos must have in common to be decoded as one."""
    context = stream.codec_context
    return context.name, context.width, context.height, context.pix_fmt, bytes(context.extradata or b'')
