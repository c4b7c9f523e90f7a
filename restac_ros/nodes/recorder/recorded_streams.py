"""The contract's streams while the recorder is active: samples, losses of each episode, rates, validity."""

import math
import time
from collections.abc import Callable, Mapping

from restac_ros.contract.schema import Contract
from restac_ros.framing.frame import StreamStatus
from restac_ros.framing.sample import Sample
from restac_ros.msg import RecorderStatus
from restac_ros.nodes.diagnostics import Status, StreamDiagnostics
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.recorder.recorder_parameters import RecorderParameters
from restac_ros.nodes.subscriptions import Subscriptions
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.holding import START_GRACE_NS, Reasons, invalid_streams
from restac_ros.runtime.live_frames import LiveFrames
from restac_ros.runtime.tally import RateMeter, StreamTally


class RecordedStreams:
    """Subscribes to all streams; `offer` receives each sample.

    Losses are counted per episode, without pauses. `invalid` reports streams that no frame can be made of.
    """

    def __init__(
        self,
        node: ManagedNode[RecorderParameters],
        contract: Contract,
        offer: Callable[[Sample], None],
        complaints: Complaints,
        invalid: Complaints,
    ) -> None:
        self._contract, self._offer, self._invalid = contract, offer, invalid
        self._inputs = Subscriptions(node, contract, self._receive, complaints)
        max_frozen_ns = round(node.parameters.max_frozen_ms * 1e6)
        self.frames = LiveFrames(
            contract, node.now_ns, self._inputs.poll, max_frozen_ns, self._inputs.why_silent
        )
        self._diagnostics = StreamDiagnostics({name: spec.rate_hz for name, spec in contract.streams.items()})
        self._meters = {name: RateMeter() for name in contract.streams}
        self._since_ns = time.monotonic_ns()
        self._lost_before = dict.fromkeys(contract.streams, 0)
        self._lost_at_pause: dict[str, int] = {}
        self._statuses: Mapping[str, StreamStatus] = {}
        self._faults: Reasons = {}
        self._rates_hz: dict[str, float] = {}

    @property
    def tallies(self) -> Mapping[str, StreamTally]:
        """Counts of messages, by stream."""
        return self._inputs.tallies

    def poll(self) -> None:
        """Pass on the samples that have arrived."""
        self._inputs.poll()

    def close(self) -> None:
        """Pass on what has arrived, and unsubscribe."""
        self._inputs.poll()
        self._inputs.destroy()

    def begin_episode(self) -> None:
        """Count losses from here on."""
        self._lost_before = self._lost()

    def pause(self) -> None:
        """Count no losses until `resume`."""
        self._lost_at_pause = self._lost()

    def resume(self) -> None:
        """Count losses again."""
        for name, lost in self._lost().items():
            self._lost_before[name] += lost - self._lost_at_pause[name]

    def check(self) -> None:
        """Measure rates and ages, and check whether frames can be made, before an episode is saved.

        A fault is reported when two checks in a row have found it: on a busy machine single ones come and go.
        """
        self._inputs.check_publishers()
        now_ns = time.monotonic_ns()
        self._statuses = self.frames.frame(list(self._contract.streams)).streams
        for name, meter in self._meters.items():
            rate_hz = meter.rate_hz(self.tallies[name].received, now_ns)
            self._rates_hz[name] = math.nan if rate_hz is None else rate_hz
        if now_ns - self._since_ns >= START_GRACE_NS:
            before, self._faults = self._faults, invalid_streams(self._contract, self._statuses)
            self._invalid.update({name: found for name, found in self._faults.items() if name in before})

    def diagnose(self) -> list[Status]:
        """Return one status per stream, by the last check."""
        ages = {name: status.age_ns for name, status in self._statuses.items()}
        reasons = {name: status.reason for name, status in self._statuses.items()}
        return self._diagnostics.statuses(self.tallies, ages, reasons, time.monotonic_ns())

    def describe(self, message: RecorderStatus) -> None:
        """Fill in losses, rates and ages of the message's streams, by the last check."""
        statuses, tallies = self._statuses, self.tallies
        ages = [statuses[name].age_ns if name in statuses else None for name in message.streams]
        message.lost = [tallies[name].lost - self._lost_before[name] for name in message.streams]
        message.lost_known = [tallies[name].numbered for name in message.streams]
        message.rate_hz = [self._rates_hz.get(name, math.nan) for name in message.streams]
        message.age_ns = [-1 if age_ns is None else max(0, age_ns) for age_ns in ages]

    def _lost(self) -> dict[str, int]:
        return {name: tally.lost for name, tally in self.tallies.items()}

    def _receive(self, sample: Sample) -> None:
        self._offer(sample)
        self.frames.push(sample)
