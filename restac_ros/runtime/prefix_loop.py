"""Cameras and prompt, encoded again and again, as fast as it finishes."""

from restac_ros.framing.frame import Frame
from restac_ros.policy.errors import PolicyError
from restac_ros.runtime.holding import Reasons, invalid_streams, refused, too_old
from restac_ros.runtime.runtime_products import ReadyPrefix, Workplace
from restac_ros.runtime.worker import Worker

TOUCH_FIRST_S = 0.1  # longest that a prefix waits for a tactile frame under way, whose gate is more urgent


class PrefixLoop:
    """Keeps the latest prefix.

    Attributes:
        latest: the last prefix that came out; None before, and after one that was refused.
        reasons: why the last attempt gave none.
        busy: a prefix is being computed.
    """

    def __init__(self, place: Workplace) -> None:
        self.latest: ReadyPrefix | None = None
        self.reasons: Reasons = {}
        self.busy = False
        self._place = place
        self._prompt: str | None = None
        self.worker = Worker('prefix', self._step, place.outputs.failed)
        place.frames.signal([self._leading_camera()], self.worker.wake)

    def request_prompt(self, prompt: str) -> None:
        """Change the task from the next prefix on."""
        self._prompt = prompt

    def unfit(self, ready: ReadyPrefix, time_ns: int) -> Reasons:
        """Why no chunk can rest on this prefix at `time_ns`; empty when one can."""
        return too_old('prefix', time_ns - ready.prefix.stamp_ns, self._limit_ns(ready))

    def _limit_ns(self, ready: ReadyPrefix) -> int:
        """Oldest age, counted from the images' capture, at which a prefix may be used.

        If not set: its age when it was ready, plus one camera period plus one prefix time. By then the next
        one is ready: its images come within the period, and its computing takes no longer than lately.
        """
        place = self._place
        if place.settings.max_prefix_age_ns is not None:
            return place.settings.max_prefix_age_ns
        streams = place.policy.contract.streams
        camera_period_ns = max(round(1e9 / streams[name].rate_hz) for name in place.policy.camera_streams)
        prefix_time_ns = sum(place.latencies[stage].recent_max_ns for stage in ('frame_cameras', 'prefix'))
        return ready.ready_ns - ready.prefix.stamp_ns + camera_period_ns + prefix_time_ns

    def _leading_camera(self) -> str:
        """The camera whose frames start a prefix: the first required one; the others come when they come."""
        policy = self._place.policy
        required = [name for name in policy.camera_streams if policy.contract.streams[name].required]
        return (required or list(policy.camera_streams))[0]

    def _step(self) -> None:
        self.worker.wait()
        if self.worker.stopping:
            return
        policy = self._place.policy
        if (prompt := self._prompt) is not None:
            self._prompt = None
            policy.set_prompt(prompt)
        in_prompt = policy.config.state_input == 'prompt'
        state_streams = (policy.contract.pose_stream, policy.contract.gripper_stream) if in_prompt else ()
        frame = self._place.timed_frame('frame_cameras', [*policy.camera_streams, *state_streams])
        reasons = invalid_streams(policy.contract, frame.streams, every=policy.uses_touch)
        if not reasons:
            self._place.touch_idle.wait(TOUCH_FIRST_S)
            try:
                self._encode(frame, in_prompt)
            except PolicyError as error:
                self.latest, reasons = None, refused('prefix', error)
        self.reasons = reasons

    def _encode(self, frame: Frame, in_prompt: bool) -> None:
        place = self._place
        stamp_ns = min(frame.streams[name].stamp_ns for name in frame.images)
        self.busy = True
        try:
            with place.latencies.timed('prefix') as timing:
                prefix = place.policy.encode_prefix(
                    frame.images, stamp_ns, frame.state if in_prompt else None
                )
        finally:
            self.busy = False
        self.latest = ReadyPrefix(prefix, place.now_ns())
        place.counts.count_prefix(timing.duration_ns)
