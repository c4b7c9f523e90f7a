"""A camera that hangs is noticed in a recording, while it is converted, and in a data set's videos."""

import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from lerobot.configs import RGBEncoderConfig

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.errors import BagError, DatasetError
from restac_ros.dataset.journal import Journal
from restac_ros.dataset.lerobot_access import private_cache
from restac_ros.dataset.quality.quality import assess
from restac_ros.dataset.quality.quality_page import write_quality
from restac_ros.dataset.quality.video_freezes import frozen_rows
from restac_ros.dataset.session_log import SessionLog
from restac_ros.dataset.video.video_choice import VideoChoice
from restac_ros.dataset.video.video_encoder import VideoEncoder

START_NS = 1_760_000_000_000_000_000
FPS = 15
SECOND = 10**9


def noisy(rng: np.random.Generator, at: int) -> np.ndarray:
    """A moving scene uint8 [64, 96, 3] with a camera's noise."""
    ramp = np.linspace(20, 200, 96) + 3 * (at % 10)
    return np.clip(ramp[None, :, None] + rng.normal(0, 3, (64, 96, 3)), 0, 255).astype(np.uint8)


def encode(folder: Path, images: list[np.ndarray], codec: str) -> Path:
    encoder = VideoEncoder(FPS, RGBEncoderConfig(**VideoChoice(codec).settings))
    encoder.start_episode(['camera'], folder)
    for image in images:
        encoder.feed_frame('camera', image)
    return encoder.finish_episode()['camera'][0]


@pytest.mark.parametrize('codec', ['h264', 'hevc', 'av1'])
def test_a_frozen_stretch_of_a_video_is_found_by_its_packets(codec: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = [noisy(rng, at) for at in range(60)]
    images[24:44] = [images[24]] * 20
    [(first, last)] = frozen_rows(encode(tmp_path, images, codec), 0.0, 60, FPS)
    assert 24 <= first <= 27
    assert 40 <= last <= 43


@pytest.mark.parametrize('codec', ['h264', 'hevc', 'av1'])
def test_a_living_camera_is_not_called_frozen(codec: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    assert frozen_rows(encode(tmp_path, [noisy(rng, 0) for _ in range(40)], codec), 0.0, 40, FPS) == []


def test_packets_of_one_size_and_different_images_are_no_freeze(tmp_path: Path) -> None:
    plain = [np.full((64, 96, 3), level, np.uint8) for level in range(40, 200, 4)]
    assert frozen_rows(encode(tmp_path, plain, 'h264'), 0.0, 40, FPS) == []


def test_rows_count_from_where_the_episode_begins_in_its_video(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    images = [noisy(rng, at) for at in range(60)]
    images[30:50] = [images[30]] * 20
    assert frozen_rows(encode(tmp_path, images, 'h264'), 20 / FPS, 20, FPS) == [(10, 19)]


def test_a_video_with_rare_key_frames_is_not_examined(tmp_path: Path) -> None:
    path = tmp_path / 'long.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', FPS, options={'g': '250'})
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        for _ in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8))))
        container.mux(stream.encode())
    assert frozen_rows(path, 0.0, 30, FPS) is None


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / 'broken.mp4').write_bytes(b'no video')
    with pytest.raises(DatasetError, match=r'broken\.mp4 cannot be decoded'):
        frozen_rows(tmp_path / 'broken.mp4', 0.0, 30, FPS)


@pytest.fixture
def frozen_recording(recording: list[BagMessage], contract: Contract) -> list[BagMessage]:
    """The recording, but `side` repeats its image of 0.5 s, with new stamps."""
    topic, kept, changed = contract.streams['side'].topic, None, []
    for message in recording:
        if message.topic == topic and message.log_time_ns >= START_NS + SECOND // 2:
            kept = kept or message.cdr
            message = message._replace(cdr=message.cdr[:12] + kept[12:])
        changed.append(message)
    return changed


def test_a_frozen_camera_is_said_by_the_conversion_and_found_in_the_data_set(
    journal_of: Callable, frozen_recording: list[BagMessage], tmp_path: Path
) -> None:
    with private_cache():
        report = convert_episode(journal_of(frozen_recording), None, tmp_path / 'demos')
    [note] = [note for note in report.notes if note.startswith('frozen')]
    assert re.fullmatch(
        r'frozen: side: 4\d identical images from 0\.\d+ s on, for 1\.\d+ s\. A living.*driver.*',
        note,
    )
    quality = assess(tmp_path / 'demos')
    [found] = [found for found in quality.episodes[0].findings if found.kind == 'frozen']
    assert (found.stream, quality.verdict) == ('side', 'usable')
    assert found.end_s - found.start_s == pytest.approx(1.4, abs=0.25)
    assert quality.episodes[0].streams['main'].repeated_images == 0
    assert note in quality.episodes[0].notes


def test_a_video_that_cannot_tell_is_said_to_be_not_examined(
    journal_of: Callable, recording: list[BagMessage], tmp_path: Path, monkeypatch
) -> None:
    with private_cache():
        convert_episode(journal_of(recording), None, tmp_path / 'demos')
    monkeypatch.setattr('restac_ros.dataset.quality.dataset_trace.frozen_rows', lambda *_: None)
    written = write_quality(tmp_path / 'demos')
    assert written.report.episodes[0].streams['main'].repeated_images is None
    assert written.report.episodes[0].streams['gelsight_left'].repeated_images == 0
    assert written.page_file.read_text().count('not examined') == 3


def test_a_paused_journal_has_a_verdict_for_each_stretch(
    recording: list[BagMessage], contract: Contract, tmp_path: Path
) -> None:
    topics = {stream.topic: name for name, stream in contract.streams.items()}
    pause_ns, resume_ns = START_NS + SECOND, START_NS + 4 * SECOND
    journal = Journal(tmp_path / 'take', contract, start_ns=START_NS, task='press the button')
    for message in recording:
        if message.log_time_ns < pause_ns:
            journal.write(topics[message.topic], message.cdr, message.log_time_ns)
    journal.pause(pause_ns)
    journal.resume(resume_ns)
    shift_ns = resume_ns - START_NS
    for message in recording:
        stamp_ns = int.from_bytes(message.cdr[4:8], 'little') * SECOND
        stamp_ns += int.from_bytes(message.cdr[8:12], 'little') + shift_ns
        stamp = b''.join(part.to_bytes(4, 'little') for part in divmod(stamp_ns, SECOND))
        cdr = message.cdr[:4] + stamp + message.cdr[12:]
        journal.write(topics[message.topic], cdr, message.log_time_ns + shift_ns)
    report = assess(journal.close(resume_ns + 2 * SECOND))
    assert (report.kind, report.verdict, len(report.episodes)) == ('recording', 'good', 2)
    assert [round(episode.duration_s) for episode in report.episodes] == [1, 2]
    assert report.episodes[1].source.endswith('take, 4.00 to 6.00 s')
    assert not any(found.kind == 'clock-jump' for episode in report.episodes for found in episode.findings)


def test_a_session_log_is_not_judged_as_a_recording(contract: Contract, tmp_path: Path) -> None:
    log = SessionLog(tmp_path / 'session log', contract, start_ns=START_NS)
    log.write('/policy_node/gate_state', 'restac_ros/msg/GateState', bytes(64), START_NS)
    path = log.close(START_NS + SECOND)
    with pytest.raises(BagError, match=r"no recorded streams\. Draw it: restac-ros view '.*session log'"):
        assess(path)
