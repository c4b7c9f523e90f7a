"""From recordings to a picture, without ROS: a journal and the session log of its run, made here."""

from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import pytest

from restac_ros.commands.data import View
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.message_types import typestore
from restac_ros.dataset.errors import BagError
from restac_ros.dataset.journal import Journal
from restac_ros.dataset.session_log import SessionLog
from restac_ros.framing.kinematics import fk_hand_tcp
from restac_ros.view.errors import ViewError
from restac_ros.view.playback import scene_at, tactile_stream
from restac_ros.view.render import render
from restac_ros.view.run_video import write_run_video
from restac_ros.view.scene import SceneOptions

START_NS = 1_760_000_000_000_000_000
S = 10**9
READY_RAD = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])
SECONDS = 3.0
PRESS_S = 1.5


class Recording(NamedTuple):
    """A journal and a session log of the same run."""

    journal: Path
    session: Path


def cdr(kind: str, **fields) -> bytes:
    return typestore().serialize_cdr(typestore().types[kind](**fields), kind).tobytes()


def header(stamp_ns: int, frame_id: str):
    types = typestore().types
    stamp = types['builtin_interfaces/msg/Time'](sec=stamp_ns // S, nanosec=stamp_ns % S)
    return types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame_id)


def run_identity() -> object:
    kind = typestore().types['restac_ros/msg/RunIdentity']
    return kind(run_id='run', checkpoint='0' * 12, prompt='insert the plug', prompt_revision=0)


def tactile(stamp_ns: int, pressed: bool) -> bytes:
    image = np.full((240, 320, 3), 90, np.uint8)
    if pressed:
        cv2.circle(image, (100, 120), 40, (90, 160, 90), -1)
    shape = {'height': 240, 'width': 320, 'encoding': 'bgr8', 'is_bigendian': 0, 'step': 960}
    return cdr('sensor_msgs/msg/Image', header=header(stamp_ns, 'gel'), data=image.ravel(), **shape)


def joints(stamp_ns: int, contract: Contract, q_rad: np.ndarray) -> bytes:
    names = list(contract.streams['joints'].joints)
    empty = np.zeros(0)
    values = {'name': names, 'position': q_rad, 'velocity': empty, 'effort': empty}
    return cdr('sensor_msgs/msg/JointState', header=header(stamp_ns, ''), **values)


def gate(stamp_ns: int, value: float) -> bytes:
    values = {'logvar': -9.5, 'logvar_standardised': 1.5, 'code_index': 12, 'residual_norm': 0.5}
    times = {'tactile_age_ns': 50_000_000, 'inference_ns': 8_000_000}
    values |= {'replan_threshold': 0.6, 'replan_release': 0.4}
    head = header(stamp_ns, 'gel')
    run = run_identity()
    return cdr(
        'restac_ros/msg/GateState', header=head, run=run, gate=value, saturated=False, **values, **times
    )


def chunk(stamp_ns: int, number: int, position_m: np.ndarray, value: float) -> bytes:
    types = typestore().types
    x, y, z = position_m.tolist()
    anchor = types['geometry_msgs/msg/Pose'](
        position=types['geometry_msgs/msg/Point'](x=x, y=y, z=z),
        orientation=types['geometry_msgs/msg/Quaternion'](x=1.0, y=0.0, z=0.0, w=0.0),
    )
    steps = np.zeros((8, 6))
    steps[:, 2] = -0.01 * np.arange(1, 9)
    return cdr(
        'restac_ros/msg/ActionChunk',
        header=header(stamp_ns, 'fr3_link0'),
        run=run_identity(),
        chunk_id=number,
        trigger=0,
        anchor_pose=anchor,
        anchor_state=np.array([x, y, z, np.pi, 0.0, 0.0]),
        anchor_gripper=0.04,
        rotation_convention='rpy',
        delta_composition='elementwise',
        step_ns=66_666_666,
        horizon=8,
        delta_pose=steps.ravel(),
        gripper=np.full(8, 0.04),
        valid_until=header(stamp_ns + S, '').stamp,
        gate=value,
        prefix_age_ns=90_000_000,
        tactile_age_ns=10_000_000,
        inference_ns=30_000_000,
        chunking=0,
        continues=False,
        continued_delay_steps=0,
    )


def residual(stamp_ns: int, magnitude: float) -> bytes:
    """A map of 4 x 5 latent positions, one of them off."""
    values = np.zeros((4, 5), '<f4')
    values[1, 2] = magnitude
    shape = {'height': 4, 'width': 5, 'encoding': '32FC1', 'is_bigendian': 0, 'step': 20}
    data = values.view('u1').ravel()
    return cdr('sensor_msgs/msg/Image', header=header(stamp_ns, 'gel'), data=data, **shape)


@pytest.fixture
def recording(tmp_path: Path, contract: Contract) -> Recording:
    """3 s: the arm turns its base joint; from 1.5 s on something presses and the gate opens."""
    journal = Journal(tmp_path / 'journal', contract, start_ns=START_NS, task='press')
    session = SessionLog(tmp_path / 'session', contract, start_ns=START_NS, task='press')
    for tick in range(int(SECONDS * 100)):
        now_ns = START_NS + tick * 10_000_000
        q_rad = READY_RAD + np.array([0.3 * tick / 300, 0, 0, 0, 0, 0, 0])
        journal.write('joints', joints(now_ns, contract, q_rad), now_ns)
        pressed = tick >= PRESS_S * 100
        if tick % 6 == 0:
            journal.write('gelsight_left', tactile(now_ns, pressed), now_ns)
            session.write(
                '/policy_node/gate_state',
                'restac_ros/msg/GateState',
                gate(now_ns, 0.9 if pressed else 0.1),
                now_ns,
            )
            session.write(
                '/policy_node/tactile_residual',
                'sensor_msgs/msg/Image',
                residual(now_ns, 9.0 if pressed else 0.3),
                now_ns,
            )
        if tick % 10 == 0:
            message = chunk(now_ns, tick // 10, fk_hand_tcp(q_rad)[:3, 3], 0.9 if pressed else 0.1)
            session.write('/policy_node/action_chunk', 'restac_ros/msg/ActionChunk', message, now_ns)
    return Recording(journal.close(START_NS + 3 * S), session.close(START_NS + 3 * S))


def test_the_scene_of_a_moment_is_that_moment(recording: Recording, contract: Contract) -> None:
    bags = [open_bag(path) for path in recording]
    for at_s, value in ((1.0, 0.1), (2.5, 0.9)):
        scene, end_ns = scene_at(contract, bags, START_NS + round(at_s * S), SceneOptions())
        shapes = {(shape.name, shape.number): shape for shape in scene.shapes(end_ns)}
        assert f'gate {value:.2f}' in shapes['label', 0].text
        turned = READY_RAD + np.array([0.3 * at_s / 3, 0, 0, 0, 0, 0, 0])
        np.testing.assert_allclose(shapes['ring', 0].pose, fk_hand_tcp(turned), atol=1e-9)
        np.testing.assert_allclose(shapes['chunk', 0].points[0], fk_hand_tcp(turned)[:3, 3], atol=0.01)
        picture = scene.tactile_image(end_ns)
        assert picture.shape[1] > 2 * 160  # the residual stands beside the frame
        beside = picture[40:-40, 2 * 160 + 10 :].astype(int)
        assert (beside.max() > 220) == (value > 0.5)
        assert scene.gel.reference is not None
        assert scene.gel.is_contact == (value > 0.5)


def test_one_bag_with_everything_shows_the_same(
    recording: Recording, contract: Contract, tmp_path: Path
) -> None:
    """As `ros2 bag record -a` writes it: all topics in one bag, in log order."""
    both = SessionLog(tmp_path / 'all', contract, start_ns=START_NS)
    messages = [message for path in recording for message in open_bag(path).messages()]
    for message in sorted(messages, key=lambda message: message.log_time_ns):
        both.write(message.topic, message.type, message.cdr, message.log_time_ns)
    together = both.close(START_NS + 3 * S)
    pictures = []
    for paths in ([together], list(recording)):
        scene, end_ns = scene_at(contract, [open_bag(path) for path in paths], None, SceneOptions())
        pictures.append((scene.tactile_image(end_ns).tobytes(), scene.chart_image(end_ns).tobytes()))
    assert pictures[0] == pictures[1]


def test_the_moment_by_default_is_the_last_at_which_gate_touch_and_pose_still_came(
    recording: Recording, contract: Contract, tmp_path: Path
) -> None:
    """The robot reports its pose for 2 s more, as a policy that has no images any more goes on."""
    later = SessionLog(tmp_path / 'later', contract, start_ns=START_NS)
    for now_ns in range(START_NS, START_NS + 5 * S, S // 10):
        message, topic = joints(now_ns, contract, READY_RAD), contract.streams['joints'].topic
        later.write(topic, 'sensor_msgs/msg/JointState', message, now_ns)
    bags = [open_bag(path) for path in (*recording, later.close(START_NS + 5 * S))]
    scene, end_ns = scene_at(contract, bags, None, SceneOptions())
    assert START_NS + 2.9 * S < end_ns <= START_NS + 3 * S
    assert 'gate 0.90' in next(shape.text for shape in scene.shapes(end_ns) if shape.name == 'label')


def test_recordings_of_different_runs_are_refused(
    recording: Recording, contract: Contract, tmp_path: Path
) -> None:
    log = SessionLog(tmp_path / 'evening', contract, start_ns=START_NS + 10 * S)
    log.write(
        '/policy_node/gate_state', 'restac_ros/msg/GateState', gate(START_NS + 10 * S, 0.5), START_NS + 10 * S
    )
    evening = log.close(START_NS + 10 * S)
    with pytest.raises(ViewError, match=r'evening begins 7\.0 s after the end of .*different runs'):
        render([evening, recording.journal], tmp_path / 'view.png')
    assert not (tmp_path / 'view.png').exists()


def test_the_picture_shows_ring_chunk_and_touch(recording: Recording, tmp_path: Path) -> None:
    from restac_ros.view.colours import gate_colours

    png = render(recording, tmp_path / 'view.png', at_s=2.5)
    picture = cv2.cvtColor(cv2.imread(str(png)), cv2.COLOR_BGR2RGB).astype(int)
    space = picture[:, : picture.shape[1] * 55 // 100]
    drawn = np.abs(space - gate_colours(0.9).astype(int)).max(axis=-1) < 25
    assert drawn.sum() > 500  # ring, bar and chunk in the gate's colour
    assert render(recording, tmp_path / 'early.png', at_s=1.0).read_bytes() != png.read_bytes()


def test_the_command_skips_what_is_no_recording(
    recording: Recording, contract: Contract, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """As a shell's pattern over a directory of journals gives them."""
    (tmp_path / 'journal.conversion.jsonl').write_text('{}')
    (tmp_path / 'trash').mkdir()
    Journal(tmp_path / 'next', contract, start_ns=START_NS).abandon()
    assert View(tuple(sorted(tmp_path.iterdir())), png=tmp_path / 'view.png').run() == 0
    printed = capsys.readouterr().out
    assert printed.count('skipped: ') == 3
    assert 'journal.conversion.jsonl is no recording' in printed
    assert 'next.partial is unfinished' in printed
    assert (tmp_path / 'view.png').is_file()


def test_without_the_policys_messages_touch_is_still_shown(recording: Recording, tmp_path: Path) -> None:
    assert render([recording.journal], tmp_path / 'view.png').is_file()


def test_a_damaged_message_is_named(recording: Recording, tmp_path: Path, contract: Contract) -> None:
    log = SessionLog(tmp_path / 'damaged', contract, start_ns=START_NS)
    log.write('/policy_node/gate_state', 'restac_ros/msg/GateState', gate(START_NS, 0.5)[:20], START_NS)
    with pytest.raises(BagError, match='20 bytes are no readable restac_ros/msg/GateState'):
        render([log.close(START_NS)], tmp_path / 'view.png')


def test_nothing_to_show_is_refused_with_what_was_found(
    recording: Recording, tmp_path: Path, contract: Contract
) -> None:
    with pytest.raises(ViewError, match='the bags begin later'):
        scene_at(contract, [open_bag(recording.journal)], START_NS - 1, SceneOptions())
    other = SessionLog(tmp_path / 'other', contract, start_ns=START_NS)
    other.write(
        '/clock',
        'rosgraph_msgs/msg/Clock',
        cdr('rosgraph_msgs/msg/Clock', clock=header(0, '').stamp),
        START_NS,
    )
    with pytest.raises(ViewError, match='the bags hold /clock; expected one of'):
        render([other.close(START_NS)], tmp_path / 'view.png')


def test_a_recording_without_a_contract_needs_one(
    recording: Recording, tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('restac_ros.dataset.journal.NOTES', 'somebody else')
    with pytest.raises(ViewError, match='no contract inside'):
        render(recording, tmp_path / 'view.png')
    assert render(recording, tmp_path / 'view.png', contract).is_file()


def test_the_tactile_stream_is_checked(contract: Contract) -> None:
    assert tactile_stream(contract) == tactile_stream(contract, 'gelsight_left') == 'gelsight_left'
    with pytest.raises(ViewError, match=r"'gelsight_right'.*gelsight_left"):
        tactile_stream(contract, 'gelsight_right')


def test_of_a_robot_without_touch_there_is_no_tactile_stream(
    recording: Recording, contract_without_touch: Contract, tmp_path: Path
) -> None:
    assert tactile_stream(contract_without_touch) is None
    with pytest.raises(ViewError, match=r"'gelsight_left'.*none"):
        tactile_stream(contract_without_touch, 'gelsight_left')
    bags = [open_bag(path) for path in recording]
    scene, _ = scene_at(contract_without_touch, bags, None, SceneOptions())
    assert not scene.has_touch
    assert scene.shapes(START_NS)
    assert scene.tactile_image(START_NS).ndim == 3, 'rviz shows that nothing is received'
    made = write_run_video(list(recording), tmp_path / 'run.mp4', contract_without_touch)
    assert made.frames > 1


def test_the_subtasks_of_a_session_log_are_shown_as_live_ones(contract: Contract, tmp_path: Path) -> None:
    pytest.importorskip('rerun', reason='the extra view is not installed')
    from rerun_file import RerunFile
    from restac_ros.view.rerun.recordings import log_recordings

    session = SessionLog(tmp_path / 'planned', contract, start_ns=START_NS, task='tidy up')
    session.write('/policy_node/gate_state', 'restac_ros/msg/GateState', gate(START_NS, 0.5), START_NS)
    for second, (text, source) in enumerate([('reach', 0), ('wait', 1)]):
        kind = typestore().types['restac_ros/msg/RunIdentity']
        said = cdr(
            'restac_ros/msg/Subtask',
            header=header(START_NS, ''),
            run=kind(run_id='run', checkpoint='0' * 12, prompt=text, prompt_revision=second),
            task='tidy up',
            source=source,
            mean_log_probability=0.0,
            ended=True,
        )
        session.write('/policy_node/subtask', 'restac_ros/msg/Subtask', said, START_NS + second * S)
    log_recordings([session.close(START_NS + S)], tmp_path / 'planned.rrd')
    file = RerunFile(tmp_path / 'planned.rrd')
    shown = file.values('/texts/subtask', 'TextLog:text')
    assert shown == ['reach (network, 100% a token)', 'wait (operator)']
    assert file.times_ns('/texts/subtask') == [START_NS, START_NS + S]


def test_a_run_becomes_a_video_at_the_contracts_rate_and_its_end_a_picture(
    recording: Recording, contract: Contract, tmp_path: Path
) -> None:
    made = write_run_video(list(recording), tmp_path / 'made' / 'run.mp4')
    picture = cv2.imread(str(made.picture)).astype(int)
    with av.open(str(made.video)) as video:
        shown = [frame.to_ndarray(format='bgr24').astype(int) for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == contract.fps
    assert len(shown) == made.frames == pytest.approx(SECONDS * contract.fps, abs=2)
    assert np.abs(shown[-1] - picture).mean() < 3, 'but for the compression'
    before = shown[round((PRESS_S - 0.3) * contract.fps)]
    gel = slice(20, 280), slice(512, 832)
    assert np.abs(picture[gel] - before[gel]).max() > 100, 'it is pressed at the end'
    assert [path.name for path in made.video.parent.iterdir() if path.name.startswith('.')] == []


def test_a_picture_that_cannot_be_written_is_said(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / 'run.png').mkdir()
    with pytest.raises(OSError, match=r'run\.png cannot be written'):
        write_run_video(list(recording), tmp_path / 'run.mp4')


def test_a_video_that_cannot_be_drawn_leaves_nothing(recording: Recording, tmp_path: Path) -> None:
    def refuse(done: int, total: int) -> None:
        raise ViewError(f'stopped at {done} of {total}')

    with pytest.raises(ViewError, match='stopped at 1 of'):
        write_run_video(list(recording), tmp_path / 'run.mp4', on_message=refuse)
    assert not list(tmp_path.glob('*run.mp4'))
