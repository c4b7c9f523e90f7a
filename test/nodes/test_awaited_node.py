"""A node that another one waits for: asked until it is active, and again when an answer is lost."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')

from lifecycle_msgs.msg import State
from rclpy.task import Future

from restac_ros.nodes.awaited_node import AwaitedNode


class Asked:
    """Stands in for a node, its timer and a client, whose answers the test gives."""

    def __init__(self) -> None:
        self.answers: list[Future] = []
        self.forgotten: list[Future] = []
        self.ready: list[bool] = []
        self.cancelled: list[bool] = []
        client = SimpleNamespace(
            service_is_ready=lambda: True,
            call_async=self._call,
            remove_pending_request=self.forgotten.append,
        )
        timer = SimpleNamespace(cancel=lambda: self.cancelled.append(True))
        self.node = SimpleNamespace(create_client=lambda *_: client, create_timer=self._keep(timer))
        AwaitedNode(self.node, None, 'policy_node', lambda: self.ready.append(True))

    def answer(self, state: int) -> None:
        self.answers[-1].set_result(SimpleNamespace(current_state=SimpleNamespace(id=state)))
        self.tick()

    def _keep(self, timer: SimpleNamespace):
        def create_timer(period_s: float, callback, clock: object) -> SimpleNamespace:
            self.tick = callback
            return timer

        return create_timer

    def _call(self, request: object) -> Future:
        self.answers.append(Future())
        return self.answers[-1]


def test_it_is_asked_until_it_is_active() -> None:
    asked = Asked()
    asked.tick()
    asked.answer(State.PRIMARY_STATE_INACTIVE)
    assert not asked.ready
    asked.tick()
    asked.answer(State.PRIMARY_STATE_ACTIVE)
    assert (len(asked.answers), asked.ready, asked.cancelled) == (2, [True], [True])
    assert asked.forgotten == []


def test_it_is_asked_again_when_an_answer_is_lost() -> None:
    """A server drops its answer to a client that it has not discovered: the recorder waited for ever."""
    asked = Asked()
    for _ in range(20):
        asked.tick()
    assert len(asked.answers) > 1
    assert asked.forgotten == asked.answers[:-1]
    asked.answer(State.PRIMARY_STATE_ACTIVE)
    assert asked.ready == [True]
