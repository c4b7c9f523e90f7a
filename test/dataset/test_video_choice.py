"""Codec and quality: what was asked for is what the videos have, and a data set keeps what it began with."""

import json
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.convert_many import convert_many
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.shards import EpisodeRequest
from restac_ros.dataset.video.video_choice import VideoChoice, asked_video

TASK = 'press the button'


@pytest.fixture(scope='module')
def bags(
    tmp_path_factory: pytest.TempPathFactory, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> list[Path]:
    """Two recordings of some frames."""
    folder, start_ns = tmp_path_factory.mktemp('bags'), recording[0].log_time_ns
    return [
        write_bag(folder / f'bag{i}', [m for m in recording if m.log_time_ns < start_ns + length_ns])
        for i, length_ns in enumerate((700_000_000, 800_000_000))
    ]


def codecs(root: Path) -> set[str]:
    found = set()
    for path in root.glob('videos/**/*.mp4'):
        with av.open(str(path)) as video:
            found.add(video.streams.video[0].codec_context.name)
    return found


@pytest.mark.parametrize(('codec', 'decoder'), [('hevc', 'hevc'), ('av1', 'libdav1d')])
def test_videos_have_the_codec_asked_for(
    codec: str, decoder: str, bags: list[Path], contract: Contract, tmp_path: Path
) -> None:
    root, choice = tmp_path / 'demos', VideoChoice(codec, 30)
    requests = [EpisodeRequest(bag, TASK, contract, video=choice) for bag in bags]
    assert [outcome.report.episode_index for outcome in convert_many(requests, root)] == [0, 1]
    assert codecs(root) == {decoder}
    info = json.loads((root / 'meta' / 'info.json').read_text())
    shown = info['features'][contract.streams['main'].feature]['info']
    assert (shown['video.crf'], shown['video.codec']) == (30, codec)


def test_a_data_set_keeps_its_codec(bags: list[Path], contract: Contract, tmp_path: Path) -> None:
    root = tmp_path / 'demos'
    convert_episode(bags[0], contract, root, TASK, video=VideoChoice(quality=30))
    refused = 'holds video in h264 at quality 30, asked for was hevc at quality 10'
    with pytest.raises(DatasetError, match=refused):
        convert_episode(bags[1], contract, root, TASK, video=VideoChoice('hevc'))
    with pytest.raises(DatasetError, match='Ask for nothing to go on with its own'):
        list(convert_many([EpisodeRequest(bags[1], TASK, contract, video=VideoChoice())], root))
    (outcome,) = convert_many([EpisodeRequest(bags[1], TASK, contract)], root)
    assert outcome.report.episode_index == 1
    stored = json.loads((root / 'meta' / 'restac_ros' / 'conversion.json').read_text())
    assert VideoChoice.of_settings(stored['cameras']) == VideoChoice('h264', 30)


def test_choices_are_checked() -> None:
    assert asked_video(None, None) is None
    assert asked_video(None, 20) == VideoChoice('h264', 20)
    assert asked_video('av1', None).quality == VideoChoice('av1').quality
    with pytest.raises(DatasetError, match='video quality 60; expected 0'):
        VideoChoice('hevc', 60)
    with pytest.raises(DatasetError, match="codec 'vp9'; expected one of h264, hevc, av1"):
        VideoChoice('vp9')
    with pytest.raises(DatasetError, match='not of this package'):
        VideoChoice.of_settings({'vcodec': 'prores'})
