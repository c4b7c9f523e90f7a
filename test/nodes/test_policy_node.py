"""policy_node as a process: chunks and gates from streams, one clear message for each fault, and recovery."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import SetParameters
from restac_ros.msg import ActionChunk, GateState
from sensor_msgs.msg import Image

from restac_ros.geometry import quaternion
from restac_ros.model.checkpoint.store import checkpoint_fingerprint
from restac_ros.view.samples import residual_map


class Policy:
    """A running policy node and what it publishes."""

    def __init__(self, robot, node, wait_until) -> None:
        self.robot, self.node, self._wait_until = robot, node, wait_until
        self.chunks = robot.listen('/policy_node/action_chunk', ActionChunk)
        self.gates = robot.listen('/policy_node/gate_state', GateState)
        self.residuals = robot.listen('/policy_node/tactile_residual', Image)
        self.diagnostics = robot.listen('/diagnostics', DiagnosticArray)

    def plans(self, count: int = 3) -> None:
        """Wait for that many further chunks."""
        wanted = len(self.chunks) + count
        self._wait_until(
            lambda: len(self.chunks) >= wanted, lambda: f'{count} chunks; it said:\n{self.node.log}'
        )

    def is_silent(self) -> None:
        """Wait for two diagnoses in a row that tell of further held replans and of no further chunk."""

        def held_and_chunks() -> tuple[int, int] | None:
            status = self.status('planning')
            if status is None or status.level != DiagnosticStatus.ERROR:
                return None
            values = {pair.key: int(pair.value) for pair in status.values}
            return values['held'], values['chunks']

        seen: list[tuple[int, int]] = []

        def silent() -> bool:
            now = held_and_chunks()
            if now and now not in seen:
                seen.append(now)
            return len(seen) > 1 and seen[-1][0] > seen[-2][0] and seen[-1][1] == seen[-2][1]

        self._wait_until(silent, lambda: f'silence; it said:\n{self.node.log}')

    def status(self, name: str) -> DiagnosticStatus | None:
        """The latest diagnosis of that name."""
        for array in reversed(self.diagnostics):
            for status in array.status:
                if status.name == f'policy_node: {name}':
                    return status
        return None


@pytest.fixture
def policy(
    robot,
    start_node,
    wait_until,
    tiny_checkpoint: Path,
    compile_cache: Path,
    patient_contract_file: Path,
) -> Policy:
    """A policy that plans, on a robot without faults."""
    node = start_node(
        'policy_node',
        checkpoint=tiny_checkpoint,
        prompt='push',
        compile_cache=compile_cache,
        replan_hz=20.0,
        run_id='run7',
        contract=patient_contract_file,
    )
    robot.publish_streams()
    running = Policy(robot, node, wait_until)
    running.plans(1)
    return running


def test_chunks_gates_diagnostics_and_summary_say_how_things_are(policy: Policy, wait_until) -> None:
    policy.plans(5)
    wait_until(
        lambda: any(gate.header == image.header for image in policy.residuals for gate in policy.gates),
        'gate and residual of one touch, which come by different topics',
    )
    check_messages(policy)
    check_diagnostics(policy, wait_until)
    assert policy.node.end() == 0
    check_summary(policy)


def check_messages(policy: Policy) -> None:
    """Chunks and gates say what they are made of."""
    contract, chunks = policy.robot.contract, policy.chunks
    assert [chunk.chunk_id for chunk in chunks] == list(
        range(chunks[0].chunk_id, chunks[0].chunk_id + len(chunks))
    )
    chunk = chunks[-1]
    assert chunk.header.frame_id == contract.robot.base_frame
    assert (chunk.step_ns, chunk.rotation_convention) == (contract.period_ns, contract.rotation.convention)
    assert (chunk.delta_composition, chunk.horizon) == (contract.action.delta, len(chunk.gripper))
    delta = np.array(chunk.delta_pose).reshape(chunk.horizon, 6)
    assert np.isfinite(delta).all()
    assert np.abs(delta).max() > 0
    pose = chunk.anchor_pose
    np.testing.assert_allclose(chunk.anchor_state[:3], [pose.position.x, pose.position.y, pose.position.z])
    turned = pose.orientation
    np.testing.assert_allclose(
        np.abs([turned.x, turned.y, turned.z, turned.w]),
        np.abs(quaternion.from_rpy(np.array(chunk.anchor_state[3:]))),
        atol=1e-9,
    )
    assert chunk.anchor_gripper == pytest.approx(0.04)
    stamp_ns = chunk.header.stamp.sec * 10**9 + chunk.header.stamp.nanosec
    assert chunk.valid_until.sec * 10**9 + chunk.valid_until.nanosec == stamp_ns + 500_000_000
    assert 0 <= chunk.prefix_age_ns < 5 * 10**9  # 0 where the state that anchors the chunk is older
    assert 0 <= chunk.tactile_age_ns < 5 * 10**9
    assert chunk.inference_ns > 0
    gate = policy.gates[-1]
    assert 0 <= gate.gate <= 1
    assert np.isfinite([gate.logvar, gate.logvar_standardised, gate.residual_norm]).all()
    assert gate.header.frame_id == contract.robot.tool_frame
    gates = list(policy.gates)
    image, of_the_same = next(
        (image, gate) for image in policy.residuals for gate in gates if gate.header == image.header
    )
    assert np.linalg.norm(residual_map(image)) == pytest.approx(of_the_same.residual_norm, rel=1e-4)
    assert chunk.trigger in (ActionChunk.TRIGGER_PERIOD, ActionChunk.TRIGGER_GATE)


def test_a_prompt_changed_live_is_in_the_chunks_and_gates_that_follow_it(
    policy: Policy, wait_until, tiny_checkpoint: Path
) -> None:
    identity = policy.chunks[-1].run
    assert (identity.run_id, identity.prompt, identity.prompt_revision) == ('run7', 'push', 0)
    assert identity.checkpoint == checkpoint_fingerprint(tiny_checkpoint)
    assert set_prompt(policy, 'pull').successful
    policy.node.wait_for(r"chunks follow 'pull' \(revision 1\)")
    wait_until(lambda: policy.chunks[-1].run.prompt == 'pull', 'a chunk of the new prompt')
    wait_until(lambda: policy.gates[-1].run.prompt == 'pull', 'a gate of the new prompt')
    for messages in (policy.chunks, policy.gates):
        followed = {(message.run.prompt, message.run.prompt_revision) for message in messages}
        assert followed == {('push', 0), ('pull', 1)}
    policy.node.end()
    assert "prompt is now 'pull'" in policy.node.log
    assert policy.node.summary['changes'] == ["prompt is now 'pull'"]


@pytest.mark.parametrize(
    ('prompt', 'reason'),
    [(' ', 'expected a task'), ('_', 'expected a task'), ('lift ' * 400, 'does not fit')],
)
def test_a_prompt_that_cannot_be_followed_is_refused_where_it_is_set(
    policy: Policy, prompt: str, reason: str
) -> None:
    answer = set_prompt(policy, prompt)
    assert not answer.successful
    assert reason in answer.reason
    policy.plans()
    assert policy.chunks[-1].run.prompt == 'push'


def set_prompt(policy: Policy, prompt: str) -> SetParametersResult:
    """Set the prompt as `ros2 param set` does; return the answer."""
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=prompt)
    request = SetParameters.Request(parameters=[Parameter(name='prompt', value=value)])
    return policy.robot.call('/policy_node/set_parameters', SetParameters, request).results[0]


def check_diagnostics(policy: Policy, wait_until) -> None:
    """Every stream and every stage is there."""
    streams = policy.robot.contract.streams
    wanted = [f'stream {name}' for name in streams] + [
        'latency prefix',
        'latency tactile',
        'latency act',
        'state',
    ]
    wait_until(lambda: all(policy.status(name) for name in wanted), 'diagnostics of all')
    wait_until(lambda: 'Hz' in policy.status('stream joints').message, 'a measured rate')
    values = {pair.key: pair.value for pair in policy.status('latency act').values}
    assert float(values['p50_ms']) <= float(values['p99_ms']) <= float(values['max_ms'])


def check_summary(policy: Policy) -> None:
    """The summary agrees with what was heard."""
    streams, summary = policy.robot.contract.streams, policy.node.summary
    assert summary['problem'] == ''
    assert summary['chunks'] >= len(policy.chunks) > 0
    assert summary['gate']['min'] <= policy.gates[-1].gate <= summary['gate']['max']
    assert all(summary['streams'][name]['received'] > 0 for name in streams)
    assert {'prefix', 'tactile', 'act', 'frame_cameras', 'touch_to_gate'} <= set(summary['latency_ms'])


def test_each_fault_is_told_once_stops_the_chunks_and_is_recovered_from(policy: Policy) -> None:
    robot, node = policy.robot, policy.node
    names, first = robot.joint_names, robot.joint_names[0]
    faults: list[tuple[Callable[[], object], Callable[[], object], str]] = [
        (
            lambda: robot.silent.add('side'),
            robot.silent.clear,
            r'no chunk: side \(/cameras/side/\S+\) stale: age',
        ),
        (
            lambda: robot.encodings.update(main='mono8'),
            robot.encodings.clear,
            r"no chunk: main .* encoding 'mono8'; the contract expects 'rgb8'; correct the driver",
        ),
        (
            lambda: setattr(robot, 'joint_names', ['panda_joint1', *names[1:]]),
            lambda: setattr(robot, 'joint_names', names),
            rf'no chunk: joints .* no joint {first}; the message has panda_joint1, .* set joints',
        ),
        (
            lambda: setattr(robot, 'joint_names', [f'panda_joint{i}' for i in range(1, 8)]),
            lambda: setattr(robot, 'joint_names', names),
            rf'no chunk: joints .* no joint {first}, .*; the message has panda_joint1, .* set joints',
        ),
        (
            lambda: robot.lag_s.update(gelsight_left=2.0),
            robot.lag_s.clear,
            r'no chunk: gelsight_left .* stale: age',
        ),
        (
            lambda: robot.lag_s.update(gripper=-2.0),
            robot.lag_s.clear,
            r'no chunk: gripper .* future: stamped',
        ),
    ]
    for begin, end, message in faults:
        begin()
        node.wait_for(message)
        policy.is_silent()
        assert node.alive
        end()
        policy.plans()
    robot.zero_stamps.add('gelsight_left')
    node.wait_for(r'gelsight_left: stamps on /gelsight/left/image_raw are zero, .*set latency_ms')
    policy.plans(20)
    assert node.log.count('are zero') == 1
    assert node.log.count("encoding 'mono8'") == 1
    assert node.end() == 0


def test_a_missing_topic_is_told_when_the_grace_is_over(
    robot, start_node, wait_until, tiny_checkpoint: Path, compile_cache: Path
) -> None:
    node = start_node('policy_node', checkpoint=tiny_checkpoint, prompt='push', compile_cache=compile_cache)
    robot.silent |= {'main', 'gripper'}
    robot.publish_streams()
    running = Policy(robot, node, wait_until)
    text = node.wait_for(r'no chunk: main \(/cameras/main/color/image_raw\) missing: .*')
    assert 'gripper (/franka_gripper/joint_states) missing' in text
    assert 'side' not in text
    assert text.endswith('start the driver, or correct the topic in the contract')
    running.is_silent()
    robot.silent.clear()
    running.plans()


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'prompt': 'push'}, r'cannot configure: no checkpoint: pass -p checkpoint:=DIRECTORY'),
        ({'prompt': 'push', 'checkpoint': '/nowhere/at/all'}, r'cannot configure: /nowhere/at/all'),
        (
            {'prompt': 'push', 'checkpoint': '/nowhere', 'replan_rate_hz': 3.0},
            r"unknown parameter 'replan_rate_hz'; did you mean 'replan_hz'\?",
        ),
    ],
)
def test_what_cannot_be_configured_is_told_once_and_the_process_lives(
    start_node, robot, wait_until, parameters: dict, message: str
) -> None:
    node = start_node('policy_node', **parameters)
    node.wait_for(message)
    answer = robot.call('/policy_node/get_state', GetState)
    assert answer.current_state.id == State.PRIMARY_STATE_UNCONFIGURED
    running = Policy(robot, node, wait_until)
    state = wait_until(lambda: running.status('state'), 'a diagnosis')
    assert state.level == DiagnosticStatus.ERROR
    assert node.log.count('[ERROR]') == 1
    assert node.end() == 1
    assert running.chunks == []


def test_a_checkpoint_for_another_robot_is_refused_by_field(
    start_node, repository: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    other = tmp_path / 'contract.yaml'
    other.write_text((repository / 'config' / 'contract.yaml').read_text().replace('fps: 15', 'fps: 10'))
    node = start_node('policy_node', checkpoint=tiny_checkpoint, prompt='push', contract=other)
    node.wait_for(r'cannot configure: contract .* does not fit checkpoint')
    node.wait_for(r'fps: found 10, expected 15')
    assert node.alive
    assert node.end() == 1


def test_the_lifecycle_can_be_gone_through_by_hand(
    robot, start_node, wait_until, tiny_checkpoint: Path, compile_cache: Path
) -> None:
    node = start_node(
        'policy_node',
        checkpoint=tiny_checkpoint,
        prompt='push',
        compile_cache=compile_cache,
        autostart=False,
    )
    robot.publish_streams()
    running = Policy(robot, node, wait_until)

    def go(transition: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        assert robot.call('/policy_node/change_state', ChangeState, request).success, node.log

    go(Transition.TRANSITION_CONFIGURE)
    assert running.chunks == []
    go(Transition.TRANSITION_ACTIVATE)
    running.plans()
    prompt = Parameter(
        name='prompt', value=ParameterValue(type=ParameterType.PARAMETER_STRING, string_value='pull')
    )
    rate = Parameter(
        name='replan_hz', value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=5.0)
    )
    changes = SetParameters.Request(parameters=[prompt, rate])
    accepted, refused = robot.call('/policy_node/set_parameters', SetParameters, changes).results
    assert accepted.successful
    assert not refused.successful
    assert 'replan_hz is read when the node is configured' in refused.reason
    running.plans()
    go(Transition.TRANSITION_DEACTIVATE)
    before = len(running.chunks)
    go(Transition.TRANSITION_ACTIVATE)
    wait_until(
        lambda: any(chunk.chunk_id == 0 for chunk in running.chunks[before:]),
        'numbers that begin anew with each activation',
    )
    go(Transition.TRANSITION_DEACTIVATE)
    go(Transition.TRANSITION_CLEANUP)
    assert node.end() == 0
