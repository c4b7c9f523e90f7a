"""Framing of streams that real sensors sent, whole and with the faults that real drivers show."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rosbags.highlevel import AnyReader

from restac_ros.contract.schema import Contract
from restac_ros.framing.frame import Frame
from restac_ros.framing.framer import Framer, frames
from restac_ros.framing.resize import letterbox, resize_tactile
from restac_ros.framing.sample import Sample, make_sample

SECOND = 10**9


def read(bag: Path, contract: Contract) -> list[Sample]:
    streams = {stream.topic: name for name, stream in contract.streams.items()}
    with AnyReader([bag]) as reader:
        return [
            make_sample(contract, streams[connection.topic], data, log_ns)
            for connection, log_ns, data in reader.messages()
        ]


def framed(contract: Contract, samples: list[Sample]) -> tuple[list[Frame], Framer]:
    start_ns = samples[0].receive_ns
    framer = Framer(contract, start_ns)
    return list(frames(contract, samples, start_ns, samples[-1].receive_ns, framer)), framer


@pytest.fixture(scope='module')
def samples(make_real_bag: Callable[..., Path], contract: Contract) -> list[Sample]:
    return read(make_real_bag('--seconds', '2'), contract)


@pytest.fixture(scope='module')
def series(contract, samples) -> list[Frame]:
    return framed(contract, samples)[0]


def test_all_frames_are_usable_once_every_stream_has_begun(series):
    assert 30 <= len(series) <= 31
    assert not series[0].usable
    assert [frame.reasons for frame in series[3:] if not frame.usable] == []


def test_frames_use_the_newest_sample_of_each_stream(samples, series):
    for frame in series[3:]:
        for name, status in frame.streams.items():
            known = [s.stamp_ns for s in samples if s.stream == name and s.receive_ns <= frame.time_ns]
            assert status.stamp_ns == max(known)
            assert status.age_ns == frame.time_ns - status.stamp_ns


def test_ages_follow_from_rates_and_delays(series):
    """Delay of the driver plus at most one period, as the bag's maker states them."""
    limits_ms = {'main': 50, 'handeye': 50, 'side': 50, 'gelsight_left': 165, 'joints': 2, 'gripper': 80}
    for name, limit_ms in limits_ms.items():
        ages_ms = np.array([frame.streams[name].age_ns for frame in series[3:]]) / 1e6
        assert ages_ms.min() >= 0
        assert ages_ms.max() < limit_ms


def test_images_are_those_of_the_sensors(series, shared_dir):
    data = shared_dir / 'data' / 'real_streams'
    av = pytest.importorskip('av')
    for name in ('main', 'side', 'handeye'):
        with av.open(data / 'cameras' / f'{name}.mp4') as video:
            first = [picture.to_ndarray(format='rgb24') for picture in islice(video.decode(video=0), 61)]
        originals = {letterbox(image).tobytes() for image in first}
        assert all(frame.images[name].tobytes() in originals for frame in series[3:])
    pictures = [Image.open(path).convert('RGB') for path in sorted((data / 'gelsight').glob('*.png'))]
    touches = {resize_tactile(np.asarray(picture)).tobytes() for picture in pictures}
    seen = {frame.tactile['gelsight_left'].tobytes() for frame in series[3:]}
    assert seen <= touches
    assert len(seen) > 1


def test_state_is_continuous_and_consistent_with_action_prev(series):
    states = np.array([frame.state for frame in series[3:]], dtype=np.float64)
    steps = np.diff(states, axis=0)
    assert np.abs(steps[:, :6]).max() < 0.3
    changes = np.array([frame.action_prev for frame in series[4:]])
    # The period before a tick is within 1 ns of the tick before it: at most one 1 kHz message apart.
    np.testing.assert_allclose(changes, steps, atol=0.01)
    assert np.median(np.abs(changes - steps)) < 1e-6


@pytest.mark.parametrize('encoding', ['bgr8', 'rgba8', '8UC3'])
def test_encoding_on_the_way_changes_no_pixel(make_real_bag, contract, edited_contract, series, encoding):
    changes = {'streams.main.encoding': encoding}
    changes |= {'streams.main.channel_order': 'bgr'} if encoding == '8UC3' else {}
    bag = make_real_bag('--seconds', '1', '--encoding', 'main', encoding)
    other = edited_contract(changes)
    for ours, theirs in zip(series[3:], framed(other, read(bag, other))[0][3:], strict=False):
        np.testing.assert_array_equal(theirs.images['main'], ours.images['main'])
    refused = framed(contract, read(bag, contract))[0][-1]
    assert f"encoding '{encoding}'; the contract expects 'rgb8'" in refused.reasons[0]


@pytest.fixture(scope='module')
def faulty(make_real_bag, contract) -> tuple[list[Frame], Framer]:
    bag = make_real_bag(
        *('--seconds', '3', '--gelsight-zero-stamp', '--drop', 'side', '0.5', '1.2'),
        *('--encoding', 'handeye', 'mono8', '--clock-jump', '2.0', '1.0'),
    )
    return framed(contract, read(bag, contract))


def test_each_fault_is_named_where_it_happens(faulty):
    series, framer = faulty
    assert framer.counters['gelsight_left'].zero_stamps == framer.counters['gelsight_left'].received > 0
    assert all('mono8' in frame.streams['handeye'].reason for frame in series[3:28])
    dropped = series[12]  # 0.8 s: nothing from this camera since 0.5 s
    assert dropped.streams['side'].reason.startswith('stale: age ')
    assert 'side' not in dropped.images
    in_the_gap = series[40]  # the clock jumps from 2 s to 3 s: nothing is received in between
    assert {name for name, status in in_the_gap.streams.items() if status.valid} == set()
    after = series[-1]
    assert {name for name, status in after.streams.items() if not status.valid} == {'handeye'}
    assert all(not frame.usable for frame in series)
