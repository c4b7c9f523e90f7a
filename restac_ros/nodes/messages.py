"""Plain values -> this package's messages."""

import math
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time as TimeMessage
from rclpy.time import Time
from sensor_msgs.msg import Image

from restac_ros.contract.schema import Contract
from restac_ros.geometry.rotation import quaternion_from_rotation
from restac_ros.msg import ActionChunk, GateState, RecorderStatus
from restac_ros.recording.recorder import RecorderReport

if TYPE_CHECKING:  # the recorder speaks without loading JAX
    from restac_ros.policy.products import Touch
    from restac_ros.runtime.runtime_products import PlannedChunk, TouchReading

_RECORDER_STATES = {
    'idle': RecorderStatus.STATE_IDLE,
    'recording': RecorderStatus.STATE_RECORDING,
    'paused': RecorderStatus.STATE_PAUSED,
    'saving': RecorderStatus.STATE_SAVING,
    'error': RecorderStatus.STATE_ERROR,
}
_CHUNKINGS = {
    'receding_horizon': ActionChunk.CHUNKING_RECEDING_HORIZON,
    'rtc_guided': ActionChunk.CHUNKING_RTC_GUIDED,
    'rtc_trained': ActionChunk.CHUNKING_RTC_TRAINED,
}


def chunk_message(contract: Contract, planned: 'PlannedChunk') -> ActionChunk:
    """A planned chunk, anchored at the state it was planned from."""
    chunk, message = planned.chunk, ActionChunk()
    state = np.asarray(chunk.state, dtype=np.float64)
    message.header.stamp = Time(nanoseconds=planned.stamp_ns).to_msg()
    message.header.frame_id = contract.robot.base_frame
    message.chunk_id = planned.chunk_id
    message.trigger = int(planned.trigger)
    position, orientation = message.anchor_pose.position, message.anchor_pose.orientation
    position.x, position.y, position.z = state[:3].tolist()
    xyzw = quaternion_from_rotation(contract.rotation.convention, state[3:6])
    orientation.x, orientation.y, orientation.z, orientation.w = xyzw.tolist()
    message.anchor_state = state[:6]
    message.anchor_gripper = float(state[6])
    message.rotation_convention = contract.rotation.convention
    message.delta_composition = contract.action.delta
    message.step_ns = contract.period_ns
    message.horizon = chunk.horizon
    message.delta_pose = np.asarray(chunk.delta_pose, dtype=np.float64).reshape(-1).tolist()
    message.gripper = np.asarray(chunk.gripper_opening_m, dtype=np.float64).tolist()
    message.valid_until = Time(nanoseconds=planned.valid_until_ns).to_msg()
    message.gate = math.nan if chunk.gate is None else chunk.gate
    message.prefix_age_ns = planned.prefix_age_ns
    message.tactile_age_ns = planned.tactile_age_ns or 0
    message.inference_ns = planned.inference_ns
    message.chunking = _CHUNKINGS[chunk.chunking]
    message.continues = chunk.continued_delay_steps is not None
    message.continued_delay_steps = chunk.continued_delay_steps or 0
    return message


def gate_message(reading: 'TouchReading', frame_id: str) -> GateState:
    """What touch said about one tactile frame."""
    touch, message = reading.touch, GateState()
    message.header.stamp = Time(nanoseconds=touch.stamp_ns).to_msg()
    message.header.frame_id = frame_id
    message.gate = touch.gate
    message.logvar = touch.logvar
    message.logvar_standardised = touch.logvar_standardised
    message.code_index = touch.code_index
    message.residual_norm = touch.residual_norm
    message.tactile_age_ns = max(0, reading.known_ns - touch.stamp_ns)
    message.inference_ns = reading.inference_ns
    message.saturated = touch.saturated
    return message


def residual_message(touch: 'Touch', frame_id: str) -> Image:
    """What touch felt beyond the expected, per latent position: 32FC1, an L2 norm each."""
    message, values = Image(), touch.residual_map
    message.header.stamp = Time(nanoseconds=touch.stamp_ns).to_msg()
    message.header.frame_id = frame_id
    message.height, message.width = values.shape
    message.encoding, message.step = '32FC1', 4 * message.width
    message.data = array('B', np.ascontiguousarray(values, dtype='<f4').tobytes())
    return message


def recorder_message(
    stamp: TimeMessage, report: RecorderReport, dataset: str, lost: Mapping[str, int]
) -> RecorderStatus:
    """How the recorder stands; `lost` counts messages that never reached it, by stream."""
    message = RecorderStatus()
    message.header.stamp = stamp
    message.state = _RECORDER_STATES[report.state]
    message.message, message.task = report.message, report.task
    message.episode = report.episodes
    message.journal, message.dataset = report.journal, dataset
    message.frames, message.bytes = report.rows, report.bytes_written
    message.duration_ns, message.disk_free = report.duration_ns, report.disk_free
    message.streams = list(report.received)
    message.received = list(report.received.values())
    message.written = [report.written[name] for name in report.received]
    message.dropped = [report.dropped[name] for name in report.received]
    message.lost = [lost.get(name, 0) for name in report.received]
    message.high_water = [report.high_water[name] for name in report.received]
    message.unfinished = [str(path) for path in report.unfinished]
    return message
