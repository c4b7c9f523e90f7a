"""Frames of videos at random are those that a decoder gives in order."""

import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from restac_ros.training.data.video_frames import FrameReader, VideoIndex
from restac_ros.training.errors import TrainingError

FRAMES = 24


def write_video(path: Path, group: int) -> None:
    rng = np.random.default_rng(group)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(
            'h264', 15, options={'g': str(group), 'crf': '12', 'preset': 'veryfast'}
        )
        stream.pix_fmt, stream.width, stream.height = 'yuv420p', 64, 48
        for number in range(FRAMES):
            image = rng.integers(0, 40, (48, 64, 3), dtype=np.uint8) + np.uint8(5 * number)
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            frame.pts, frame.time_base = number, Fraction(1, 15)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(('group', 'all_key'), [(1, True), (5, False)])
def test_any_frame_equals_the_one_decoded_in_order(tmp_path: Path, group: int, all_key: bool) -> None:
    path = tmp_path / 'video.mp4'
    write_video(path, group)
    with av.open(str(path)) as container:
        in_order = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    index, reader = VideoIndex.of(path), FrameReader()
    assert (len(index), index.all_key) == (FRAMES, all_key)
    for number in np.random.default_rng(0).permutation(FRAMES):
        np.testing.assert_array_equal(reader.read(index, int(number)), in_order[number])


def test_two_files_may_be_read_in_turn(tmp_path: Path) -> None:
    paths = [tmp_path / 'a.mp4', tmp_path / 'b.mp4']
    for path, group in zip(paths, (1, 2), strict=True):
        write_video(path, group)
    first, second = map(VideoIndex.of, paths)
    reader = FrameReader()
    alone = [reader.read(first, 3), reader.read(second, 4)]
    for _ in range(3):
        np.testing.assert_array_equal(reader.read(first, 3), alone[0])
        np.testing.assert_array_equal(reader.read(second, 4), alone[1])


def test_a_frame_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'video.mp4'
    write_video(path, 1)
    with pytest.raises(TrainingError, match=f'found {FRAMES} frames, expected one numbered {FRAMES}'):
        FrameReader().read(VideoIndex.of(path), FRAMES)


@pytest.mark.parametrize('group', [1, 5])
def test_a_file_that_takes_the_place_of_another_is_not_read(tmp_path: Path, group: int) -> None:
    """Compacting a data set gives other files the names that its readers know."""
    path, other = tmp_path / 'video.mp4', tmp_path / 'other.mp4'
    write_video(path, group)
    write_video(other, group + 1)
    index, reader = VideoIndex.of(path), FrameReader()
    shutil.copy2(path, tmp_path / 'copy.mp4')
    os.replace(tmp_path / 'copy.mp4', path)
    FrameReader().read(index, 0)  # the same file, copied where there are no hard links
    kept = reader.read(index, 0)
    os.replace(other, path)
    np.testing.assert_array_equal(reader.read(index, 0), kept, 'what is open stays')
    changed = 'the data set was changed while it is read: start again'
    with pytest.raises(TrainingError, match=f'video.mp4 is another file than .*{changed}'):
        FrameReader().read(index, 0)
    path.unlink()
    with pytest.raises(TrainingError, match=f'video.mp4 is gone: {changed}'):
        FrameReader().read(index, 0)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'video.mp4'
    path.write_bytes(b'version https://git-lfs')
    with pytest.raises(TrainingError, match=r'video\.mp4 cannot be read as a video'):
        VideoIndex.of(path)


def test_a_readers_files_are_closed_with_it(tmp_path: Path) -> None:
    path = tmp_path / 'video.mp4'
    write_video(path, 1)
    index, reader = VideoIndex.of(path), FrameReader()
    reader.read(index, 0)
    opened = {
        name for name in os.listdir('/proc/self/fd') if os.path.realpath(f'/proc/self/fd/{name}') == str(path)
    }
    assert opened
    del reader
    assert not [name for name in opened if os.path.realpath(f'/proc/self/fd/{name}') == str(path)]


def test_a_reader_that_outlives_its_modules_says_nothing(tmp_path: Path) -> None:
    """At the end of a process, what a module that was imported before `os` holds is deleted after it."""
    path = tmp_path / 'video.mp4'
    write_video(path, 1)
    code = (
        'import io, sys\n'
        'from pathlib import Path\n'
        'from restac_ros.training.data.video_frames import FrameReader, VideoIndex\n'
        'io.reader = FrameReader()\n'
        'io.reader.read(VideoIndex.of(Path(sys.argv[1])), 0)\n'
    )
    run = subprocess.run([sys.executable, '-c', code, path], capture_output=True, text=True, check=True)
    assert run.stderr == ''


@pytest.mark.parametrize('group', [1, 5])
def test_many_files_and_threads_stay_below_half_of_what_the_process_may_open(
    tmp_path: Path, group: int
) -> None:
    write_video(tmp_path / '0.mp4', group)
    for number in range(1, 150):
        os.link(tmp_path / '0.mp4', tmp_path / f'{number}.mp4')
    code = (
        'import os, resource, sys\n'
        'from concurrent.futures import ThreadPoolExecutor\n'
        'from dataclasses import replace\n'
        'from pathlib import Path\n'
        'from restac_ros.training.data.video_frames import FrameReader, VideoIndex\n'
        'folder, open_files = Path(sys.argv[1]), lambda: len(os.listdir("/proc/self/fd"))\n'
        'first = VideoIndex.of(folder / "0.mp4")\n'
        'indices = [replace(first, path=folder / f"{number}.mp4") for number in range(150)]\n'
        'before, readers = open_files(), [FrameReader(), FrameReader()]\n'
        'resource.setrlimit(resource.RLIMIT_NOFILE, (before + 20, 120))\n'
        'with ThreadPoolExecutor(8) as pool:\n'
        '    list(pool.map(lambda n: readers[n % 2].read(indices[n // 2], n % 20), range(300)))\n'
        '    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (120, 120)\n'
        '    assert 8 <= open_files() - before <= 60, open_files() - before\n'
    )
    run = subprocess.run([sys.executable, '-c', code, tmp_path], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, '')
