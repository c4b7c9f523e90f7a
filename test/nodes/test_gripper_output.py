"""The gripper's goals: one at a time, the newest opening, never waited for."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')

from rclpy.task import Future

from restac_ros.nodes.streamer.gripper_output import ActionGripper, check_gripper_type
from restac_ros.nodes.subscriptions import UnknownTypeError

SECOND = 10**9


class Server:
    """An action server as its client sees it; answers when told to."""

    def __init__(self) -> None:
        self.ready = True
        self.goals: list[float] = []
        self.accepted: list[Future] = []
        self.results: list[Future] = []

    def server_is_ready(self) -> bool:
        return self.ready

    def send_goal_async(self, goal: float) -> Future:
        self.goals.append(goal)
        self.accepted.append(Future())
        return self.accepted[-1]

    def accept(self, accepted: bool = True) -> None:
        self.results.append(Future())
        self.accepted[-1].set_result(
            SimpleNamespace(accepted=accepted, get_result_async=lambda: self.results[-1])
        )
        self.run(self.accepted[-1])

    def finish(self, number: int = -1) -> None:
        self.results[number].set_result('done')
        self.run(self.results[number])

    @staticmethod
    def run(future: Future) -> None:
        """rclpy leaves callbacks to an executor unless there is none."""
        future._schedule_or_invoke_done_callbacks()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def gripper(server: Server) -> ActionGripper:
    return ActionGripper(server, lambda opening_m: opening_m, 0.002, 5 * SECOND)


def test_one_goal_at_a_time_and_then_the_newest(gripper: ActionGripper, server: Server) -> None:
    for tick, opening_m in enumerate((0.08, 0.06, 0.04)):
        gripper.command(opening_m, tick * 10_000_000)
    assert server.goals == [0.08]
    server.accept()
    gripper.command(0.03, SECOND)
    assert server.goals == [0.08]
    server.finish()
    gripper.command(0.02, 2 * SECOND)
    assert server.goals == [0.08, 0.02]
    assert gripper.sent == 2


def test_small_changes_are_not_sent(gripper: ActionGripper, server: Server) -> None:
    gripper.command(0.08, 0)
    server.accept()
    server.finish()
    gripper.command(0.0785, SECOND)
    assert server.goals == [0.08]
    gripper.command(0.077, SECOND)
    assert server.goals == [0.08, 0.077]


def test_a_silent_gripper_is_given_up_and_said(gripper: ActionGripper, server: Server) -> None:
    gripper.command(0.08, 0)
    server.accept()
    gripper.command(0.0, 5 * SECOND - 1)
    assert server.goals == [0.08]
    gripper.command(0.0, 5 * SECOND)
    assert server.goals == [0.08, 0.0]
    assert gripper.problem == 'the gripper has not answered for 5 s'
    server.finish(0)  # the answer to the first goal: the second is still under way
    gripper.command(0.05, 6 * SECOND)
    assert server.goals == [0.08, 0.0]


def test_no_server_and_refusal_are_said(gripper: ActionGripper, server: Server) -> None:
    server.ready = False
    for tick in range(3):
        gripper.command(0.08, tick)
    assert server.goals == []
    assert gripper.problem == 'the gripper is not commanded: its action has no server'
    server.ready = True
    gripper.command(0.08, SECOND)
    server.accept(accepted=False)
    assert gripper.problem == 'the gripper refuses a goal'
    gripper.command(0.04, SECOND)
    assert server.goals == [0.08, 0.04]
    server.accept()
    assert gripper.problem == ''


def test_types() -> None:
    check_gripper_type('')
    check_gripper_type('std_msgs/msg/Float64MultiArray')
    with pytest.raises(UnknownTypeError, match="'std_msgs/msg/String', expected one of"):
        check_gripper_type('std_msgs/msg/String')
