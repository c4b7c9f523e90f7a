"""Policy, recorder and replay as processes on streams recorded from real hardware: nothing is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from restac_ros.msg import ActionChunk, GateState

from restac_ros.dataset.bag.bag_reader import open_bag


def test_a_real_bag_becomes_chunks_gates_and_an_episode(
    start_node,
    robot,
    make_real_bag: Callable[..., Path],
    tiny_checkpoint: Path,
    compile_cache: Path,
    tmp_path: Path,
) -> None:
    bag = make_real_bag('--seconds', '3')
    chunks = robot.listen('/policy_node/action_chunk', ActionChunk)
    gates = robot.listen('/policy_node/gate_state', GateState)
    policy = start_node('policy_node', checkpoint=tiny_checkpoint, prompt='push', compile_cache=compile_cache)
    recorder = start_node(
        'recorder_node',
        dataset=tmp_path / 'dataset',
        task='push',
        autostart_recording=True,
        save_on_shutdown=True,
        on_gap='longest_run',
    )
    replay = start_node('replay_node', bag=bag, wait_subscribers=2)
    assert replay.wait() == 0, replay.log + policy.log + recorder.log
    assert policy.end() == 0, policy.log
    assert recorder.end() == 0, recorder.log

    names = {spec.topic: name for name, spec in robot.contract.streams.items()}
    published = {names[topic]: found.count for topic, found in open_bag(bag).topics.items()}
    assert replay.summary['streams'] == published
    for listener in (policy, recorder):
        streams = listener.summary['streams']
        assert {name: tally['received'] for name, tally in streams.items()} == published
        assert {name: tally['lost'] for name, tally in streams.items()} == dict.fromkeys(published, 0)
    assert recorder.summary['written'] == published
    assert policy.summary['chunks'] >= 3
    assert policy.summary['touches'] >= 10
    assert len(chunks) > 0
    assert len(gates) > 0
    assert recorder.summary['episodes'] == [0]
    assert recorder.summary['frames'] >= 10


def test_a_bag_can_be_run_at_its_own_time(
    start_node,
    robot,
    make_real_bag: Callable[..., Path],
    tiny_checkpoint: Path,
    compile_cache: Path,
) -> None:
    """Kept stamps, the bag's clock, half the speed: ages and stamps are those of then."""
    bag = make_real_bag('--seconds', '3')
    chunks = robot.listen('/policy_node/action_chunk', ActionChunk)
    policy = start_node(
        'policy_node',
        checkpoint=tiny_checkpoint,
        prompt='push',
        compile_cache=compile_cache,
        use_sim_time=True,
    )
    replay = start_node(
        'replay_node', bag=bag, stamps='keep', publish_clock=True, rate=0.5, wait_subscribers=1
    )
    assert replay.wait() == 0, replay.log + policy.log
    assert policy.end() == 0, policy.log
    first_ns, last_ns = open_bag(bag).bounds_ns
    stamps_ns = [chunk.header.stamp.sec * 10**9 + chunk.header.stamp.nanosec for chunk in chunks]
    assert len(stamps_ns) > 3
    assert first_ns <= stamps_ns[0] <= stamps_ns[-1] <= last_ns
    assert all(0 < chunk.prefix_age_ns < 10**9 for chunk in chunks)
