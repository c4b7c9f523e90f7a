"""One framing for live and recorded data: what a node sees is, bit for bit, what the converter makes."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.framing.framer import frames
from restac_ros.framing.grid import Grid
from restac_ros.framing.sample import Sample, make_sample
from restac_ros.runtime.live_frames import LiveFrames


@pytest.fixture
def recorded(make_real_bag: Callable[..., Path], repository: Path) -> tuple:
    """A contract and the samples of a real bag of 1.5 s, in the order of arrival."""
    contract = load_contract(repository / 'config' / 'contract.yaml')
    names = {spec.topic: name for name, spec in contract.streams.items()}
    bag = open_bag(make_real_bag('--seconds', '1.5'))
    samples = [
        make_sample(contract, names[message.topic], message.cdr, message.log_time_ns)
        for message in bag.messages()
    ]
    return contract, samples


def test_live_frames_are_the_converters_frames(recorded: tuple) -> None:
    contract, samples = recorded
    start_ns, end_ns = samples[0].receive_ns, samples[-1].receive_ns
    expected = list(frames(contract, iter(samples), start_ns, end_ns))

    clock = [start_ns]
    waiting = [sample for sample in samples if contract.streams[sample.stream].rate_hz > 150]
    pushed_when_they_come = [sample for sample in samples if sample not in waiting]

    def take_pending() -> None:
        """The fast streams lie in the middleware until a frame (or a timer) asks for them."""
        while waiting and waiting[0].receive_ns <= clock[0]:
            live.push(waiting.pop(0))

    live = LiveFrames(contract, lambda: clock[0], take_pending)
    grid = Grid(start_ns, contract.fps)
    for index, wanted in enumerate(expected):
        clock[0] = grid.tick_ns(index)
        while pushed_when_they_come and pushed_when_they_come[0].receive_ns <= clock[0]:
            live.push(pushed_when_they_come.pop(0))
        got = live.frame(list(contract.streams))
        assert (got.time_ns, got.reasons, dict(got.streams)) == (
            wanted.time_ns,
            wanted.reasons,
            dict(wanted.streams),
        )
        for mine, theirs in ((got.images, wanted.images), (got.tactile, wanted.tactile)):
            assert mine.keys() == theirs.keys()
            for name in mine:
                np.testing.assert_array_equal(mine[name], theirs[name])
        for field in ('state', 'action_prev'):
            np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field))
    assert sum(frame.usable for frame in expected) > 10


def test_looking_decodes_nothing_that_was_not_named(recorded: tuple) -> None:
    contract, samples = recorded
    end_ns = samples[-1].receive_ns
    clock = [samples[0].receive_ns]
    live = LiveFrames(contract, lambda: clock[0], lambda: None)
    for sample in samples:
        live.push(sample._replace(cdr=b'\0\1\0\0') if sample.stream == 'main' else sample)
    clock[0] = end_ns
    frame, statuses = live.frame_with_statuses((contract.pose_stream, contract.gripper_stream))
    assert frame.state is not None
    assert frame.images == {}
    assert statuses['main'].valid  # not decoded, so that its damage is not known
    assert set(statuses) == set(contract.streams)
    undecodable = live.frame(['main']).streams['main']
    assert undecodable.reason.startswith('undecodable')


def test_new_samples_wake_those_who_wait_for_their_stream(recorded: tuple) -> None:
    contract, samples = recorded
    live = LiveFrames(contract, lambda: samples[0].receive_ns, lambda: None)
    cameras, touch = threading.Event(), threading.Event()
    live.signal(['main', 'side'], cameras)
    live.signal(['gelsight_left'], touch)
    live.push(_first(samples, 'side'))
    assert cameras.is_set()
    assert not touch.is_set()
    live.push(_first(samples, 'gelsight_left'))
    assert touch.is_set()


def test_a_stream_whose_topic_has_other_joints_only_is_invalid_for_that_and_not_for_its_age(
    recorded: tuple,
) -> None:
    contract, samples = recorded
    clock = [samples[0].receive_ns]
    others = {'joints': '/franka/joint_states: no joint fr3_joint1; the message has a; set joints'}
    live = LiveFrames(contract, lambda: clock[0], lambda: None, why_silent=lambda name: others.get(name, ''))

    def reason_of(name: str) -> str:
        return live.frame([name]).streams[name].reason

    assert reason_of('joints') == f'other joints: {others["joints"]}'  # none of its own so far
    assert reason_of('gripper').startswith('missing')
    late = _first(samples, 'joints')
    clock[0] = late.receive_ns + 10**7
    live.push(late)
    assert reason_of('joints') == ''  # its own messages have come within their greatest age
    clock[0] = late.receive_ns + 10**9
    live.push(late._replace(stamp_ns=late.stamp_ns + 1, receive_ns=clock[0]))
    assert reason_of('joints').startswith('stale')  # they come, but late
    clock[0] += 10**9
    assert reason_of('joints') == f'other joints: {others["joints"]}'


def test_a_clock_that_is_set_back_begins_a_new_episode(recorded: tuple) -> None:
    contract, samples = recorded
    clock = [samples[-1].receive_ns + 10**12]
    live = LiveFrames(contract, lambda: clock[0], lambda: None)
    for sample in samples:
        live.push(sample)
    assert live.frame(list(contract.streams)).reasons
    clock[0] = samples[0].receive_ns
    live.frame([])
    for sample in samples:
        live.push(sample)
    clock[0] = samples[-1].receive_ns
    frame = live.frame(list(contract.streams))
    assert frame.usable
    assert np.abs(frame.action_prev).max() > 0  # not the zeros of a beginning


def _first(samples: list[Sample], stream: str) -> Sample:
    return next(sample for sample in samples if sample.stream == stream)
