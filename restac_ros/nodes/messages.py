"""Conversion of values to this package's messages."""

import math
from array import array
from typing import TYPE_CHECKING, get_args

import numpy as np
from sensor_msgs.msg import Image

from restac_ros.msg import GateState, RecorderStatus, Subtask
from restac_ros.nodes.chunk_messages import PolicyOrigin
from restac_ros.nodes.fields import stamp, unsigned
from restac_ros.recording.recorder import RecorderReport, State

if TYPE_CHECKING:  # the recorder must not load JAX
    from restac_ros.runtime.runtime_products import AppliedSubtask, TouchReading

RECORDER_STATES: dict[State, int] = {
    state: getattr(RecorderStatus, f'STATE_{state.upper()}') for state in get_args(State)
}


def gate_message(reading: 'TouchReading', frame_id: str, origin: PolicyOrigin) -> GateState:
    """Return the result of one tactile frame."""
    touch, message = reading.touch, GateState()
    message.header.stamp = stamp(touch.stamp_ns)
    message.header.frame_id = frame_id
    message.run = origin.message(reading.prompt, reading.prompt_revision)
    message.gate = touch.gate
    message.logvar = touch.logvar
    message.logvar_standardised = touch.logvar_standardised
    message.code_index = touch.code_index
    message.residual_norm = touch.residual_norm
    message.tactile_age_ns = unsigned(reading.known_ns - touch.stamp_ns)
    message.inference_ns = unsigned(reading.inference_ns)
    message.saturated = touch.saturated
    message.replan_threshold, message.replan_release = origin.replan_threshold, origin.replan_release
    return message


def subtask_message(applied: 'AppliedSubtask', origin: PolicyOrigin) -> Subtask:
    """Return what chunks follow from now on."""
    message = Subtask()
    message.header.stamp = stamp(applied.stamp_ns)
    message.run = origin.message(applied.text, applied.revision)
    message.task, message.source = applied.task, applied.source
    message.mean_log_probability, message.ended = applied.mean_log_probability, applied.ended
    return message


def residual_message(stamp_ns: int, residual_map: np.ndarray, frame_id: str) -> Image:
    """Return the tactile residual per latent position [h, w] as 32FC1, an L2 norm each."""
    message = Image()
    message.header.stamp = stamp(stamp_ns)
    message.header.frame_id = frame_id
    message.height, message.width = residual_map.shape
    message.encoding, message.step = '32FC1', 4 * message.width
    message.data = array('B', np.ascontiguousarray(residual_map, dtype='<f4').tobytes())
    return message


def recorder_message(report: RecorderReport, dataset: str) -> RecorderStatus:
    """Return the recorder's report; losses, rates and ages of streams stay unknown."""
    message = RecorderStatus()
    message.state = RECORDER_STATES[report.state]
    message.message, message.task, message.subtask = report.message, report.task, report.subtask
    message.episode = report.episodes
    message.journal, message.dataset = report.journal, dataset
    message.frames, message.bytes = unsigned(report.rows), unsigned(report.bytes_written)
    message.duration_ns, message.disk_free = unsigned(report.duration_ns), unsigned(report.disk_free)
    message.lost_frames = report.lost_frames
    message.streams = list(report.received)
    for field in ('received', 'written', 'dropped', 'high_water'):
        counts = getattr(report, field)
        setattr(message, field, [unsigned(counts[name]) for name in report.received])
    message.lost = [0] * len(report.received)
    message.lost_known = [False] * len(report.received)
    message.rate_hz = [math.nan] * len(report.received)
    message.age_ns = [-1] * len(report.received)
    message.unfinished = [str(path) for path in report.unfinished]
    return message
