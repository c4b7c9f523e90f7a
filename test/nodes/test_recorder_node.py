"""recorder_node as a process: episodes by service calls, and what Ctrl-C and kill -9 leave behind."""

import json
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from builtin_interfaces.msg import Time

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile
from restac_ros.msg import RecorderStatus, RunIdentity, Subtask
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.recovery import find_unfinished

SMALL_DISK_BYTES = 2 * 2**20
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Recorder:
    """A recorder, its services and its status."""

    def __init__(self, robot, node, wait_until, journals: Path) -> None:
        self.robot, self.node, self.wait_until, self.journals = robot, node, wait_until, journals
        self.statuses = robot.listen('/recorder_node/status', RecorderStatus, LATCHED)

    def request(self, name: str) -> Trigger.Response:
        return self.robot.call(f'/recorder_node/{name}', Trigger)

    def status(self, condition: Callable[[RecorderStatus], bool], what: str) -> RecorderStatus:
        """Wait for a status, and return it: the next one may be another already."""

        def fitting() -> list[RecorderStatus]:
            return [status for status in self.statuses[-1:] if condition(status)]

        [status] = self.wait_until(
            fitting, lambda: f'{what}; the last was {self.statuses[-1:]}; it said:\n{self.node.log}'
        )
        return status

    def has_written(self, count: int = 40) -> RecorderStatus:
        """Wait until some messages of every stream are in the journal."""
        return self.status(
            lambda status: len(status.written) and min(status.written) >= count, 'messages written'
        )


@pytest.fixture
def make_recorder(robot, start_node, wait_until, tmp_path: Path) -> Callable[..., Recorder]:
    def make(*arguments: str, **parameters: object) -> Recorder:
        journals = tmp_path / 'journals'
        given = {
            'dataset': tmp_path / 'dataset',
            'journal_dir': journals,
            'task': 'push',
            'on_gap': 'longest_run',
        }
        node = start_node('recorder_node', *arguments, **{**given, **parameters})
        return Recorder(robot, node, wait_until, journals)

    return make


def episodes_in(dataset: Path) -> tuple[int, int]:
    """Episodes and frames that a data set claims; (0, 0) when there is none."""
    info = dataset / 'meta' / 'info.json'
    if not info.is_file():
        return 0, 0
    content = json.loads(info.read_text())
    return content['total_episodes'], content['total_frames']


def test_episodes_are_recorded_saved_and_discarded_by_services(make_recorder, robot, tmp_path: Path) -> None:
    recorder = make_recorder()
    robot.publish_streams()
    refused = recorder.request('save')
    assert not refused.success
    assert 'nothing is being recorded' in refused.message

    assert recorder.request('start').success
    assert not recorder.request('start').success
    recorder.has_written(5)
    thrown = recorder.request('discard')
    assert thrown.success, thrown.message
    assert len(list((recorder.journals / 'trash').iterdir())) == 1

    task = robot.node.create_publisher(String, '/recorder_node/task', 10)
    recorder.wait_until(lambda: task.get_subscription_count() > 0, 'the task is listened to')
    task.publish(String(data='pull the lever'))
    recorder.status(lambda status: status.state == RecorderStatus.STATE_IDLE, 'idle')
    recorder.wait_until(lambda: recorder.request('start').success, 'a start')
    recording = recorder.has_written()
    assert recording.state == RecorderStatus.STATE_RECORDING
    assert list(recording.streams) == list(robot.contract.streams)
    assert list(recording.dropped) == [0] * 6
    assert recorder.request('save').success
    saved = recorder.status(lambda status: status.frames > 0, 'an episode')
    assert saved.state == RecorderStatus.STATE_IDLE
    assert saved.task == 'pull the lever'
    assert (saved.episode, saved.frames) == episodes_in(tmp_path / 'dataset')
    bag = open_bag(saved.journal)
    counts = {name: bag.topics[spec.topic].count for name, spec in robot.contract.streams.items()}
    assert counts == dict(zip(saved.streams, saved.written, strict=True))
    assert recorder.node.end() == 0
    assert recorder.node.summary['episodes'] == [0]


def test_ctrl_c_saves_an_episode_to_which_another_robot_cannot_add(
    make_recorder, robot, repository: Path, tmp_path: Path
) -> None:
    recorder = make_recorder(autostart_recording=True, save_on_shutdown=True)
    robot.publish_streams()
    recorder.has_written()
    assert recorder.node.end() == 0, recorder.node.log
    summary = recorder.node.summary
    assert episodes_in(tmp_path / 'dataset') == (1, summary['frames'])
    assert summary['frames'] > 10
    assert summary['failures'] == []

    other = tmp_path / 'contract.yaml'
    other.write_text((repository / 'config' / 'contract.yaml').read_text().replace('fps: 15', 'fps: 10'))
    refused = make_recorder(contract=other)
    refused.node.wait_for(r'cannot configure: .*fps')
    assert refused.node.alive
    assert refused.node.end() == 1


def test_a_console_that_does_not_read_delays_no_recording(make_recorder, robot, blocked_console: int) -> None:
    """Every request logs a line."""
    recorder = make_recorder(console=blocked_console)
    robot.publish_streams()
    for _ in range(3):
        assert recorder.request('start').success
        recorder.has_written(5)
        assert recorder.request('discard').success
    assert recorder.node.end() == 0


def test_ctrl_c_without_save_keeps_the_bag_and_says_how_to_convert_it(
    make_recorder, robot, tmp_path: Path
) -> None:
    recorder = make_recorder(autostart_recording=True)
    robot.publish_streams()
    recorder.has_written(10)
    assert recorder.node.end(signal.SIGTERM) == 0
    [journal] = recorder.journals.iterdir()
    assert sum(topic.count for topic in open_bag(journal).topics.values()) > 60
    assert f'restac-ros convert {journal} --to {tmp_path / "dataset"}' in recorder.node.log
    assert not (tmp_path / 'dataset').exists()


def test_a_second_ctrl_c_gives_up_the_episode_but_not_the_bag(make_recorder, robot, tmp_path: Path) -> None:
    recorder = make_recorder(autostart_recording=True, save_on_shutdown=True)
    robot.publish_streams()
    recorder.has_written()
    recorder.node.process.send_signal(signal.SIGINT)
    recorder.node.wait_for('finishing the last episode')
    recorder.wait_until(lambda: list(recorder.journals.glob('*.jsonl')), 'the conversion has begun')
    recorder.node.process.send_signal(signal.SIGINT)
    status = recorder.node.wait()
    episodes, frames = episodes_in(tmp_path / 'dataset')
    [journal] = [path for path in recorder.journals.iterdir() if path.is_dir()]
    assert open_bag(journal).topics
    if episodes:  # it was quicker than the second Ctrl-C
        assert frames == recorder.node.summary['frames'] > 0
    else:
        assert status == 1
        assert 'is not converted, as the recorder was asked twice to stop; to do it' in recorder.node.log


def test_kill_leaves_a_journal_that_is_named_and_can_be_recovered(make_recorder, robot) -> None:
    recorder = make_recorder(autostart_recording=True)
    robot.publish_streams()
    written = recorder.has_written()
    assert recorder.node.end(signal.SIGKILL) == -signal.SIGKILL
    [unfinished] = find_unfinished(recorder.journals)
    again = make_recorder()
    again.node.wait_for(rf'left unfinished: {unfinished.name}.* restac-ros recover {recorder.journals}')
    listed = again.status(lambda status: len(status.unfinished) > 0, 'the unfinished')
    assert listed.unfinished == [str(unfinished)]
    assert again.request('recover').success
    recovered = again.status(lambda status: status.frames > 0, 'an episode of it')
    assert recovered.unfinished == []
    assert find_unfinished(recorder.journals) == []
    assert not again.request('recover').success
    # A journal is flushed twice a second, so most of what the last status told is there.
    bag = open_bag(unfinished.with_suffix(''))
    assert sum(topic.count for topic in bag.topics.values()) >= min(written.written) * 6 // 2


def test_a_pause_leaves_nothing_in_the_journal_and_is_noted(make_recorder, robot, tmp_path: Path) -> None:
    recorder = make_recorder(dataset='')
    robot.publish_streams()
    assert 'nothing is being recorded' in recorder.request('pause').message
    assert recorder.request('start').success
    recorder.has_written(5)
    assert not recorder.request('resume').success
    assert recorder.request('pause').success
    assert not recorder.request('pause').success
    paused = recorder.status(lambda status: status.state == RecorderStatus.STATE_PAUSED, 'paused')
    later = recorder.status(
        lambda status: status.header.stamp.sec > paused.header.stamp.sec + 1, 'a later status'
    )
    assert (later.received, later.duration_ns) == (paused.received, paused.duration_ns)
    assert recorder.request('resume').success
    recorder.status(lambda status: status.received[-1] > later.received[-1] + 5, 'more')
    assert recorder.request('save').success
    saved = recorder.status(lambda status: status.state == RecorderStatus.STATE_IDLE, 'idle')
    assert list(saved.lost) == [0] * 6
    assert list(saved.lost_known) == [True] * 6
    assert all(count > 0 for count in saved.high_water)
    bag = open_bag(saved.journal)
    (begin, pause), (resume, end) = read_notes(bag).segments
    times = [message.log_time_ns for message in bag.messages()]
    assert len(times) == sum(saved.written)
    assert not [time for time in times if pause <= time < resume]
    assert saved.duration_ns == pytest.approx(pause - begin + end - resume, abs=5e8)


@pytest.fixture(params=['a full disk', 'a limit on files'])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, int | None]]:
    """A folder with room for `SMALL_DISK_BYTES`, or one where the recorder's files shall get no larger."""
    folder = tmp_path / 'small'
    folder.mkdir()
    if request.param == 'a limit on files':
        yield folder, SMALL_DISK_BYTES
        return
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={SMALL_DISK_BYTES}', 'tmpfs', str(folder)]
    if shutil.which('mount') is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('a small disk cannot be mounted here: that needs root')
    yield folder, None
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


def test_a_disk_that_refuses_is_an_error_and_keeps_what_was_written(
    make_recorder, robot, small_disk: tuple[Path, int | None]
) -> None:
    folder, limit_bytes = small_disk
    recorder = make_recorder(dataset='', journal_dir=folder, min_free_gb=0.0)
    robot.publish_streams()
    recorder.status(lambda status: status.state == RecorderStatus.STATE_IDLE, 'idle')
    if limit_bytes:
        resource.prlimit(recorder.node.process.pid, resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    assert recorder.request('start').success
    failed = recorder.status(lambda status: status.state == RecorderStatus.STATE_ERROR, 'an error')
    reason = 'File too large' if limit_bytes else 'No space left on device'
    partial = Path(f'{failed.journal}.partial')
    assert reason in failed.message
    assert f'What was written is kept in {partial}' in failed.message
    assert failed.unfinished == [str(partial)]
    assert 'nothing is being recorded' in recorder.request('save').message
    kept = sum(topic.count for topic in open_bag(partial).topics.values())
    assert kept > 0.5 * sum(failed.written)
    if limit_bytes:
        assert recorder.node.end() == 1
        assert reason in recorder.node.summary['problem']
        return
    subprocess.run(['mount', '-o', 'remount,size=64m', str(folder)], check=True)  # room is made
    assert recorder.request('recover').success
    recorder.status(
        lambda status: status.state == RecorderStatus.STATE_IDLE and not status.unfinished, 'all recovered'
    )
    bag = open_bag(failed.journal)
    assert bag.notes == []
    assert sum(topic.count for topic in bag.topics.values()) == kept
    assert recorder.node.end() == 0


def test_a_pedal_and_joystick_buttons_make_episodes(make_recorder, robot, tmp_path: Path) -> None:
    joystick_triggers = '"/joy[1] pause_resume", "/joy[2] discard", "/joy[3] next_subtask", "/joy[30] save"'
    triggers = f'["/pedal toggle", {joystick_triggers}]'
    file = tmp_path / 'triggers.yaml'
    subtasks = 'subtasks: ["reach", "insert"]'
    file.write_text(
        f'/**:\n  ros__parameters:\n    triggers: {triggers}\n    debounce_ms: 0.0\n    {subtasks}\n'
    )
    recorder = make_recorder('--params-file', str(file), dataset='')
    pedal = robot.node.create_publisher(Bool, '/pedal', 10)
    joystick = robot.node.create_publisher(Joy, '/joy', 10)
    for publisher in (pedal, joystick):
        recorder.wait_until(lambda p=publisher: p.get_subscription_count() > 0, 'the trigger is listened to')

    def press(publisher, pressed, released, state: int) -> None:
        publisher.publish(pressed)
        recorder.status(lambda status: status.state == state, f'state {state}')
        publisher.publish(released)

    joy = {
        name: Joy(buttons=[int(index == button) for index in range(4)])
        for name, button in (('none', -1), ('pause', 1), ('discard', 2), ('next', 3))
    }
    press(pedal, Bool(data=True), Bool(data=False), RecorderStatus.STATE_RECORDING)
    press(joystick, joy['pause'], joy['none'], RecorderStatus.STATE_PAUSED)
    press(joystick, joy['pause'], joy['none'], RecorderStatus.STATE_RECORDING)
    press(joystick, joy['discard'], joy['none'], RecorderStatus.STATE_IDLE)
    assert len(list((recorder.journals / 'trash').iterdir())) == 1
    press(pedal, Bool(data=True), Bool(data=False), RecorderStatus.STATE_RECORDING)
    recorder.status(lambda status: status.subtask == 'reach', 'the first subtask')
    press(joystick, joy['next'], joy['none'], RecorderStatus.STATE_RECORDING)
    recorder.status(lambda status: status.subtask == 'insert', 'the second subtask')
    refused = recorder.request('next_subtask')
    assert "'insert' is the last of 2 subtasks" in refused.message
    subtask = robot.node.create_publisher(String, '/recorder_node/subtask', 10)
    recorder.wait_until(lambda: subtask.get_subscription_count() > 0, 'the subtask is listened to')
    subtask.publish(String(data='wipe'))
    recorder.status(lambda status: status.subtask == 'wipe', 'a subtask by its text')
    policy = robot.node.create_publisher(Subtask, '/policy_node/subtask', LATCHED)
    policy.publish(Subtask(run=RunIdentity(prompt='polish')))
    recorder.status(lambda status: status.subtask == 'polish', 'what a policy acts by')
    press(pedal, Bool(data=True), Bool(data=False), RecorderStatus.STATE_IDLE)
    recorder.node.wait_for(r'trigger /joy\[30\] can never be pressed: the joystick has 4 buttons')
    recorder.node.wait_for(r'/pedal pressed: toggle', times=3)
    [journal] = [path for path in recorder.journals.iterdir() if path.name != 'trash']
    assert journal.suffix != '.partial'
    assert [text for _, text in read_notes(open_bag(journal)).subtasks] == [
        'reach',
        'insert',
        'wipe',
        'polish',
    ]

    def begins() -> str:
        begun = recorder.request('start').message
        assert recorder.request('discard').success
        return begun

    assert begins().endswith('(polish)')
    robot.node.destroy_publisher(policy)
    recorder.wait_until(lambda: begins().endswith('(reach)'), 'the policy is gone: the first of the list')
    joystick.publish(joy['discard'])  # a refusal is told, and nothing else happens
    recorder.node.wait_for('nothing is being recorded')
    assert recorder.node.end() == 0


def test_what_would_spoil_an_episode_is_told_while_recording(
    make_recorder, robot, patient_contract_file: Path
) -> None:
    recorder = make_recorder(autostart_recording=True, contract=patient_contract_file)
    robot.silent.add('gripper')
    robot.encodings['main'] = 'mono8'
    robot.publish_streams()
    recorder.node.wait_for(r"no good recording: main .* encoding 'mono8'; the contract expects 'rgb8'")
    recorder.node.wait_for(r'no good recording: gripper .* missing: nothing received')
    robot.silent.clear()
    robot.encodings.clear()
    recorder.node.wait_for('main: right again')
    recorder.node.wait_for('gripper: right again')
    assert recorder.node.log.count('no good recording') <= 2


def test_rates_and_ages_of_all_streams_are_published_while_idle(make_recorder, robot) -> None:
    recorder = make_recorder()
    robot.silent.add('gripper')
    robot.publish_streams()
    status = recorder.status(
        lambda status: sum(rate_hz > 1 for rate_hz in status.rate_hz) == len(status.streams) - 1,
        'rates of all streams but one',
    )
    of_stream = dict(zip(status.streams, zip(status.rate_hz, status.age_ns, strict=True), strict=True))
    assert status.state == RecorderStatus.STATE_IDLE
    assert of_stream.pop('gripper') == (0.0, -1)
    assert all(0 <= age_ns < 10 * 10**9 for _, age_ns in of_stream.values())
    assert sum(status.received) == 0


def test_the_newest_images_are_drawn_on_request(make_recorder, robot) -> None:
    recorder = make_recorder()
    robot.silent.add('side')
    robot.publish_streams()
    recorder.status(lambda status: sum(rate_hz > 1 for rate_hz in status.rate_hz) > 3, 'rates')
    answer = recorder.request('thumbnails')
    path = recorder.journals / 'thumbnails.png'
    assert (answer.success, answer.message) == (True, f'thumbnails: {path}')
    assert cv2.imread(str(path)).shape[1] > 4 * 224


def test_a_frozen_camera_is_said_while_nothing_is_recorded(make_recorder, robot) -> None:
    recorder = make_recorder(max_frozen_ms=500.0)
    robot.frozen.add('main')
    robot.publish_streams()
    recorder.node.wait_for(r'no good recording: main .* frozen: the same image for .*start the driver anew')
    robot.frozen.clear()
    recorder.node.wait_for('main: right again')


def test_with_simulated_time_a_recording_begins_at_the_first_clock(make_recorder, robot) -> None:
    recorder = make_recorder(use_sim_time=True, autostart_recording=True)
    recorder.node.wait_for(r'waiting for the first message on /clock: use_sim_time is set')
    answer = recorder.request('start')
    assert not answer.success
    assert 'nothing has been received on /clock' in answer.message
    assert not recorder.journals.exists()
    clock = robot.node.create_publisher(Clock, '/clock', 10)
    now = iter(range(1_000_000))
    robot.node.create_timer(
        0.05, lambda: clock.publish(Clock(clock=Time(sec=1000, nanosec=next(now) * 1000)))
    )
    recorder.status(lambda status: status.state == RecorderStatus.STATE_RECORDING, 'recording')
    assert recorder.node.end() == 0
    [journal] = recorder.journals.iterdir()
    assert 1000 * 10**9 <= read_notes(open_bag(journal)).start_ns < 1001 * 10**9


def test_a_clean_up_during_a_conversion_says_why_there_is_no_episode(make_recorder, robot) -> None:
    recorder = make_recorder(autostart_recording=True)
    robot.publish_streams()
    recorder.has_written(20)
    assert recorder.request('save').success
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        change = ChangeState.Request(transition=Transition(id=transition))
        assert robot.call('/recorder_node/change_state', ChangeState, change).success
    recorder.node.wait_for(
        r'not converted, as the recorder was cleaned up while it was under way; to do it: restac-ros'
    )


def test_a_lifecycle_shutdown_keeps_the_bag_and_ends_the_process(make_recorder, robot) -> None:
    recorder = make_recorder(autostart_recording=True)
    robot.publish_streams()
    recorder.has_written(5)
    shutdown = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVE_SHUTDOWN))
    assert robot.call('/recorder_node/change_state', ChangeState, shutdown).success
    assert recorder.node.wait() == 0, recorder.node.log
    [journal] = recorder.journals.iterdir()
    assert open_bag(journal).topics
    assert recorder.node.summary['written']['joints'] > 0


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'dataset': '', 'journal_dir': ''}, 'neither dataset nor journal_dir is given'),
        ({'min_free_gb': 60_000.0}, r'GB free of 60000\.00 GB needed'),
        ({'min_free_memory_gb': 60_000.0}, r'GB of memory left of 60000\.00 GB'),
        ({'queue_bm': 1.0}, "unknown parameter 'queue_bm'; did you mean 'queue_mb'"),
    ],
)
def test_what_cannot_be_configured_is_told_and_the_process_lives(
    make_recorder, parameters: dict, message: str
) -> None:
    recorder = make_recorder(**parameters)
    recorder.node.wait_for(f'cannot configure: .*{message}')
    answer = recorder.request('start')
    assert not answer.success
    assert 'activate it first' in answer.message
    assert recorder.node.end() == 1
