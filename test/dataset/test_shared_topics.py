"""Arm and fingers on one topic: each stream takes the messages that name its joints, and nothing is lost."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.typesys import Stores, get_typestore

from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.journal import Journal
from restac_ros.dataset.quality.quality import assess
from restac_ros.dataset.survey import recorded_samples, survey
from restac_ros.framing.frame import Frame
from restac_ros.framing.framer import frames

STORE = get_typestore(Stores.ROS2_JAZZY)
JOINT_STATE = 'sensor_msgs/msg/JointState'
TOPIC = '/joint_states'
START_NS = 1_760_000_000_000_000_000
END_NS = START_NS + 2 * 10**9


@pytest.fixture
def shared(contract_values: dict) -> Contract:
    """The contract with arm and gripper on one topic."""
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    for name in ('joints', 'gripper'):
        values['streams'][name]['topic'] = TOPIC
    return parse_contract(yaml.safe_dump(values))


def moved(recording: list[BagMessage], topics: set[str]) -> list[BagMessage]:
    """The recording with these topics' messages on the shared one."""
    return [m._replace(topic=TOPIC) if m.topic in topics else m for m in recording]


def framed(path: Path, contract: Contract) -> list[Frame]:
    samples = recorded_samples(open_bag(path), contract, START_NS, END_NS)
    return list(frames(contract, samples, START_NS, END_NS))


def assert_equal(ours: list[Frame], theirs: list[Frame]) -> None:
    assert [frame.usable for frame in ours] == [frame.usable for frame in theirs]
    assert any(frame.usable for frame in ours)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.state, other.state)
        np.testing.assert_array_equal(one.action_prev, other.action_prev)


def test_two_publishers_on_one_topic_give_the_same_frames(
    tmp_path: Path, contract: Contract, shared: Contract, recording: list[BagMessage], write_bag: Callable
) -> None:
    apart = write_bag(tmp_path / 'apart', recording)
    topics = {contract.streams[name].topic for name in ('joints', 'gripper')}
    together = write_bag(tmp_path / 'together', moved(recording, topics))
    assert_equal(framed(together, shared), framed(apart, contract))
    reports = survey(open_bag(together), shared, START_NS, END_NS).streams
    counts = {name: sum(m.topic == contract.streams[name].topic for m in recording) for name in reports}
    assert {name: report.messages for name, report in reports.items()} == counts
    assert (reports['joints'].others, reports['gripper'].others) == (counts['gripper'], counts['joints'])


def test_one_message_with_all_joints_in_any_order_gives_the_same_frames(
    tmp_path: Path, contract: Contract, shared: Contract, recording: list[BagMessage], write_bag: Callable
) -> None:
    """As Isaac Sim publishes: the arm's messages hold the newest finger positions, too."""
    arm, fingers = (contract.streams[name].topic for name in ('joints', 'gripper'))
    rng, nine, apart, held = np.random.default_rng(3), [], [], None
    for message in recording:
        if message.topic == fingers:
            held = STORE.deserialize_cdr(message.cdr, JOINT_STATE)
            continue
        if message.topic != arm or held is None:
            nine += [message] * (message.topic != arm)
            apart += [message] * (message.topic != arm)
            continue
        one = STORE.deserialize_cdr(message.cdr, JOINT_STATE)
        apart.append(message)
        held.header = one.header
        cdr = bytes(STORE.serialize_cdr(held, JOINT_STATE))
        apart.append(BagMessage(fingers, JOINT_STATE, cdr, message.log_time_ns))
        order = rng.permutation(9)
        one.name = [[*one.name, *held.name][i] for i in order]
        one.position = np.concatenate([one.position, held.position])[order]
        cdr = bytes(STORE.serialize_cdr(one, JOINT_STATE))
        nine.append(BagMessage(TOPIC, JOINT_STATE, cdr, message.log_time_ns))
    together, separate = write_bag(tmp_path / 'nine', nine), write_bag(tmp_path / 'apart', apart)
    assert_equal(framed(together, shared), framed(separate, contract))


def test_fingers_that_also_come_on_the_arms_topic_do_no_harm(
    tmp_path: Path, contract: Contract, recording: list[BagMessage], write_bag: Callable
) -> None:
    arm, fingers = (contract.streams[name].topic for name in ('joints', 'gripper'))
    extra = [m._replace(topic=arm) for m in recording if m.topic == fingers]
    mixed = write_bag(tmp_path / 'mixed', sorted([*recording, *extra], key=lambda m: m.log_time_ns))
    assert_equal(framed(mixed, contract), framed(write_bag(tmp_path / 'base', recording), contract))
    assert survey(open_bag(mixed), contract, START_NS, END_NS).streams['joints'].others == len(extra)


def test_counted_messages_of_other_joints_are_never_called_nothing_received(
    tmp_path: Path,
    contract: Contract,
    contract_values: dict,
    recording: list[BagMessage],
    write_bag: Callable,
) -> None:
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['streams']['joints']['joints'] = [f'panda_joint{i}' for i in range(1, 8)]
    other = parse_contract(yaml.safe_dump(values))
    path = write_bag(tmp_path / 'bag', recording)
    with pytest.raises(
        ConversionError, match=r'400 messages on /franka/joint_states, none of stream joints'
    ) as found:
        survey(open_bag(path), other, START_NS, END_NS)
    assert 'no joint panda_joint1, panda_joint2' in str(found.value)
    assert 'the message has fr3_joint1, fr3_joint2' in str(found.value)
    assert 'nothing received' not in str(found.value)
    [finding] = [f for f in assess(path, other).episodes[0].findings if f.kind == 'missing-stream']
    assert 'none of this stream' in finding.text
    assert 'driver' not in finding.remedy


def test_a_journal_holds_a_message_of_two_streams_once(
    tmp_path: Path, shared: Contract, recording: list[BagMessage]
) -> None:
    cdr = next(m.cdr for m in recording if m.type == JOINT_STATE)
    journal = Journal(tmp_path / 'take', shared, start_ns=START_NS, task='push')
    for step in range(5):
        for name in ('joints', 'gripper'):  # as the recorder receives it: once for each stream
            journal.write(name, cdr, START_NS + step)
    assert (journal.counts['joints'], journal.counts['gripper']) == (5, 5)
    assert open_bag(journal.close(START_NS + 10)).topics[TOPIC].count == 5
