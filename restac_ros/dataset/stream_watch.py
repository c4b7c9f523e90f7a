"""What every single message of a recording tells about its stream: times, content, encoding. Cheap: a few
hundred microseconds for a camera image, one for a joint state.
"""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rosbags.serde import SerdeError

from restac_ros.contract.schema import CameraStream, Contract, Stream, TactileStream
from restac_ros.dataset.freezes import ContentWatch, Freeze
from restac_ros.framing.decode import decode_image, load_types
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import Sample

COMPRESSED = 'sensor_msgs/msg/CompressedImage'


class ImageLayout(NamedTuple):
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
    layouts: Counter[ImageLayout] = field(default_factory=Counter)
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
            self._check_image(self.spec, sample)

    def freezes(self) -> list[Freeze]:
        """Runs of at least two identical images so far."""
        return self._content.runs()

    def _check_image(self, spec: CameraStream | TactileStream, sample: Sample) -> None:
        try:
            message: Any = load_types().deserialize_cdr(memoryview(sample.cdr), spec.type)
        except SerdeError as error:
            self.refusals[f'not a readable {spec.type}: {error}'] += 1
            return
        layout = _layout(spec, message)
        self.layouts[layout] += 1
        if refusal := self._refusal(spec, layout, message, sample):
            self.refusals[refusal] += 1
        self._content.add(message.data, sample.stamp_ns)

    def _refusal(
        self, spec: CameraStream | TactileStream, layout: ImageLayout, message: Any, sample: Sample
    ) -> str:
        """What the decoder says of a layout; compressed images are decoded where a frame uses them."""
        if spec.type == COMPRESSED:
            return ''
        key = (layout, message.step, len(message.data))
        if key not in self._verdicts:
            self._verdicts[key] = _decoder_says(spec, sample)
        return self._verdicts[key]


def _layout(spec: CameraStream | TactileStream, message: Any) -> ImageLayout:
    if spec.type == COMPRESSED:
        return ImageLayout(message.format, 0, 0)
    return ImageLayout(message.encoding, message.width, message.height)


def _decoder_says(spec: CameraStream | TactileStream, sample: Sample) -> str:
    try:
        decode_image(spec, sample.cdr)
    except DecodeError as error:
        return str(error)
    return ''
