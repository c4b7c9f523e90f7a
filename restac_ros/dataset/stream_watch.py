"""What every single message of a recording tells about its stream: times, content, encoding. Cheap: a few
hundred microseconds for a camera image, one for a joint state.
"""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from rosbags.serde import SerdeError

from restac_ros.contract.schema import CameraStream, Contract, Stream, TactileStream
from restac_ros.framing.decode import decode_image, load_types
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import Sample

PROBE_BYTES = 4096  # two different images nearly always differ within these: no need to compare the rest
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


class Freeze(NamedTuple):
    """A run of messages with one content, by capture time in ns; `count` messages."""

    start_ns: int
    end_ns: int
    count: int


class ContentWatch:
    """Finds runs of identical images; keeps one image."""

    def __init__(self) -> None:
        self._finished: list[Freeze] = []
        self._content: np.ndarray | None = None
        self._run: Freeze | None = None

    def add(self, content: np.ndarray, stamp_ns: int) -> None:
        """Compare an image's bytes uint8 [B] with those before."""
        before, self._content = self._content, content
        if before is not None and _same(before, content):
            self._run = self._run._replace(end_ns=max(self._run.end_ns, stamp_ns), count=self._run.count + 1)
            return
        if self._run is not None and self._run.count > 1:
            self._finished.append(self._run)
        self._run = Freeze(stamp_ns, stamp_ns, 1)

    def runs(self) -> list[Freeze]:
        """Runs of at least two, with the one going on."""
        going_on = [self._run] if self._run is not None and self._run.count > 1 else []
        return [*self._finished, *going_on]


class Layout(NamedTuple):
    """How an image stream's messages are laid out."""

    encoding: str
    width: int
    height: int


@dataclass
class StreamWatch:
    """Takes in one stream's samples in the order of arrival.

    `stamps_ns` (capture) and `receives_ns` hold 16 bytes per message, the only thing that grows. `refusals`
    are the decoder's reasons by message count, asked once per image layout.
    """

    name: str
    contract: Contract
    stamps_ns: array = field(default_factory=lambda: array('q'))
    receives_ns: array = field(default_factory=lambda: array('q'))
    zero_stamps: int = 0
    unreadable: int = 0
    first_zero_stamp_ns: int | None = None
    layouts: Counter[Layout] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    _verdicts: dict[tuple, str] = field(default_factory=dict)
    _content: ContentWatch = field(default_factory=ContentWatch)

    @property
    def spec(self) -> Stream:
        """What the contract declares."""
        return self.contract.streams[self.name]

    def add(self, sample: Sample) -> None:
        """Take in a sample."""
        self.stamps_ns.append(sample.stamp_ns)
        self.receives_ns.append(sample.receive_ns)
        if sample.zero_stamp:
            self.zero_stamps += 1
            self.first_zero_stamp_ns = self.first_zero_stamp_ns or sample.receive_ns
        if self.spec.role in ('camera', 'tactile'):
            self._look_at_image(self.spec, sample)

    def freezes(self) -> list[Freeze]:
        """Runs of at least two identical images so far."""
        return self._content.runs()

    def _look_at_image(self, spec: CameraStream | TactileStream, sample: Sample) -> None:
        try:
            message = load_types().deserialize_cdr(memoryview(sample.cdr), spec.type)
        except SerdeError as error:
            self.refusals[f'not a readable {spec.type}: {error}'] += 1
            return
        layout = _layout(spec, message)
        self.layouts[layout] += 1
        if refusal := self._refusal(spec, layout, message, sample):
            self.refusals[refusal] += 1
        self._content.add(message.data, sample.stamp_ns)

    def _refusal(
        self, spec: CameraStream | TactileStream, layout: Layout, message: Any, sample: Sample
    ) -> str:
        """What the decoder says of a layout; compressed images are decoded where a frame uses them."""
        if spec.type == COMPRESSED:
            return ''
        key = (layout, message.step, len(message.data))
        if key not in self._verdicts:
            self._verdicts[key] = _decoder_says(spec, sample)
        return self._verdicts[key]


def _layout(spec: CameraStream | TactileStream, message: Any) -> Layout:
    if spec.type == COMPRESSED:
        return Layout(message.format, 0, 0)
    return Layout(message.encoding, message.width, message.height)


def _decoder_says(spec: CameraStream | TactileStream, sample: Sample) -> str:
    try:
        decode_image(spec, sample.cdr)
    except DecodeError as error:
        return str(error)
    return ''


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Byte for byte; exact, and faster than any hash as different images part early."""
    return (
        one.size == other.size
        and np.array_equal(one[:PROBE_BYTES], other[:PROBE_BYTES])
        and np.array_equal(one, other)
    )
