"""Single frames of a video file at random.

Where every frame is a key frame, as in our data sets, the packets' places in the file are an index: a frame
is one read and one decode, without a seek. Other files are decoded from the key frame before the one wanted.
"""

import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Int64, UInt8

from restac_ros.training.data.open_files import FileIdentity, OpenFiles, share_of_files
from restac_ros.training.errors import TrainingError

_CONTAINERS = 8  # open in one thread, at most: each has a decoder's memory
_DECODERS: weakref.WeakSet['_Decoders'] = weakref.WeakSet()  # of all threads


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """Results of one pass over the packets of a file.

    Attributes:
        path: the video file.
        codec: FFmpeg's name.
        extradata: the decoder's parameters.
        places: offset and size, bytes, of each frame's packet, in the order of presentation.
        times: presentation stamps of the frames, in the stream's own unit.
        unit_s: that unit, seconds.
        all_key: every frame is a key frame.
        identity: of the file that was read.
    """

    path: Path
    codec: str
    extradata: bytes
    places: Int64[np.ndarray, 'n 2']
    times: Int64[np.ndarray, ' n']
    unit_s: float
    all_key: bool
    identity: FileIdentity

    def __len__(self) -> int:
        return len(self.places)

    @classmethod
    def of(cls, path: Path) -> 'VideoIndex':
        """Read the packets' places; no image is decoded.

        Raises:
            TrainingError: no such file, or it holds no video.
        """
        try:
            identity = FileIdentity.of(path)
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                packets = [packet for packet in container.demux(stream) if packet.size]
                codec, extradata = stream.codec_context.name, bytes(stream.codec_context.extradata or b'')
                unit_s = float(stream.time_base or 0)
        except (OSError, IndexError, av.FFmpegError) as error:
            raise TrainingError(
                f'{path} cannot be read as a video: {error}. What is broken in its data set, '
                '`restac-ros repair` tells'
            ) from error
        # A packet without a place in the file cannot be read alone.
        rows = sorted((packet.pts or 0, packet.pos or 0, packet.size) for packet in packets)
        ordered = np.array(rows, np.int64).reshape(-1, 3)
        return cls(
            path=path,
            codec=codec,
            extradata=extradata,
            places=ordered[:, 1:],
            times=ordered[:, 0],
            unit_s=unit_s,
            all_key=all(packet.is_keyframe and packet.pos is not None for packet in packets),
            identity=identity,
        )


class FrameReader:
    """Decodes frames of any number of indexed files; threads share files, each has decoders of its own."""

    def __init__(self) -> None:
        self._local, self._files = threading.local(), OpenFiles()

    def read(self, index: VideoIndex, frame: int) -> UInt8[np.ndarray, 'H W 3']:
        """Decode frame number `frame` of the file, RGB.

        Raises:
            TrainingError: there is no such frame, it cannot be decoded, or the file is another one now.
        """
        if not 0 <= frame < len(index):
            raise TrainingError(f'{index.path}: found {len(index)} frames, expected one numbered {frame}')
        try:
            picture = self._decoded(index, frame) if index.all_key else self._sought(index, frame)
            return self._decoders.rgb(picture)
        except FileNotFoundError as error:
            raise TrainingError(
                f'{index.path} is gone: the data set was changed while it is read: start again'
            ) from error
        except (OSError, av.FFmpegError) as error:
            raise TrainingError(f'{index.path}: frame {frame} cannot be decoded: {error}') from error

    @property
    def _decoders(self) -> '_Decoders':
        if not hasattr(self._local, 'decoders'):
            self._local.decoders = _Decoders()
        return self._local.decoders

    def _decoded(self, index: VideoIndex, frame: int) -> av.VideoFrame:
        offset, size = index.places[frame].tolist()
        file = self._files.get(index.path, index.identity)
        data = os.pread(file.descriptor, size, offset)
        context = self._decoders.context(index)
        # A key frame alone leaves some decoders waiting for more: the flush makes them give it.
        pictures = context.decode(av.Packet(data))
        if not pictures:
            pictures = context.decode(None)
            context.flush_buffers()
        if not pictures:
            raise TrainingError(f'{index.path}: frame {frame} gave no picture; the file is damaged')
        return pictures[0]

    def _sought(self, index: VideoIndex, frame: int) -> av.VideoFrame:
        container = self._decoders.container(index)
        stream, wanted = container.streams.video[0], int(index.times[frame])
        container.seek(wanted, stream=stream)
        for picture in container.decode(stream):
            if picture.pts == wanted:
                return picture
        raise TrainingError(f'{index.path}: frame {frame} gave no picture; the file is damaged')


class _Decoders:
    """Containers and codec contexts of one thread."""

    def __init__(self) -> None:
        self._containers: dict[Path, av.container.InputContainer] = {}
        self._contexts: dict[tuple[str, bytes], av.VideoCodecContext] = {}
        self._reformatter = VideoReformatter()
        _DECODERS.add(self)

    def context(self, index: VideoIndex) -> av.VideoCodecContext:
        key = index.codec, index.extradata
        if key not in self._contexts:
            context = av.VideoCodecContext.create(index.codec, 'r')
            if not isinstance(context, av.VideoCodecContext):
                raise TrainingError(f'{index.path}: found codec {index.codec}, expected one of video')
            context.extradata = index.extradata
            context.thread_count = 1
            self._contexts[key] = context
        return self._contexts[key]

    def container(self, index: VideoIndex) -> av.container.InputContainer:
        """Open a file; the one opened longest ago is closed when there are too many."""
        path = index.path
        if path not in self._containers:
            most = min(_CONTAINERS, share_of_files() // len(_DECODERS))
            while self._containers and len(self._containers) >= most:
                self._containers.pop(next(iter(self._containers))).close()
            container = av.open(str(path))
            index.identity.check(path, path)
            container.streams.video[0].thread_count = 1
            self._containers[path] = container
        return self._containers[path]

    def rgb(self, picture: av.VideoFrame) -> UInt8[np.ndarray, 'H W 3']:
        """One converter for all pictures: making one costs as much as converting with it."""
        return self._reformatter.reformat(picture, format='rgb24').to_ndarray()
