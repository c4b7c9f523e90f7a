"""Records episodes from the robot's streams: a journal while recording, a LeRobot episode on save."""

import time
from collections.abc import Callable, Mapping

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.timer import Timer
from std_msgs.msg import String
from std_srvs.srv import Trigger

from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import DatasetError, JournalError
from restac_ros.framing.frame import StreamStatus
from restac_ros.framing.sample import Sample
from restac_ros.msg import RecorderStatus
from restac_ros.nodes.diagnostics import Status, StreamDiagnostics
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.messages import recorder_message
from restac_ros.nodes.recorder.recorder_parameters import RecorderParameters
from restac_ros.nodes.recorder.trigger_inputs import TriggerInputs
from restac_ros.nodes.running import run_node
from restac_ros.nodes.subscriptions import Subscriptions
from restac_ros.recording.guards import GuardError
from restac_ros.recording.recorder import REQUESTS, Recorder, RecorderError
from restac_ros.recording.saving import Voice
from restac_ros.recording.triggers import Action
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.holding import START_GRACE_NS, invalid_streams
from restac_ros.runtime.live_frames import LiveFrames
from restac_ros.runtime.summary_file import streams_summary

LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
POLL_PERIOD_S = 0.25
STATUS_EVERY = 4  # polls


class RecorderNode(ManagedNode):
    """Services (std_srvs/Trigger): ~/start, ~/save, ~/discard, ~/pause, ~/resume, ~/recover.

    Pedals and joystick buttons do the same. The next episode's task text comes by parameter or on ~/task
    (String); how things stand is on ~/status.
    """

    model = RecorderParameters
    refusals = (DatasetError, JournalError, RecorderError, GuardError)

    def __init__(self) -> None:
        super().__init__('recorder_node')
        logger = self.get_logger()
        self._complaints = Complaints(logger.warning, logger.info)
        self._invalid = Complaints(lambda text: logger.warning(f'no good recording: {text}'), logger.info)
        self._status = self.create_publisher(RecorderStatus, '~/status', LATCHED)
        self.create_subscription(String, '~/task', self._on_task, 10)
        for name in REQUESTS:
            self._serve(name, getattr(self, f'_{name}'))
        self._contract: Contract | None = None
        self._recorder: Recorder | None = None
        self._streams: Subscriptions | None = None
        self._triggers: TriggerInputs | None = None
        self._frames: LiveFrames | None = None
        self._statuses: Mapping[str, StreamStatus] = {}
        self._active_since_ns = 0
        self._stream_diagnostics: StreamDiagnostics | None = None
        self._timer: Timer | None = None
        self._polls = 0
        self._task = ''
        self._lost_before: dict[str, int] = {}
        self._lost_at_pause: dict[str, int] = {}

    def configure(self) -> None:
        parameters = self.parameters
        self._contract, self._task = self.load_contract(), parameters.task
        logger = self.get_logger()
        voice = Voice(
            inform=lambda text: logger.info(text),
            warn=lambda text: logger.warning(text),
            fail=self.report_problem,
        )
        self._recorder = Recorder(self._contract, parameters.settings(), self.now_ns, voice)
        self._timer = self.create_timer(POLL_PERIOD_S, self._poll, clock=self.steady_clock)

    def activate(self) -> None:
        self._complaints.forget()
        self._invalid.forget()
        streams = self._contract.streams
        self._stream_diagnostics = StreamDiagnostics({name: spec.rate_hz for name, spec in streams.items()})
        self._frames = LiveFrames(self._contract, self.now_ns, self._take_polled)
        self._streams = Subscriptions(self, self._contract, self._on_sample, self._complaints)
        debounce_ns = round(self.parameters.debounce_ms * 1e6)
        self._triggers = TriggerInputs(
            self, self.parameters.triggers, debounce_ns, self._on_trigger, self._complaints
        )
        self._active_since_ns = time.monotonic_ns()
        self._lost_before = dict.fromkeys(streams, 0)
        if self.parameters.autostart_recording:
            self.get_logger().info(self._start())

    def deactivate(self) -> None:
        if self._triggers:
            self._triggers.destroy()
            self._triggers = None
        if self._streams:
            self._streams.take_polled()
            self._streams.destroy()
        if self._recorder and self._recorder.is_recording:
            self.get_logger().info(self._recorder.save(convert=self.parameters.save_on_shutdown))
        self._publish_status()

    def cleanup(self) -> None:
        if self._timer:
            self.destroy_timer(self._timer)
            self._timer = None
        if self._recorder:
            self._recorder.give_up()
            self._recorder = None

    def finish(self) -> None:
        """Wait until the last episode is in the data set, unless asked a second time to stop."""
        recorder = self._recorder
        if recorder and recorder.busy:
            self.get_logger().info('finishing the last episode; a second Ctrl-C keeps its journal only')
        while recorder and recorder.busy and self.stop_requests < 2:
            recorder.poll()
            self._publish_status()
            time.sleep(0.1)
        if recorder:
            recorder.give_up()
            self._publish_status()

    def summarise(self) -> dict[str, object]:
        if self._recorder is None:
            return {}
        report = self._recorder.report()
        return {
            'streams': streams_summary(self._streams.tallies) if self._streams else {},
            'dataset': str(self.parameters.dataset or ''),
            'journal': report.journal,
            'episodes': [converted.episode for converted in self._recorder.saved if not converted.failure],
            'failures': [converted.failure for converted in self._recorder.saved if converted.failure],
            'frames': sum(converted.rows for converted in self._recorder.saved),
            'bytes': report.bytes_written,
            'received': dict(report.received),
            'written': dict(report.written),
            'dropped': dict(report.dropped),
            'high_water': dict(report.high_water),
        }

    def diagnose(self) -> list[Status]:
        if self._recorder is None:
            return []
        report = self._recorder.report()
        values = {
            'task': report.task,
            'journal': report.journal,
            'dropped': str(sum(report.dropped.values())),
            'disk_free_gb': f'{report.disk_free / 1e9:.1f}',
        }
        level = 'error' if report.state == 'error' else 'warn' if sum(report.dropped.values()) else 'ok'
        statuses = [Status('recording', level, report.message or report.state, values)]
        if self._streams and self.phase == 'active':
            ages = {name: status.age_ns for name, status in self._statuses.items()}
            reasons = {name: status.reason for name, status in self._statuses.items()}
            statuses += self._stream_diagnostics.statuses(
                self._streams.tallies, ages, reasons, time.monotonic_ns()
            )
        return statuses

    def parameters_changed(self) -> None:
        self._task = self.parameters.task

    def _on_task(self, message: String) -> None:
        self._task = message.data

    def _start(self) -> str:
        text = self._recorder.start(self._task)
        self.problem = ''
        self._lost_before = {name: tally.lost for name, tally in self._streams.tallies.items()}
        return text

    def _save(self) -> str:
        self._streams.take_polled()
        return self._recorder.save()

    def _discard(self) -> str:
        return self._recorder.discard()

    def _pause(self) -> str:
        self._streams.take_polled()
        text = self._recorder.pause()
        self._lost_at_pause = {name: tally.lost for name, tally in self._streams.tallies.items()}
        return text

    def _resume(self) -> str:
        self._streams.take_polled()
        text = self._recorder.resume()
        for name, tally in self._streams.tallies.items():
            self._lost_before[name] += tally.lost - self._lost_at_pause[name]
        return text

    def _recover(self) -> str:
        text = self._recorder.recover()
        self.problem = ''
        return text

    def _toggle(self) -> str:
        return self._save() if self._recorder.is_recording else self._start()

    def _pause_resume(self) -> str:
        return self._resume() if self._recorder.is_paused else self._pause()

    def _serve(self, name: str, action: Callable[[], str]) -> None:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = self._do(action)
            return response

        self.create_service(Trigger, f'~/{name}', answer)

    def _on_trigger(self, action: Action, source: str) -> None:
        self.get_logger().info(f'{source} pressed: {action}')
        self._do(getattr(self, f'_{action}'))

    def _do(self, action: Callable[[], str]) -> tuple[bool, str]:
        """Do what was asked for: whether that went well, and what was done or why not."""
        try:
            if self.phase != 'active':
                raise RecorderError(f'the recorder is {self.phase}: activate it first')
            text, done = action(), True
            self.get_logger().info(text)
        except self.refusals as error:
            text, done = str(error), False
            self.get_logger().error(text)
        self._publish_status()
        return done, text

    def _poll(self) -> None:
        before = self._recorder.report().state
        self._recorder.poll()
        self._polls += 1
        if self._polls % STATUS_EVERY == 0 or self._recorder.report().state != before:
            self._publish_status()
        if self._polls % STATUS_EVERY == 0 and self.phase == 'active':
            self._streams.check_publishers()
            self._check_streams()

    def _check_streams(self) -> None:
        """See whether frames could be made of what comes: better now than when the episode is saved."""
        self._statuses = self._frames.frame(list(self._contract.streams)).streams
        if time.monotonic_ns() - self._active_since_ns >= START_GRACE_NS:
            self._invalid.update(invalid_streams(self._contract, self._statuses))

    def _on_sample(self, sample: Sample) -> None:
        self._recorder.offer(sample)
        self._frames.push(sample)

    def _take_polled(self) -> None:
        self._streams.take_polled()

    def _publish_status(self) -> None:
        if self._recorder is None:
            return
        tallies = self._streams.tallies if self._streams else {}
        lost = {name: tally.lost - self._lost_before.get(name, 0) for name, tally in tallies.items()}
        dataset = str(self.parameters.dataset or '')
        stamp = self.get_clock().now().to_msg()
        self._status.publish(recorder_message(stamp, self._recorder.report(), dataset, lost))


def main() -> None:
    """Entry point."""
    run_node(RecorderNode)


if __name__ == '__main__':
    main()
