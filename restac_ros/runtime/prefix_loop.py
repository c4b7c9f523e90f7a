"""Encodes cameras and prompt repeatedly, each time as soon as the last prefix is ready."""

from restac_ros.framing.frame import Frame
from restac_ros.policy.errors import CALL_REFUSED
from restac_ros.runtime.clocks import age_ns
from restac_ros.runtime.holding import Reasons, invalid_streams, refused, too_old
from restac_ros.runtime.runtime_products import LoopContext, ReadyPrefix
from restac_ros.runtime.worker import Worker

TOUCH_FIRST_S = 0.1  # longest that a prefix waits for a tactile frame under way, whose gate is more urgent


class PrefixLoop:
    """Keeps the latest prefix.

    Attributes:
        latest: the newest prefix; None before the first, and after a refused one.
        reasons: why the last attempt failed; empty after a success.
        busy: a prefix is being computed.
    """

    def __init__(self, context: LoopContext) -> None:
        self.latest: ReadyPrefix | None = None
        self.reasons: Reasons = {}
        self.busy = False
        self._context = context
        self.worker = Worker('prefix', self._step, context.outputs.failed, context.waiting)
        context.frames.signal([self._leading_camera()], self.worker.wake)

    def unfit(self, ready: ReadyPrefix, time_ns: int) -> Reasons:
        """Return why no chunk can rest on this prefix at `time_ns`; empty when one can."""
        age, limit = age_ns(ready.prefix.stamp_ns, time_ns), self._context.settings.max_prefix_age_ns
        return too_old('prefix', age, self._usual_age_ns(ready), limit)

    def _usual_age_ns(self, ready: ReadyPrefix) -> int:
        """Return the oldest age, counted from the images' capture, at which the next prefix should be ready.

        Its age when it was ready, plus one camera period plus one prefix time: the next one's images come
        within the period, and computing it lasts no longer than the recent ones did.
        """
        context = self._context
        streams = context.policy.contract.streams
        camera_period_ns = max(round(1e9 / streams[name].rate_hz) for name in context.policy.camera_streams)
        prefix_time_ns = sum(context.latencies[stage].recent_max_ns for stage in ('frame_cameras', 'prefix'))
        return age_ns(ready.prefix.stamp_ns, ready.ready_ns) + camera_period_ns + prefix_time_ns

    def _leading_camera(self) -> str:
        """Return the camera whose frames start a prefix: the first required one."""
        policy = self._context.policy
        required = [name for name in policy.camera_streams if policy.contract.streams[name].required]
        return (required or list(policy.camera_streams))[0]

    def _step(self) -> None:
        self.worker.wait()
        if self.worker.stopping:
            return
        policy = self._context.policy
        in_prompt = policy.config.state_input == 'prompt'
        state_streams = policy.contract.state_streams if in_prompt else ()
        frame = self._context.timed_frame('frame_cameras', [*policy.camera_streams, *state_streams])
        reasons = invalid_streams(policy.contract, frame.streams, every=policy.uses_touch)
        if not reasons:
            self._context.touch_idle.wait(TOUCH_FIRST_S)
            try:
                self._encode(frame, in_prompt)
            except CALL_REFUSED as error:
                self.latest, reasons = None, refused('prefix', error)
        self.reasons = reasons

    def _encode(self, frame: Frame, in_prompt: bool) -> None:
        context = self._context
        stamp_ns = min(frame.streams[name].times_ns()[0] for name in frame.images)
        self.busy = True
        try:
            with context.latencies.timed('prefix') as timing:
                prefix = context.policy.encode_prefix(
                    frame.images, stamp_ns, frame.state if in_prompt else None
                )
        finally:
            self.busy = False
        self.latest = ReadyPrefix(prefix, context.clocks.now_ns())
        context.counts.count_prefix(timing.duration_ns)
