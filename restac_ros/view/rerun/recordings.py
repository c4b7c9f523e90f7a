"""Logs recordings as a live run is logged, into a Rerun file (.rrd)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import rerun as rr

from restac_ros.contract.schema import Contract
from restac_ros.framing.decode import decode_image, decode_joints
from restac_ros.framing.sample import belongs
from restac_ros.framing.values import decode_value
from restac_ros.view.playback import (
    RecordingReader,
    check_shown,
    count_messages,
    merged_messages,
    tactile_stream,
)
from restac_ros.view.render import open_run
from restac_ros.view.rerun.layout import APPLICATION, blueprint
from restac_ros.view.rerun.sink import RerunSink
from restac_ros.view.scene import SceneOptions

DRAW_PERIOD_NS = 100_000_000  # of the shapes in space


class StreamFeed:
    """Passes images, joints and openings of the contract's streams to a sink, about once a period each."""

    def __init__(self, contract: Contract, sink: RerunSink, period_ns: int) -> None:
        self._contract, self._sink, self._period_ns = contract, sink, period_ns
        self._due_ns: dict[str, int] = {}
        self.streams = [
            name
            for name, spec in contract.streams.items()
            if spec.role in ('camera', 'arm_joints', 'gripper')
        ]

    @property
    def topics(self) -> set[str]:
        """Topics of these streams."""
        return {self._contract.streams[name].topic for name in self.streams}

    def add(self, stream: str, cdr: bytes | memoryview, steady_ns: int) -> None:
        """Pass a message on, unless one of its stream was passed on just before.

        Raises:
            DecodeError: it contradicts the contract.
        """
        spec = self._contract.streams[stream]
        if steady_ns < self._due_ns.get(stream, steady_ns) or not belongs(spec, cdr):
            return
        self._due_ns[stream] = steady_ns + self._period_ns * 3 // 4  # messages do not come to the nanosecond
        match spec.role:
            case 'camera':
                self._sink.add_image(stream, decode_image(spec, cdr), steady_ns)
            case 'arm_joints':
                self._sink.add_joints(decode_joints(spec, cdr), steady_ns)
            case 'gripper':
                self._sink.add_opening(float(decode_value(self._contract, stream, cdr)))


def new_recording(name: str, contract: Contract, is_dataset: bool = False) -> rr.RecordingStream:
    """Return an empty recording with the blueprint, not yet connected to a sink."""
    recording = rr.RecordingStream(APPLICATION, recording_id=name)
    cameras, has_touch = list(contract.by_role('camera')), bool(contract.by_role('tactile'))
    recording.send_blueprint(blueprint(cameras, has_touch, is_dataset))
    return recording


def log_recordings(
    paths: Sequence[Path],
    to: Path,
    contract: Contract | None = None,
    on_message: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the recordings of one run to the file `to`; return the number of messages that are shown in it.

    `paths` is a bag that holds everything, or a journal and the session log of its run. Images are logged at
    about the contract's rate.

    Raises:
        BagError: a recording cannot be read.
        ViewError: nothing in them can be shown, they are of different runs, or there is no contract.
        DecodeError: a message contradicts the contract.
    """
    bags, contract, start_ns = open_run(paths, contract)
    recording = new_recording(f'{paths[0].name} {start_ns}', contract)
    recording.save(to)
    sink = RerunSink(recording, contract, tactile_stream(contract), SceneOptions())
    reader = RecordingReader(contract, sink)
    feed = StreamFeed(contract, sink, 10**9 // contract.fps)
    check_shown(bags, reader.topics)
    topics = reader.topics | feed.topics
    total = count_messages(bags, topics)
    due_ns = start_ns
    for message in merged_messages(bags, topics):
        reader.add(message)
        for stream in feed.streams:
            if contract.streams[stream].topic == message.topic:
                feed.add(stream, message.cdr, message.log_time_ns)
        if message.log_time_ns >= due_ns:
            sink.draw(message.log_time_ns)
            due_ns = message.log_time_ns + DRAW_PERIOD_NS
        on_message(reader.added, total)
    reader.flush()
    recording.flush()
    recording.disconnect()
    return reader.added
