"""Plain values -> this package's messages."""

from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image

from restac_ros.msg import GateState, RecorderStatus
from restac_ros.nodes.chunk_messages import PolicyOrigin
from restac_ros.nodes.fields import stamp, unsigned
from restac_ros.recording.recorder import RecorderReport

if TYPE_CHECKING:  # the recorder speaks without loading JAX
    from restac_ros.runtime.runtime_products import TouchReading

_RECORDER_STATES = {
    'idle': RecorderStatus.STATE_IDLE,
    'recording': RecorderStatus.STATE_RECORDING,
    'paused': RecorderStatus.STATE_PAUSED,
    'saving': RecorderStatus.STATE_SAVING,
    'error': RecorderStatus.STATE_ERROR,
}


def gate_message(reading: 'TouchReading', frame_id: str, origin: PolicyOrigin) -> GateState:
    """Return what touch said about one tactile frame."""
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
    return message


def residual_message(stamp_ns: int, residual_map: np.ndarray, frame_id: str) -> Image:
    """Return what touch felt beyond the expected, per latent position [h, w]: 32FC1, an L2 norm each."""
    message = Image()
    message.header.stamp = stamp(stamp_ns)
    message.header.frame_id = frame_id
    message.height, message.width = residual_map.shape
    message.encoding, message.step = '32FC1', 4 * message.width
    message.data = array('B', np.ascontiguousarray(residual_map, dtype='<f4').tobytes())
    return message


def recorder_message(
    now: Time, run_id: str, report: RecorderReport, dataset: str, lost: Mapping[str, int]
) -> RecorderStatus:
    """Return the recorder's state; `lost` counts messages that never reached it, by stream."""
    message = RecorderStatus()
    message.header.stamp, message.run_id = now, run_id
    message.state = _RECORDER_STATES[report.state]
    message.message, message.task = report.message, report.task
    message.episode = report.episodes
    message.journal, message.dataset = report.journal, dataset
    message.frames, message.bytes = unsigned(report.rows), unsigned(report.bytes_written)
    message.duration_ns, message.disk_free = unsigned(report.duration_ns), unsigned(report.disk_free)
    message.streams = list(report.received)
    for field, counts in (
        ('received', report.received),
        ('written', report.written),
        ('dropped', report.dropped),
        ('high_water', report.high_water),
    ):
        setattr(message, field, [unsigned(counts[name]) for name in report.received])
    message.lost = [unsigned(lost.get(name, 0)) for name in report.received]
    message.unfinished = [str(path) for path in report.unfinished]
    return message
