"""A worker that dies of a bug: the node leaves the active state, says so, and can be activated again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn

from restac_ros.bench.ros_domain import lock_domain
from restac_ros.installation import GraphError, package_prefix
from restac_ros.nodes.policy import policy_node
from restac_ros.nodes.policy.policy_node import PolicyNode
from restac_ros.runtime.act_loop import ActLoop

SPINS = 2000


@pytest.fixture
def node(ros_domain: int, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PolicyNode]:
    """A policy node whose network is never called, where no node of another test can take it for a twin."""
    try:
        package_prefix()
    except GraphError as error:
        pytest.skip(str(error))
    contract = repository / 'config' / 'contract.yaml'
    monkeypatch.setattr(PolicyNode, '_load', lambda self, checkpoint, contract: _silent_policy(contract))
    monkeypatch.setattr(policy_node, 'checkpoint_fingerprint', lambda path: 'none')
    arguments = ['--ros-args', '-p', f'contract:={contract}', '-p', 'checkpoint:=/any', '-p', 'prompt:=push']
    rclpy.init(args=arguments, domain_id=lock_domain())
    made = PolicyNode()
    yield made
    made.close()
    made.destroy_node()
    rclpy.shutdown()


def _silent_policy(contract: object) -> SimpleNamespace:
    return SimpleNamespace(
        contract=contract,
        notes=[],
        prompt='push',
        arithmetic='float32',
        warm_up=lambda: None,
        uses_touch=True,
        tactile_stream='gelsight_left',
        camera_streams=('main', 'handeye', 'side'),
    )


def spin_until(node: PolicyNode, condition: Callable[[], bool]) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    for _ in range(SPINS):
        if condition():
            break
        executor.spin_once(timeout_sec=0.02)
    executor.remove_node(node)
    assert condition()


def test_a_dead_worker_deactivates_the_node_which_can_be_activated_again(
    node: PolicyNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def bug(self: ActLoop) -> None:
        raise ZeroDivisionError('of course')

    monkeypatch.setattr(ActLoop, '_step', bug)
    node.trigger_configure()
    node.trigger_activate()
    assert node.phase == 'active'
    spin_until(node, lambda: node.phase == 'inactive')
    assert 'act failed: unexpected ZeroDivisionError: of course' in node.problem
    assert 'Traceback' in capsys.readouterr().err
    monkeypatch.undo()
    node.trigger_activate()
    assert (node.phase, node.problem) == ('active', '')
    spin_until(node, lambda: node.summarise()['held'] > 3)
    assert node.phase == 'active'


def test_a_transition_that_does_not_lead_out_of_the_present_state_is_refused_and_the_node_lives(
    node: PolicyNode, capfd: pytest.CaptureFixture
) -> None:
    assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
    assert (
        'cannot activate: the node is unconfigured; expected configure or shutdown' in capfd.readouterr().err
    )
    caller = rclpy.create_node('caller')
    client = caller.create_client(ChangeState, '/policy_node/change_state')
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    executor = SingleThreadedExecutor()
    executor.add_node(caller)

    def answered() -> bool:
        executor.spin_once(timeout_sec=0)
        return answer.done()

    assert client.wait_for_service(30.0)
    answer = client.call_async(request)
    spin_until(node, answered)
    caller.destroy_node()
    assert not answer.result().success
    assert 'cannot deactivate: the node is unconfigured' in capfd.readouterr().err
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.phase == 'inactive'


def test_an_exception_while_configuring_is_told_and_leaves_the_node_unconfigured(
    node: PolicyNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(PolicyNode, '_load', lambda self, checkpoint, contract: 1 / 0)
    node.trigger_configure()
    assert node.phase == 'unconfigured'
    assert 'cannot configure: unexpected ZeroDivisionError' in node.problem
    assert 'Traceback' in capsys.readouterr().err
