"""Cutting a video without decoding it: the same frames, from zero on."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from lerobot.datasets.video_utils import concatenate_video_files

from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.video.video_cut import cut_video, frame_count

FPS, SIDE_PX, LENGTHS = 15, 64, (23, 31, 17)
# As LeRobot writes, and harder ones: frames that rest on later ones, in groups that end in the middle.
CODECS = {
    'libx264': {'g': '2'},
    'libx264 with B-frames': {'g': '10', 'bf': '3'},
    'libx265': {'g': '10', 'x265-params': 'log-level=error'},
    'libsvtav1': {'g': '2', 'preset': '12'},
}


def encode(path: Path, codec: str, options: dict[str, str], frames: np.ndarray) -> None:
    av.logging.set_libav_level(av.logging.ERROR)
    with av.open(str(path), 'w') as video:
        stream = video.add_stream(codec, rate=FPS, options=options)
        stream.width = stream.height = SIDE_PX
        stream.pix_fmt = 'yuv420p'
        stream.time_base = Fraction(1, FPS)
        for image in frames:
            video.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        video.mux(stream.encode(None))


def decoded(path: Path) -> tuple[list[float], list[bytes]]:
    with av.open(str(path)) as video:
        frames = [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format='rgb24').tobytes())
            for frame in video.decode(video=0)
        ]
    return [time_s for time_s, _ in frames], [pixels for _, pixels in frames]


@pytest.mark.parametrize('name', CODECS)
def test_each_part_of_a_joined_video_is_what_was_joined(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    parts = []
    for number, length in enumerate(LENGTHS):
        parts.append(tmp_path / f'{number}.mp4')
        frames = rng.integers(0, 256, (length, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
        encode(parts[-1], name.split()[0], CODECS[name], frames)
    concatenate_video_files(parts, tmp_path / 'joined.mp4')
    begin = 0
    for number, (part, length) in enumerate(zip(parts, LENGTHS, strict=True)):
        cut = tmp_path / f'cut{number}.mp4'
        assert cut_video(tmp_path / 'joined.mp4', cut, begin / FPS, (begin + length) / FPS) == length
        assert frame_count(cut) == length
        times_s, pixels = decoded(cut)
        assert pixels == decoded(part)[1]
        np.testing.assert_allclose(times_s, np.arange(length) / FPS, atol=1e-4)
        begin += length


def test_a_part_that_begins_between_key_frames_is_refused(tmp_path: Path) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (20, SIDE_PX, SIDE_PX, 3), np.uint8)
    encode(tmp_path / 'video.mp4', 'libx264', {'g': '10', 'sc_threshold': '0'}, frames)
    with pytest.raises(DatasetError, match=r'the frame at 0\.200 s is no key frame'):
        cut_video(tmp_path / 'video.mp4', tmp_path / 'cut.mp4', 3 / FPS, 1)
    (tmp_path / 'none.mp4').write_bytes(b'nothing')
    with pytest.raises(DatasetError, match=r'none\.mp4: cannot be copied'):
        cut_video(tmp_path / 'none.mp4', tmp_path / 'cut.mp4', 0, 1)
