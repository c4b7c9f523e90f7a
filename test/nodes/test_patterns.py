"""Test patterns: what the synthetic source publishes is what the framing reads, for every kind of stream."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from restac_ros.contract.load import load_contract, parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.quality.contact import MIN_LEVEL, ContactMeter, contact_phases
from restac_ros.framing.framer import frames
from restac_ros.framing.sample import make_sample
from restac_ros.framing.values import decode_value
from restac_ros.nodes.source.patterns import (
    GEL_LOOP_S,
    camera_image,
    messages,
    pattern,
    patterns_of,
    tactile_image,
)

START_NS = 1_760_000_000 * 10**9


@pytest.fixture
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


def test_streams_come_at_their_rates_with_true_stamps(contract: Contract) -> None:
    sent = list(messages(contract, patterns_of(contract), 2.0, START_NS))
    assert [message.due_ns for message in sent] == sorted(message.due_ns for message in sent)
    counts = Counter(message.topic for message in sent)
    assert counts == {spec.topic: 2 * spec.rate_hz for spec in contract.streams.values()}
    names = {spec.topic: name for name, spec in contract.streams.items()}
    for message in sent[::97]:
        sample = make_sample(contract, names[message.topic], message.cdr, START_NS + message.due_ns)
        assert sample.stamp_ns == START_NS + message.due_ns


def test_the_framing_makes_usable_frames_of_it(contract: Contract) -> None:
    names = {spec.topic: name for name, spec in contract.streams.items()}
    samples = (
        make_sample(contract, names[m.topic], m.cdr, START_NS + m.due_ns)
        for m in messages(contract, patterns_of(contract), 1.0, START_NS)
    )
    made = list(frames(contract, samples, START_NS, START_NS + 10**9))
    assert made[0].reasons  # nothing has come yet
    assert all(frame.usable for frame in made[4:])
    states = np.array([frame.state for frame in made[4:]])
    limits = contract.limits.workspace_m
    assert (states[:, :3] > limits.min).all()
    assert (states[:, :3] < limits.max).all()
    assert np.ptp(states, axis=0).min() > 1e-4  # everything moves


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3', 'passthrough'])
def test_an_encoding_changes_bytes_not_colours(repository: Path, encoding: str) -> None:
    text = (repository / 'config' / 'contract.yaml').read_text()
    order = '\n    channel_order: bgr' if encoding in ('8UC3', 'passthrough') else ''
    changed = parse_contract(text.replace('encoding: rgb8', f'encoding: {encoding}{order}'))
    reference = parse_contract(text)
    for moment in (0.0, 0.7):
        got = decode_value(changed, 'main', pattern(changed, 'main')(moment))
        want = decode_value(reference, 'main', pattern(reference, 'main')(moment))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(('kind', 'tolerance'), [('png', 0), ('jpeg', 60)])
def test_compressed_images_are_readable(repository: Path, kind: str, tolerance: int) -> None:
    text = (repository / 'config' / 'contract.yaml').read_text()
    compressed = text.replace('encoding: bgr8', f'encoding: {kind}', 1)
    place = compressed.index('gelsight_left:\n')
    compressed = compressed[:place] + compressed[place:].replace('msg/Image', 'msg/CompressedImage', 1)
    changed, reference = parse_contract(compressed), parse_contract(text)
    got = decode_value(changed, 'gelsight_left', pattern(changed, 'gelsight_left')(0.3)).astype(int)
    want = decode_value(reference, 'gelsight_left', pattern(reference, 'gelsight_left')(0.3)).astype(int)
    assert np.abs(got - want).max() <= tolerance


def test_poses_can_stand_for_joints(repository: Path) -> None:
    text = (repository / 'config' / 'contract.yaml').read_text()
    begin, end = text.index('  joints:\n    topic'), text.index('  gripper:\n    topic')
    pose = """  tool:
    topic: /tool
    type: geometry_msgs/msg/PoseStamped
    role: tool_pose
    rate_hz: 100
    max_age_ms: 50

"""
    contract = parse_contract(text[:begin] + pose + text[end:])
    first, second = (decode_value(contract, 'tool', pattern(contract, 'tool')(t)) for t in (0.0, 0.5))
    assert first[2, 2] == pytest.approx(-1)  # pointing down
    assert np.linalg.norm(first[:3, 3] - second[:3, 3]) > 0.01


def test_images_move() -> None:
    assert (camera_image(0.0, 40) != camera_image(0.1, 40)).any()


def test_the_gel_begins_free_is_pressed_later_and_has_a_sensors_noise() -> None:
    meter = ContactMeter()
    times_s = np.arange(0, 2 * GEL_LOOP_S, 0.1)
    levels = np.array([meter.level(tactile_image(time_s)) or 0.0 for time_s in times_s])
    phases = contact_phases('gel', times_s, levels, meter.threshold)
    assert [phase.start_s for phase in phases] == pytest.approx([2.2, 6.2], abs=0.11)
    assert [phase.end_s for phase in phases] == pytest.approx([3.1, 7.1], abs=0.11)
    assert 0 < meter.noise < MIN_LEVEL


def test_no_two_images_of_the_gel_in_a_row_are_identical(contract: Contract) -> None:
    draw = pattern(contract, 'gelsight_left')
    period_s = 1 / contract.streams['gelsight_left'].rate_hz
    images = [decode_value(contract, 'gelsight_left', draw((i + 0.5) * period_s)) for i in range(60)]
    assert all((a != b).any() for a, b in pairwise(images))
