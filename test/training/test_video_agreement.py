"""Videos whose frames are not those of their rows are refused before anything is decoded."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from restac_ros.training.data.pictures import StoredPictures
from restac_ros.training.data.tables import EpisodeRows, Tables
from restac_ros.training.errors import TrainingError

FPS, LENGTH, CAMERA = 15, 6, 'observation.images.main'
NONE = np.zeros(0, np.int64)


def videos_of(root: Path, version: str, begins: Sequence[float], stamps: Sequence[int]) -> StoredPictures:
    """Episodes of `LENGTH` rows that begin at these frames of one video, whose frames have these stamps."""
    with av.open(str(root / 'video.mp4'), 'w') as container:
        stream = container.add_stream('h264', FPS, options={'g': '2'})
        stream.pix_fmt, stream.width, stream.height = 'yuv420p', 64, 48
        for stamp in stamps:
            frame = av.VideoFrame(64, 48, 'yuv420p')
            frame.pts, frame.time_base = stamp, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    place = {f'videos/{CAMERA}/{name}_index': 0 for name in ('chunk', 'file')}
    spans = {
        number: EpisodeRows(
            number,
            number * LENGTH,
            LENGTH,
            (),
            place | {'episode_index': number, f'videos/{CAMERA}/from_timestamp': begin / FPS},
        )
        for number, begin in enumerate(begins)
    }
    info = {'codebase_version': version, 'fps': FPS, 'video_path': 'video.mp4'}
    info['features'] = {CAMERA: {'dtype': 'video'}}
    return StoredPictures(Tables(root.resolve(), info, spans, {}, {}, NONE, [], NONE, NONE))


@pytest.mark.parametrize(
    ('version', 'begins', 'stamps'),
    [
        ('v2.1', [0], range(6)),
        ('v3.0', [0], range(6)),
        ('v3.0', [0, 6], range(12)),
        ('v3.0', [6, 0.2], range(12)),  # in any order; times need not be exact
        ('v3.0', [0, 12], range(18)),  # an episode between them was left out
    ],
)
def test_videos_that_agree_with_their_rows_pass(
    version: str, begins: list[float], stamps: range, tmp_path: Path
) -> None:
    videos_of(tmp_path, version, begins, stamps).check(CAMERA)


@pytest.mark.parametrize(
    ('version', 'begins', 'stamps', 'fault'),
    [
        ('v2.1', [0], [*range(7)], r'found 7 frames, expected 6: .* convert its recording again'),
        ('v3.0', [0], [*range(7)], r'found 7 frames, expected 6: .*`restac-ros export`'),
        ('v3.0', [0, 6], [*range(13)], 'found 13 frames, expected 12: those of episode 1 begin at 6'),
        ('v3.0', [0, 6], [*range(11)], 'found 11 frames, expected 12: .*`restac-ros repair`'),
        ('v3.0', [-1], [*range(6)], 'found 6 frames, expected 5'),
        # One frame dropped, one too many: the number is right.
        ('v2.1', [0], [0, 1, 3, 4, 5, 6], r'episode 0, frame 2: found it at 0\.200 s, expected 0\.133 s'),
        ('v3.0', [0, 6], [0, 1, *range(3, 13)], r'episode 0, frame 2: found it at 0\.200 s'),
        ('v3.0', [0, 6], [*range(6), *range(7, 13)], r'episode 1, frame 0: found it at 0\.467 s'),
    ],
)
def test_videos_that_do_not_are_refused(
    version: str, begins: list[float], stamps: list[int], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=rf'video\.mp4: {fault}'):
        videos_of(tmp_path, version, begins, stamps).check(CAMERA)
