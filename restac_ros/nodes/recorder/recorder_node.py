"""Records episodes from the robot's streams: a journal while recording, a LeRobot episode on save."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from std_msgs.msg import String
from std_srvs.srv import Trigger

from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import DatasetError, JournalError
from restac_ros.msg import RecorderStatus, Subtask
from restac_ros.nodes.awaited_node import AwaitedNode
from restac_ros.nodes.diagnostics import Status, StatusLevel
from restac_ros.nodes.fields import LATCHED_QOS
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.messages import recorder_message
from restac_ros.nodes.recorder.recorded_streams import RecordedStreams
from restac_ros.nodes.recorder.recorder_parameters import RecorderParameters
from restac_ros.nodes.recorder.reference_inputs import ReferenceInputs
from restac_ros.nodes.recorder.trigger_inputs import TriggerInputs
from restac_ros.nodes.running import run_node
from restac_ros.recording.recorder import REQUESTS, Recorder, RecorderError
from restac_ros.recording.recording import RecordingClocks
from restac_ros.recording.saving import Announcer
from restac_ros.recording.triggers import TriggerAction
from restac_ros.runtime.complaints import Complaints
from restac_ros.runtime.summary_file import streams_summary
from restac_ros.runtime.tally import StreamTally
from restac_ros.view.contact_sheet import contact_sheet

_POLL_PERIOD_S = 0.25
STATUS_EVERY = 4  # polls
PROGRESS_PERIOD_S = 3.0  # between log lines while the last episode is finished
NO_CLOCK = (
    'use_sim_time is set and nothing has been received on /clock: start the simulator or the replay that '
    'publishes it, or unset use_sim_time'
)


@dataclass(frozen=True)
class _Configured:
    """State from configure to clean-up."""

    contract: Contract
    recorder: Recorder
    timer: Timer


@dataclass
class _Active:
    """State while the node is active."""

    streams: RecordedStreams
    triggers: TriggerInputs
    references: ReferenceInputs
    start_due: bool


class RecorderNode(ManagedNode[RecorderParameters]):
    """Services (std_srvs/Trigger): those of REQUESTS, such as ~/start and ~/save, and ~/thumbnails.

    Pedals and joystick buttons do the same. The next episode's task text comes by parameter or on ~/task
    (String), the part of it that begins now on ~/subtask, or from a policy's planner; the recorder's state is
    published on ~/status.
    """

    model = RecorderParameters
    unique = True
    refusals = (DatasetError, JournalError, RecorderError)

    def __init__(self) -> None:
        super().__init__('recorder_node')
        logger = self.get_logger()
        self._complaints = Complaints(logger.warning, logger.info, time.monotonic_ns)
        self._invalid = Complaints(
            lambda text: logger.warning(f'no good recording: {text}'), logger.info, time.monotonic_ns
        )
        self._status = self.create_publisher(RecorderStatus, '~/status', LATCHED_QOS)
        self.create_subscription(String, '~/task', self._on_task, 10)
        self.create_subscription(String, '~/subtask', self._on_subtask, 10)
        for name in (*REQUESTS, 'thumbnails'):
            self._serve(name, getattr(self, f'_{name}'))
        self._configured: _Configured | None = None
        self._applied: Subscription | None = None
        self._active: _Active | None = None
        self._tallies: Mapping[str, StreamTally] = {}  # of the last activation
        self._polls = 0
        self._task = ''

    def begin(self) -> None:
        """Activate the node, if asked only once another node, such as the policy, is active."""
        if self.parameters.start_after:
            AwaitedNode(self, self.steady_clock, self.parameters.start_after, self.trigger_activate)
        else:
            self.trigger_activate()

    def configure(self) -> None:
        parameters, logger = self.parameters, self.get_logger()
        contract, self._task = self.load_contract(), parameters.task
        announce = Announcer(
            inform=lambda text: logger.info(text),
            warn=lambda text: logger.warning(text),
            fail=self.report_problem,
        )
        clocks = RecordingClocks(self.now_ns, time.monotonic_ns, time.time_ns)
        recorder = Recorder(contract, parameters.settings(), clocks, announce)
        timer = self.create_timer(_POLL_PERIOD_S, self._poll, clock=self.steady_clock)
        self._configured = _Configured(contract, recorder, timer)
        if (topic := parameters.policy_subtask_topic) and self._applied is None:  # one for all configurations
            self._applied = self.create_subscription(Subtask, topic, self._on_applied, LATCHED_QOS)

    def activate(self) -> None:
        contract, parameters = self._ready.contract, self.parameters
        self._complaints.forget()
        self._invalid.forget()
        offer = self._ready.recorder.offer
        streams = RecordedStreams(self, contract, offer, self._complaints, self._invalid)
        self._tallies = streams.tallies
        debounce_ns = round(parameters.debounce_ms * 1e6)
        triggers = TriggerInputs(self, parameters.triggers, debounce_ns, self._on_trigger, self._complaints)
        references = ReferenceInputs(self, contract, self._ready.recorder.note_reference, self._complaints)
        self._active = _Active(streams, triggers, references, start_due=parameters.autostart_recording)
        if not self.now_ns():
            self.get_logger().warning(f'waiting for the first message on /clock: {NO_CLOCK}')
        elif self._active.start_due:
            self.get_logger().info(self._start())

    def deactivate(self) -> None:
        if active := self._active:
            active.triggers.destroy()
            active.references.destroy()
            active.streams.close()
            self._active = None
        if self._configured and self._configured.recorder.is_recording:
            self.get_logger().info(self._configured.recorder.save(convert=self.parameters.save_on_shutdown))
        self._publish_status()

    def cleanup(self) -> None:
        configured, self._configured = self._configured, None
        if configured:
            self.destroy_timer(configured.timer)
            configured.recorder.give_up('the recorder was cleaned up while it was under way')

    def finish(self) -> None:
        """Wait until the last episode is in the data set, unless asked a second time to stop."""
        if self._configured is None:
            return
        recorder = self._configured.recorder
        if recorder.busy:
            self.get_logger().info('finishing the last episode; Ctrl-C now keeps its journal only')
        logged, logged_s = '', time.monotonic()
        while recorder.busy and self.stop_requests < 2:
            self._poll_recorder(recorder)
            self._publish_status()
            progress = recorder.report().message
            if time.monotonic() - logged_s > PROGRESS_PERIOD_S and progress not in ('', logged):
                self.get_logger().info(progress)
                logged, logged_s = progress, time.monotonic()
            time.sleep(0.1)
        recorder.give_up('the recorder was asked twice to stop')
        self._publish_status()

    def summarise(self) -> dict[str, object]:
        if self._configured is None:
            return {}
        recorder = self._configured.recorder
        report = recorder.report()
        return {
            'streams': streams_summary(self._tallies),
            'dataset': str(self.parameters.dataset or ''),
            'journal': report.journal,
            'episodes': [converted.episode for converted in recorder.saved if not converted.failure],
            'failures': [converted.failure for converted in recorder.saved if converted.failure],
            'frames': sum(converted.rows for converted in recorder.saved),
            'bytes': report.bytes_written,
            'received': dict(report.received),
            'written': dict(report.written),
            'dropped': dict(report.dropped),
            'high_water': dict(report.high_water),
        }

    def diagnose(self) -> list[Status]:
        if self._configured is None:
            return []
        report = self._configured.recorder.report()
        values = {
            'task': report.task,
            'journal': report.journal,
            'dropped': str(sum(report.dropped.values())),
            'lost_frames': str(report.lost_frames),
            'disk_free_gb': f'{report.disk_free / 1e9:.1f}',
        }
        flawed = sum(report.dropped.values()) or report.lost_frames
        level: StatusLevel = 'error' if report.state == 'error' else 'warn' if flawed else 'ok'
        statuses = [Status('recording', level, report.message or report.state, values)]
        if active := self._active:
            statuses += active.streams.diagnose()
        return statuses

    def parameters_changed(self) -> None:
        self._task = self.parameters.task

    @property
    def _ready(self) -> _Configured:
        if self._configured is None:
            raise RecorderError(f'the recorder is {self.phase}: configure it first')
        return self._configured

    @property
    def _running(self) -> _Active:
        if self._active is None:
            raise RecorderError(f'the recorder is {self.phase}: activate it first')
        return self._active

    def _on_task(self, message: String) -> None:
        self._task = message.data

    def _on_subtask(self, message: String) -> None:
        self._do(lambda: self._ready.recorder.begin_subtask(message.data))

    def _on_applied(self, message: Subtask) -> None:
        if self._active:
            self._do(lambda: self._ready.recorder.follow(message.run.prompt))
        elif self._configured:  # the first episode's
            self._configured.recorder.follow(message.run.prompt)

    def _start(self) -> str:
        active = self._running
        if not self.now_ns():
            raise RecorderError(NO_CLOCK)
        if self._applied is not None and not self.count_publishers(self._applied.topic_name):
            self._ready.recorder.stop_following()
        text = self._ready.recorder.start(self._task)
        self.problem, active.start_due = '', False
        active.streams.begin_episode()
        return text

    def _save(self) -> str:
        return self._ready.recorder.save()

    def _discard(self) -> str:
        return self._ready.recorder.discard()

    def _pause(self) -> str:
        active, text = self._running, self._ready.recorder.pause()
        active.streams.pause()
        return text

    def _resume(self) -> str:
        active, text = self._running, self._ready.recorder.resume()
        active.streams.resume()
        return text

    def _next_subtask(self) -> str:
        return self._ready.recorder.next_subtask()

    def _recover(self) -> str:
        text = self._ready.recorder.recover()
        self.problem = ''
        return text

    def _toggle(self) -> str:
        return self._save() if self._ready.recorder.is_recording else self._start()

    def _pause_resume(self) -> str:
        return self._resume() if self._ready.recorder.is_paused else self._pause()

    def _thumbnails(self) -> str:
        """Draw the newest image of every camera and tactile sensor."""
        contract = self._ready.contract
        names = [*contract.by_role('camera'), *contract.by_role('tactile')]
        frame = self._running.streams.frames.frame(names)
        path: Path = self.parameters.settings().journal_dir / 'thumbnails.png'
        sheet = contact_sheet(
            {**frame.images, **frame.tactile}, {name: frame.streams[name] for name in names}
        )
        encoded = cv2.imencode('.png', sheet[..., ::-1])[1]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded.tobytes())
        except OSError as error:
            raise RecorderError(f'{path} cannot be written: {error.strerror}') from error
        return f'thumbnails: {path}'

    def _serve(self, name: str, action: Callable[[], str]) -> None:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = self._do(action)
            return response

        self.create_service(Trigger, f'~/{name}', answer)

    def _on_trigger(self, action: TriggerAction, source: str) -> None:
        self.get_logger().info(f'{source} pressed: {action}')
        self._do(getattr(self, f'_{action}'))

    def _do(self, action: Callable[[], str]) -> tuple[bool, str]:
        """Perform an action on what has arrived by now; return whether it succeeded, and a sentence."""
        try:
            self._running.streams.poll()
            text, done = action(), True
            self.get_logger().info(text)
        except self.refusals as error:
            text, done = str(error), False
            self.get_logger().error(text)
        self._publish_status()
        return done, text

    def _poll(self) -> None:
        """Process ended jobs, publish the state, check the streams once a second."""
        recorder, active = self._ready.recorder, self._active
        before = recorder.state
        self._poll_recorder(recorder)
        self._polls += 1
        is_due = self._polls % STATUS_EVERY == 0
        if active:
            if active.start_due and self.now_ns():
                active.start_due = False
                self._do(self._start)
            if is_due:
                active.streams.check()
        if is_due or recorder.state != before:
            self._publish_status()

    def _poll_recorder(self, recorder: Recorder) -> None:
        """Poll the recorder; report a fault of the disk once and continue, as it may end."""
        try:
            recorder.poll()
        except (*self.refusals, OSError) as error:
            self._complaints.set('recorder', type(error).__name__, str(error))
        else:
            self._complaints.clear('recorder')

    def _publish_status(self) -> None:
        if self._configured is None:
            return
        active, report = self._active, self._configured.recorder.report()
        message = recorder_message(report, str(self.parameters.dataset or ''))
        message.run_id = self.run_id
        message.header.stamp = self.get_clock().now().to_msg()
        if active:
            active.streams.describe(message)
        self._status.publish(message)


def main() -> None:
    """Entry point."""
    run_node(RecorderNode)
