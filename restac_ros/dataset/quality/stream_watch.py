"""Times, content and encoding of a stream's messages: a few hundred microseconds for a camera image."""

from array import array
from collections import Counter
from typing import Any

import numpy as np
from rosbags.serde import SerdeError

from restac_ros.contract.schema import CameraStream, Contract, TactileStream
from restac_ros.dataset.freezes import ContentWatch
from restac_ros.dataset.quality.trace import StreamMessages
from restac_ros.framing.decode import decode_image, load_types
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import Sample

COMPRESSED = 'sensor_msgs/msg/CompressedImage'


class StreamWatch:
    """Follows one stream's samples in the order of arrival; only their times, 16 bytes each, are kept.

    `refusals` are the decoder's reasons by message count; the decoder is asked once per image layout.
    """

    def __init__(self, contract: Contract, name: str) -> None:
        self.refusals: Counter[str] = Counter()
        self._spec = contract.streams[name]
        self._stamps_ns, self._receives_ns = array('q'), array('q')
        self._layouts: Counter[str] = Counter()
        self._verdicts: dict[tuple, str] = {}
        self._content = ContentWatch()

    def add(self, sample: Sample) -> None:
        """Add the next sample."""
        self._stamps_ns.append(sample.stamp_ns)
        self._receives_ns.append(sample.receive_ns)
        if isinstance(self._spec, CameraStream | TactileStream):
            self._add_image(self._spec, sample)

    def messages(self) -> StreamMessages:
        """Return what was added so far."""
        return StreamMessages(
            np.array(self._stamps_ns, np.int64),
            np.array(self._receives_ns, np.int64),
            complete=True,
            layouts=dict(self._layouts),
            refusals=dict(self.refusals),
            freezes=tuple(self._content.runs()),
        )

    def _add_image(self, spec: CameraStream | TactileStream, sample: Sample) -> None:
        try:
            message: Any = load_types().deserialize_cdr(memoryview(sample.cdr), spec.type)
        except SerdeError as error:
            self.refusals[f'not a readable {spec.type}: {error}'] += 1
            return
        self._content.add(message.data, sample.stamp_ns)
        if spec.type == COMPRESSED:  # decoded where a frame uses it
            self._layouts[message.format] += 1
            return
        layout = f'{message.encoding} {message.width}x{message.height}'
        self._layouts[layout] += 1
        key = layout, message.step, len(message.data)
        if key not in self._verdicts:
            self._verdicts[key] = _refusal(spec, sample)
        if refusal := self._verdicts[key]:
            self.refusals[refusal] += 1


def _refusal(spec: CameraStream | TactileStream, sample: Sample) -> str:
    """Return why the decoder refuses an image; '' where it decodes it."""
    try:
        decode_image(spec, sample.cdr)
    except DecodeError as error:
        return str(error)
    return ''
