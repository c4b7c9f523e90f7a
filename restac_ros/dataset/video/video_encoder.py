"""Encodes an episode's camera frames while they are made, one thread per camera; loses none.

Replaces lerobot's StreamingVideoEncoder (same methods), which drops a frame that has to wait for 0.1 s, and
spends six times the encoder's CPU time on statistics of every frame.
"""

import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from queue import Queue
from threading import Thread

import av
import numpy as np
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.compute_stats import RunningQuantileStats

from restac_ros.dataset.errors import DatasetError

QUEUED_FRAMES = 30
STATISTICS_EVERY = 5  # frames; neighbours hardly differ
STATISTICS_STEP = 2  # px, both ways: likewise
THREADS_PER_VIDEO = 1


class PixelStatistics(RunningQuantileStats):
    """LeRobot's statistics of 8-bit pixels, number for number, by counting values: a quarter of its time."""

    _min: np.ndarray
    _max: np.ndarray

    def update(self, batch: np.ndarray) -> None:
        """Add pixels uint8 [n, channels]."""
        if self._count == 0:
            super().update(batch)
            return
        channels = np.ascontiguousarray(batch.T)
        low, high = (bound(channels, axis=1).astype(np.float32) for bound in (np.min, np.max))
        grown = np.any(high > self._max) or np.any(low < self._min)
        self._max, self._min = np.maximum(self._max, high), np.minimum(self._min, low)
        if grown:
            self._adjust_histograms()
        self._count += len(batch)
        share, pixels = len(batch) / self._count, batch.astype(np.float32)
        self._mean += (np.mean(pixels, axis=0) - self._mean) * share
        self._mean_of_squares += (np.mean(pixels**2, axis=0) - self._mean_of_squares) * share
        self._update_histograms(batch)

    def _update_histograms(self, batch: np.ndarray) -> None:
        for histogram, edges, channel in zip(self._histograms, self._bin_edges, batch.T, strict=True):
            counts = np.bincount(channel.astype(np.uint8), minlength=256)
            values = counts.nonzero()[0]
            bins = np.minimum(np.searchsorted(edges, values, side='right'), len(histogram)) - 1
            np.add.at(histogram, bins, counts[values])


class _CameraThread(Thread):
    """Encodes the images put into `frames` until None; after a failure it only empties the queue."""

    def __init__(self, path: Path, fps: int, config: RGBEncoderConfig) -> None:
        super().__init__(name=f'encode {path.name}', daemon=True)
        self.path = path
        self.frames: Queue[np.ndarray | None] = Queue(QUEUED_FRAMES)
        self.failure: Exception | None = None
        self.cancelled = False
        self.statistics = PixelStatistics()
        self._ended = False
        self._fps = fps
        self._config = config

    def run(self) -> None:
        try:
            self._encode()
        except Exception as error:  # noqa: BLE001 - whatever it is, the feeding thread raises it
            self.failure = error
            while not self._ended:  # a full disk may refuse only the end of the video
                self._next()

    def _next(self) -> np.ndarray | None:
        image = self.frames.get()
        self._ended = image is None
        return image

    def _encode(self) -> None:
        options = self._config.get_codec_options(THREADS_PER_VIDEO, as_strings=True)
        with av.open(str(self.path), 'w') as container:
            stream = container.add_stream(self._config.vcodec, self._fps, options=options)
            stream.pix_fmt = self._config.pix_fmt
            stream.time_base = period = Fraction(1, self._fps)
            count = 0
            while (image := self._next()) is not None:
                if self.cancelled:
                    continue
                if count == 0:
                    stream.height, stream.width = image.shape[:2]
                frame = av.VideoFrame.from_ndarray(image, format='rgb24')
                frame.pts, frame.time_base = count, period
                container.mux(stream.encode(frame))
                if count % STATISTICS_EVERY == 0:
                    sampled = image[::STATISTICS_STEP, ::STATISTICS_STEP]
                    self.statistics.update(sampled.reshape(-1, 3))
                count += 1
            container.mux(stream.encode())


class VideoEncoder:
    """The encoder that lerobot's DatasetWriter calls with an episode's frames."""

    def __init__(self, fps: int, config: RGBEncoderConfig) -> None:
        self._fps = fps
        self._config = config
        self._threads: dict[str, _CameraThread] = {}

    def start_episode(
        self, video_keys: list[str], temp_dir: Path, depth_video_keys: list[str] | None = None
    ) -> None:
        """Begin one video per key, each in a directory of its own inside `temp_dir`."""
        if depth_video_keys:
            raise DatasetError(f'depth videos are not supported, found {depth_video_keys}')
        for key in video_keys:
            path = Path(tempfile.mkdtemp(dir=temp_dir)) / f'{key}.mp4'
            self._threads[key] = _CameraThread(path, self._fps, self._config)
            self._threads[key].start()

    def feed_frame(self, video_key: str, image: np.ndarray) -> None:
        """Queue a frame uint8 [H, W, 3], waiting for room. The caller must not change it afterwards.

        Raises:
            DatasetError: encoding has failed.
        """
        thread = self._threads[video_key]
        if thread.failure:
            raise _encoding_error(video_key, thread.failure) from thread.failure
        thread.frames.put(image)

    def finish_episode(self) -> dict[str, tuple[Path, dict[str, np.ndarray]]]:
        """Wait for all frames; return video file and pixel statistics by key.

        Raises:
            DatasetError: encoding has failed.
        """
        threads, self._threads = self._threads, {}
        self._join(threads)
        for key, thread in threads.items():
            if thread.failure:
                raise _encoding_error(key, thread.failure) from thread.failure
        return {key: (thread.path, thread.statistics.get_statistics()) for key, thread in threads.items()}

    def cancel_episode(self) -> None:
        """Drop the queued frames and remove the unfinished videos."""
        threads, self._threads = self._threads, {}
        for thread in threads.values():
            thread.cancelled = True
        self._join(threads)
        for thread in threads.values():
            shutil.rmtree(thread.path.parent, ignore_errors=True)

    def close(self) -> None:
        """Stop, even in the middle of an episode."""
        self.cancel_episode()

    @staticmethod
    def _join(threads: dict[str, _CameraThread]) -> None:
        for thread in threads.values():
            thread.frames.put(None)
        for thread in threads.values():
            thread.join()


def _encoding_error(key: str, failure: Exception) -> DatasetError:
    return DatasetError(f'the video of {key} cannot be encoded: {type(failure).__name__}: {failure}')
