"""Every field of every product can be sent, with stamps ahead of the clock, equal to it and far behind."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('rclpy')

from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message, serialize_message
from restac_ros.msg import ActionChunk, GateState, RecorderStatus

from restac_ros.control.chunk import ChunkError, ChunkReport, ReplanTrigger, build_chunk
from restac_ros.control.chunk_reading import CHUNKINGS, chunk_of, stamp_as_ns
from restac_ros.framing.encode import tool_pose
from restac_ros.framing.stamp import with_stamp
from restac_ros.geometry.pose import Pose
from restac_ros.nodes.chunk_messages import PolicyOrigin, chunk_message
from restac_ros.nodes.fields import LAST_NS, LAST_UNSIGNED, pose_message, stamp, unsigned
from restac_ros.nodes.messages import gate_message, recorder_message, residual_message
from restac_ros.recording.recorder import RecorderReport
from restac_ros.runtime.runtime_products import TouchReading

NOW_NS = 1_760_000_000 * 10**9
ORIGIN = PolicyOrigin('abcd1234', '0123456789ab')
# Stamps that a driver may give, and what clocks that were set may make of differences.
stamps = st.one_of(
    st.integers(-20_000_000, 20_000_000).map(lambda skew: NOW_NS + skew),
    st.sampled_from([NOW_NS, 1, LAST_NS]),
    st.integers(1, LAST_NS),
)
differences = st.integers(-(2**63), 2**64 + 1)
floats = st.floats(width=32, allow_nan=True, allow_infinity=True)


def sent(message: object) -> object:
    """The message as a subscriber gets it."""
    return deserialize_message(serialize_message(message), type(message))


def fields(**changes: object) -> dict:
    sound = {
        'chunk_id': 3,
        'stamp_ns': NOW_NS,
        'frame_id': 'fr3_link0',
        'anchor_position_m': (0.5, 0.0, 0.3),
        'anchor_quaternion_xyzw': (1.0, 0.0, 0.0, 0.0),
        'anchor_state': (0.5, 0.0, 0.3, np.pi, 0.0, 0.0),
        'anchor_opening_m': 0.04,
        'convention': 'rpy',
        'composition': 'elementwise',
        'step_ns': 66_666_666,
        'horizon': 4,
        'delta_pose': np.linspace(-0.01, 0.01, 24),
        'opening_m': (0.04, 0.03, 0.02, 0.01),
        'valid_until_ns': NOW_NS + 500_000_000,
    }
    return sound | changes


@settings(max_examples=200, deadline=None)
@given(stamp_ns=stamps, ages=st.tuples(differences, differences, differences), gate=floats)
def test_a_chunk_of_any_stamps_and_ages_can_be_sent(
    stamp_ns: int, ages: tuple[int, int, int], gate: float
) -> None:
    chunk = build_chunk(
        **fields(
            stamp_ns=stamp_ns,
            valid_until_ns=stamp_ns + 500_000_000,
            camera_age_ns=ages[0],
            tactile_age_ns=ages[1],
            report=ChunkReport(gate=gate, inference_ns=ages[2]),
        )
    )
    message = sent(chunk_message(chunk, ORIGIN))
    assert (message.run.run_id, message.run.checkpoint) == ORIGIN[:2]
    assert message.prefix_age_ns == min(max(ages[0], 0), LAST_UNSIGNED)


@settings(max_examples=200, deadline=None)
@given(
    times=st.tuples(stamps, stamps, stamps),
    inference_ns=differences,
    values=st.tuples(floats, floats, floats),
)
def test_a_gate_of_any_stamps_can_be_sent(
    times: tuple[int, int, int], inference_ns: int, values: tuple[float, float, float]
) -> None:
    touch = SimpleNamespace(
        stamp_ns=times[0],
        gate=values[0],
        logvar=values[1],
        logvar_standardised=values[2],
        code_index=-1,
        residual_norm=float('nan'),
        saturated=False,
    )
    reading = TouchReading(touch, 'push', 2, times[1], times[2], inference_ns)
    message: GateState = sent(gate_message(reading, 'gelsight_left', ORIGIN))
    assert message.tactile_age_ns == max(0, times[2] - times[0])
    assert (message.run.prompt, message.run.prompt_revision) == ('push', 2)


@given(stamp_ns=stamps)
def test_a_residual_map_of_any_stamp_can_be_sent(stamp_ns: int) -> None:
    message = sent(residual_message(stamp_ns, np.arange(6.0).reshape(2, 3), 'gelsight_left'))
    assert np.frombuffer(message.data, '<f4').tolist() == [0, 1, 2, 3, 4, 5]


@settings(max_examples=200, deadline=None)
@given(counts=st.lists(differences, min_size=8, max_size=8))
def test_a_recorder_status_of_any_counts_can_be_sent(counts: list[int]) -> None:
    rows, size, duration, free, *of_stream = counts
    report = SimpleNamespace(
        state='recording',
        message='',
        task='push',
        subtask='reach',
        episodes=1,
        journal='j',
        rows=rows,
        bytes_written=size,
        duration_ns=duration,
        disk_free=free,
        lost_frames=0,
        received={'main': of_stream[0]},
        written={'main': of_stream[1]},
        dropped={'main': of_stream[2]},
        high_water={'main': of_stream[3]},
        unfinished=[Path('a')],
    )
    assert set(vars(report)) <= set(RecorderReport.__annotations__)
    message: RecorderStatus = sent(recorder_message(report, 'd'))
    assert message.duration_ns == unsigned(duration)
    assert message.received.tolist() == [unsigned(of_stream[0])]


@given(time_ns=st.integers(-(2**70), 2**70))
def test_a_stamp_becomes_the_nearest_that_a_message_can_hold(time_ns: int) -> None:
    assert stamp_as_ns(stamp(time_ns)) == min(max(time_ns, 0), LAST_NS)


@pytest.mark.parametrize('chunking', ['receding_horizon', 'rtc_guided', 'rtc_trained'])
def test_a_chunk_comes_back_from_its_message_as_it_was(chunking: str) -> None:
    delay = None if chunking == 'receding_horizon' else 3
    report = ChunkReport(ReplanTrigger.GATE, 0.75, 12_345, chunking, delay, 'insert the plug', 4)
    chunk = build_chunk(**fields(camera_age_ns=5, tactile_age_ns=6, report=report))
    back = chunk_of(sent(chunk_message(chunk, ORIGIN)))
    assert back.report == report
    for name in ('chunk_id', 'stamp_ns', 'frame_id', 'rule', 'step_ns', 'valid_until_ns', 'anchor_opening_m'):
        assert getattr(back, name) == getattr(chunk, name), name
    for name in ('anchor_state', 'delta_pose', 'opening_m', 'positions_m', 'quaternions'):
        np.testing.assert_array_equal(getattr(back, name), getattr(chunk, name), err_msg=name)
    assert (back.camera_age_ns, back.tactile_age_ns) == (5, 6)


def test_the_numbers_that_control_reads_are_the_messages() -> None:
    assert {f'CHUNKING_{name.upper()}': number for number, name in enumerate(CHUNKINGS)} == {
        name: getattr(ActionChunk, name) for name in dir(ActionChunk) if name.startswith('CHUNKING_')
    }
    assert {f'TRIGGER_{trigger.name}': trigger.value for trigger in ReplanTrigger} == {
        name: getattr(ActionChunk, name) for name in dir(ActionChunk) if name.startswith('TRIGGER_')
    }


@pytest.mark.parametrize(('field', 'value'), [('chunking', 9), ('trigger', 7)])
def test_a_message_with_an_unknown_enumeration_value_is_refused(field: str, value: int) -> None:
    message: ActionChunk = chunk_message(build_chunk(**fields()), ORIGIN)
    setattr(message, field, value)
    with pytest.raises(ChunkError, match=f'{field} is {value}, expected one of'):
        chunk_of(message)


@pytest.mark.parametrize('frame_id', ['', 'b', 'fr3_link0', 'a frame with 25 characters'])
@given(numbers=st.lists(st.floats(allow_nan=False), min_size=7, max_size=7), stamp_ns=st.integers(0, LAST_NS))
@settings(max_examples=30, deadline=None)
def test_a_set_point_serialised_without_ros_is_the_message_that_ros_reads(
    frame_id: str, numbers: list[float], stamp_ns: int
) -> None:
    """Not compared byte by byte: ROS leaves the bytes that align the numbers as it finds them."""
    pose = Pose(np.array(numbers[:3]), np.array(numbers[3:]))
    expected = pose_message(pose, stamp_ns, frame_id)
    cdr = with_stamp(tool_pose(frame_id, pose), stamp_ns)
    assert deserialize_message(cdr, PoseStamped) == expected
    assert len(cdr) == len(serialize_message(expected))
