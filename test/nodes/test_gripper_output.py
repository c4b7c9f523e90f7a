"""Goals to a gripper's action server and its results back; numbers on a topic, repeated once a second."""

from concurrent.futures import Future  # unlike rclpy's, it needs no executor for its callbacks
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from action_msgs.msg import GoalStatus

from restac_ros.control.gripper import GoalSequence, GripperRequest
from restac_ros.nodes.streamer.gripper_output import (
    ActionGripper,
    TopicGripper,
    check_gripper_type,
    franka_goals,
    outcome_of,
)
from restac_ros.nodes.subscriptions import UnknownTypeError
from restac_ros.runtime.node_parameters import ParameterError

SECOND = 10**9


class Server:
    """An action server as its client finds it; answers when told to."""

    def __init__(self) -> None:
        self.ready = True
        self.goals: list[Any] = []
        self.answers: list[Future] = []
        self.results: list[Future] = []

    def server_is_ready(self) -> bool:
        return self.ready

    def send_goal_async(self, goal: Any) -> Future:
        self.goals.append(goal)
        self.answers.append(Future())
        return self.answers[-1]

    def answer(self, accepted: bool = True) -> None:
        self.results.append(Future())
        handle = SimpleNamespace(accepted=accepted, get_result_async=lambda: self.results[-1])
        self.answers[-1].set_result(handle)

    def finish(self, status: int = GoalStatus.STATUS_SUCCEEDED, **result: object) -> None:
        self.results[-1].set_result(SimpleNamespace(status=status, result=SimpleNamespace(**result)))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def gripper(server: Server) -> ActionGripper:
    return ActionGripper(GoalSequence(0.002, 5 * SECOND), lambda goal: (server, goal.opening_m), [server])


def to(opening_m: float) -> GripperRequest:
    return GripperRequest(0.07, opening_m)


def test_the_final_opening_is_the_goal_and_one_goal_runs_at_a_time(
    gripper: ActionGripper, server: Server
) -> None:
    gripper.command(to(0.0), 0.08, 0)
    assert server.goals == [0.0]
    server.answer()
    gripper.command(to(0.05), 0.04, SECOND)
    assert server.goals == [0.0]
    server.finish(reached_goal=True, stalled=False)
    gripper.command(to(0.05), 0.0, SECOND)
    assert server.goals == [0.0, 0.05]
    assert gripper.problem == ''


@pytest.mark.parametrize('refused', [True, False])
def test_a_refused_and_an_aborted_goal_are_sent_again_after_a_pause(
    gripper: ActionGripper, server: Server, refused: bool
) -> None:
    gripper.command(to(0.0), 0.08, 0)
    server.answer(accepted=not refused)
    if not refused:
        server.finish(GoalStatus.STATUS_ABORTED, reached_goal=False, stalled=False)
    assert 'of 0.000 m' in gripper.problem
    gripper.command(to(0.0), 0.08, SECOND // 4)
    assert len(server.goals) == 1
    gripper.command(to(0.0), 0.08, SECOND)
    assert server.goals == [0.0, 0.0]
    server.answer()
    server.finish(reached_goal=True, stalled=False)
    assert gripper.problem == ''


def test_no_server_is_named(gripper: ActionGripper, server: Server) -> None:
    server.ready = False
    gripper.command(to(0.0), 0.08, 0)
    assert server.goals == []
    assert gripper.problem == 'the gripper is not commanded: its action has no server'
    server.ready = True
    gripper.command(to(0.0), 0.08, SECOND)
    assert server.goals == [0.0]
    assert gripper.problem == ''


@pytest.mark.parametrize(
    ('status', 'result', 'outcome'),
    [
        (GoalStatus.STATUS_SUCCEEDED, {'reached_goal': True, 'stalled': False}, ('done', '')),
        (GoalStatus.STATUS_ABORTED, {'reached_goal': False, 'stalled': True}, ('blocked', '')),
        (GoalStatus.STATUS_ABORTED, {'reached_goal': False, 'stalled': False}, ('failed', 'its status is 6')),
        (GoalStatus.STATUS_SUCCEEDED, {'success': False, 'error': 'too wide'}, ('failed', 'too wide')),
        (GoalStatus.STATUS_ABORTED, {'success': False, 'error': 'no homing'}, ('failed', 'no homing')),
        (GoalStatus.STATUS_SUCCEEDED, {'success': True, 'error': ''}, ('done', '')),
    ],
)
def test_results_are_read(status: int, result: dict, outcome: tuple[str, str]) -> None:
    assert outcome_of(SimpleNamespace(status=status, result=SimpleNamespace(**result))) == outcome


class FakeGrasp:
    """franka_msgs/action/Grasp, which no registry has."""

    class Goal(SimpleNamespace):
        def __init__(self, **fields: object) -> None:
            super().__init__(**fields, epsilon=SimpleNamespace(inner=0.0, outer=0.0))


def test_franka_closes_by_a_grasp_with_force_and_opens_by_a_move() -> None:
    move, grasp = Server(), Server()
    parameters = SimpleNamespace(gripper_scale=1.0, gripper_speed_m_s=0.1, gripper_effort_n=30.0)
    goals = franka_goals(SimpleNamespace(Goal=SimpleNamespace), FakeGrasp, [move, grasp], parameters)
    gripper = ActionGripper(GoalSequence(0.002, 5 * SECOND, grasps=True), goals, [move, grasp])
    gripper.command(to(0.0), 0.08, 0)
    [goal] = grasp.goals
    assert (goal.width, goal.speed, goal.force) == (0.0, 0.1, 30.0)
    assert min(goal.epsilon.inner, goal.epsilon.outer) > 0.08, 'an object of any width is held'
    grasp.answer()
    grasp.finish(success=True, error='')
    gripper.command(to(0.08), 0.03, SECOND)
    assert [(goal.width, goal.speed) for goal in move.goals] == [(0.08, 0.1)]


def test_a_topic_gripper_repeats_itself_once_a_second_and_follows_the_opening_due_now() -> None:
    sent: list[float] = []
    publisher = SimpleNamespace(publish=lambda message: sent.append(message.data))
    node = SimpleNamespace(create_publisher=lambda *_: publisher)
    gripper = TopicGripper(node, 'std_msgs/msg/Float32', 'gripper', 0.5, 0.002)
    for tick in range(250):
        gripper.command(GripperRequest(0.04, 0.0), None, tick * SECOND // 100)
    assert sent == pytest.approx([0.02] * 3)
    gripper.command(GripperRequest(0.03, 0.0), None, 250 * SECOND // 100)
    assert sent[-1] == pytest.approx(0.015)
    gripper.forget()
    gripper.command(GripperRequest(0.03, 0.0), None, 251 * SECOND // 100)
    assert len(sent) == 5, 'after a silence it is sent anew'


@pytest.mark.parametrize(
    ('type_name', 'grasp', 'error', 'words'),
    [
        ('std_msgs/msg/String', '', UnknownTypeError, "'std_msgs/msg/String', expected one of"),
        ('franka_msgs/action/Move', '', UnknownTypeError, 'install ros-jazzy-franka-msgs'),
        ('std_msgs/msg/Float32', '/grasp', ParameterError, 'only franka_msgs/action/Move has a grasp'),
    ],
)
def test_types_that_cannot_be_commanded_are_refused(
    type_name: str, grasp: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        check_gripper_type(SimpleNamespace(gripper_type=type_name, gripper_grasp_name=grasp))


@pytest.mark.parametrize('type_name', ['', 'std_msgs/msg/Float64MultiArray'])
def test_types_that_can_are_accepted(type_name: str) -> None:
    check_gripper_type(SimpleNamespace(gripper_type=type_name, gripper_grasp_name=''))
