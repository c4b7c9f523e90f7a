"""The planner's loop: what it asks, what is acted by, and what becomes of chunks meanwhile."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from node_process import poll_until
from restac_ros.contract.load import load_contract
from restac_ros.framing.frame import StreamStatus
from restac_ros.model.checkpoint.provenance import Subtasks
from restac_ros.policy.errors import NonFiniteError
from restac_ros.policy.prompting import Task
from restac_ros.policy.subtask_planner import SaidSubtask
from restac_ros.policy.tokenizer import TokenizerError
from restac_ros.runtime.clocks import Clocks
from restac_ros.runtime.plan_loop import PlanLoop
from restac_ros.runtime.runtime_products import LoopContext, Outputs, RunCounts
from restac_ros.runtime.subtask_rules import SubtaskRules, SubtaskSource

MS = 10**6
RULES = SubtaskRules(1000 * MS, 2000 * MS, 0, 5000 * MS)


class ScriptedPlanner:
    """Answers with what the test puts; a question lasts until then, asking before each 'token'."""

    def __init__(self, prompt: str) -> None:
        self.taught = Subtasks(says=True, acts=True, prompt=prompt)
        self.answers: queue.Queue = queue.Queue()
        self.asked: list[str] = []
        self.dropped = 0

    def ask(self, images, state, task, stamp_ns, before_token) -> SaidSubtask | None:
        self.asked.append(task)
        while True:
            if not before_token():
                self.dropped += 1
                return None
            try:
                answer = self.answers.get(timeout=0.01)
            except queue.Empty:
                continue
            if isinstance(answer, Exception):
                raise answer
            text, ended = answer if isinstance(answer, tuple) else (answer, True)
            return SaidSubtask(text, task, stamp_ns, -0.25, ended, 4)


class PlanRig:
    """A loop, a clock that moves only when told, and what came out."""

    def __init__(self, contract, rules: SubtaskRules = RULES, prompt: str = 'subtask') -> None:
        self.now_ns, self.revision, self.within, self.valid = 10**18, 0, [], True
        self.least_at_adoption: int | None = None
        self.unusable = ''  # text that no prompt can hold
        self.compiling = threading.Event()
        self.compiling.set()
        self.planner = ScriptedPlanner(prompt)
        self.prompts, self.applied, self.failed, self.preparing = [], [], [], []
        cameras = tuple(contract.by_role('camera'))
        self.policy = SimpleNamespace(
            planner=self.planner,
            contract=contract,
            camera_streams=cameras,
            uses_touch=False,
            prepare_task=self._prepare,
            adopt_task=self._adopt,
        )
        outputs = Outputs(
            *(lambda _: None,) * 3, self.prompts.append, self.failed.append, self.applied.append
        )
        clocks = Clocks(self.now, self.now, self.now, 0.002)
        context = LoopContext(
            self.policy, SimpleNamespace(frame=self._frame), None, clocks, outputs, None, RunCounts()
        )
        self.counts = context.counts
        self.loop = PlanLoop(context, rules)

    def now(self) -> int:
        if self.revision and self.least_at_adoption is None:  # the loop dates what it acts by from now on
            self.least_at_adoption = self.loop.least_revision
        return self.now_ns

    def until(self, condition: Callable[[], object]) -> None:
        poll_until(
            condition, lambda: f'{self.planner.asked}, {self.applied}, {self.loop.reasons}, {self.failed}'
        )

    def texts(self) -> list[str]:
        return [one.text for one in self.applied]

    def _prepare(self, text: str, within: str | None) -> Task:
        self.preparing.append(text)
        self.compiling.wait(600)  # until the test lets it go
        if text == self.unusable:
            raise TokenizerError('300 tokens, expected at most 200: say it shorter')
        self.within.append(within)
        return Task(text, None, within=within)

    def _adopt(self, task: Task) -> Task:
        self.revision += 1
        return task._replace(revision=self.revision)

    def _frame(self, streams: list[str]) -> SimpleNamespace:
        time_ns = self.now_ns
        status = StreamStatus(
            time_ns, time_ns, 0, valid=self.valid, reason='' if self.valid else 'stale: old'
        )
        images = {name: np.zeros((1, 1, 3), np.uint8) for name in self.policy.camera_streams}
        return SimpleNamespace(images=images, state=np.zeros(7), streams=dict.fromkeys(streams, status))


@pytest.fixture
def make_rig(contract) -> Iterator[Callable[..., PlanRig]]:
    rigs = []

    def make(**changes: object) -> PlanRig:
        rigs.append(PlanRig(contract, **changes))
        rigs[-1].loop.worker.start()
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.compiling.set()
        rig.loop.worker.ask_to_stop()
        rig.loop.worker.join()
        assert rig.failed == []


@pytest.fixture
def contract(repository):

    return load_contract(repository / 'config' / 'contract.yaml')


def test_no_chunk_before_the_first_subtask_and_its_revision_with_it(make_rig: Callable[..., PlanRig]) -> None:
    rig = make_rig()
    assert rig.loop.reasons['subtask'].kind == 'pending'
    rig.loop.set_task('insert the plug')
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.applied)
    (applied,) = rig.applied
    assert (applied.text, applied.task, applied.revision) == ('grasp the plug', 'insert the plug', 1)
    assert (applied.source, applied.ended, applied.mean_log_probability) == (
        SubtaskSource.PLANNER,
        True,
        -0.25,
    )
    assert rig.loop.reasons == {}
    assert rig.least_at_adoption == 1, 'a prefix of the bare task may be ready already'
    assert rig.within == [None]


def test_a_network_that_is_shown_both_gets_the_task_beside_the_subtask(
    make_rig: Callable[..., PlanRig],
) -> None:
    rig = make_rig(prompt='joint')
    rig.loop.set_task('insert the plug')
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.applied)
    assert rig.within == ['insert the plug']


def test_it_asks_again_when_the_period_is_over_or_something_happens(make_rig: Callable[..., PlanRig]) -> None:
    rig = make_rig()
    rig.loop.set_task('insert the plug')
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.applied)
    assert len(rig.planner.asked) == 1  # the clock stands still
    rig.now_ns += RULES.period_ns
    rig.until(lambda: len(rig.planner.asked) == 2)
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.counts.answers == {'apply': 1, 'keep': 1})
    rig.loop.ask_now()
    rig.until(lambda: len(rig.planner.asked) == 3)
    rig.planner.answers.put('insert it')
    rig.until(lambda: rig.texts() == ['grasp the plug', 'insert it'])
    assert rig.loop.least_revision == 1  # chunks of the one before may end


def test_it_asks_at_once_when_a_motion_has_ended(make_rig: Callable[..., PlanRig]) -> None:
    rig = make_rig(rules=replace(RULES, still_ns=200 * MS))
    rig.loop.set_task('insert the plug')
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.applied)
    assert len(rig.planner.asked) == 1  # the clock stands still, so that no period ends
    state = np.array([0.5, 0.0, 0.1, np.pi, 0.0, 0.0, 0.04])
    for step in range(10):
        rig.loop.note_state(state + min(step, 4) * 0.01, rig.now_ns + step * 50 * MS)
    rig.until(lambda: len(rig.planner.asked) == 2)


def test_the_operator_comes_at_once_and_stays_until_released(make_rig: Callable[..., PlanRig]) -> None:
    rig = make_rig()
    rig.loop.set_task('insert the plug')
    rig.until(lambda: rig.planner.asked)  # a question is under way, and will not be answered
    rig.loop.override('stop and wait')
    rig.until(lambda: rig.texts() == ['stop and wait'])
    assert rig.planner.dropped == 1
    assert rig.applied[0].source == SubtaskSource.OPERATOR
    assert rig.loop.least_revision == rig.applied[0].revision == 1
    rig.now_ns += 100 * RULES.period_ns
    assert rig.loop.reasons == {}  # nothing is asked meanwhile, and that is no fault
    assert len(rig.planner.asked) == 1
    rig.loop.override('')
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.texts() == ['stop and wait', 'grasp the plug'])


def acting(rig: PlanRig) -> PlanRig:
    """The same, acting by the planner's first subtask; another text cannot be acted by."""
    rig.unusable = 'on and on'
    rig.loop.set_task('insert the plug')
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.applied)
    return rig


def test_an_operators_subtask_that_nobody_can_act_by_holds_until_another_or_its_release(
    make_rig: Callable[..., PlanRig],
) -> None:
    rig = acting(make_rig())
    for way_out, texts in (('stop and wait', ['grasp the plug', 'stop and wait']), ('', None)):
        rig.loop.override(rig.unusable)
        rig.until(lambda: rig.loop.reasons)
        complaint = rig.loop.reasons['subtask']
        assert (complaint.kind, '300 tokens' in complaint.found) == ('refused', True)
        assert "override 'on and on'" in complaint.found
        rig.loop.override(way_out)
        rig.until(lambda: rig.loop.reasons == {})
        rig.until(lambda texts=texts: texts is None or rig.texts() == texts)


def test_what_nobody_can_act_by_holds_until_what_replaces_it_is_ready(
    make_rig: Callable[..., PlanRig],
) -> None:
    """Neither another task nor the compilation of another subtask lets the one before it be acted by."""
    rig = acting(make_rig())
    rig.loop.override(rig.unusable)
    rig.until(lambda: rig.loop.reasons)
    rig.compiling.clear()
    rig.loop.set_task('pack the box')
    rig.loop.override('stop and wait')
    rig.until(lambda: rig.preparing[-1] == 'stop and wait')
    assert rig.loop.reasons['subtask'].kind == 'refused'
    rig.compiling.set()
    rig.until(lambda: rig.loop.reasons == {})
    assert rig.texts() == ['grasp the plug', 'stop and wait']


def test_without_a_task_the_last_subtask_stays(make_rig: Callable[..., PlanRig]) -> None:
    rig = make_rig()
    rig.loop.set_task('insert the plug')
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.applied)
    rig.loop.set_task('')
    rig.now_ns += 100 * RULES.period_ns
    rig.until(lambda: rig.loop.reasons == {})
    assert rig.texts() == ['grasp the plug']
    rig.loop.set_task('pack the box')
    rig.until(lambda: rig.planner.asked[-1] == 'pack the box')


@pytest.mark.parametrize(
    ('answer', 'why'), [(NonFiniteError('planner: NaN'), 'NaN'), (('grasp the', False), 'cut off')]
)
def test_answers_that_are_not_good_keep_the_last_subtask_then_hold(
    answer: object, why: str, make_rig: Callable[..., PlanRig]
) -> None:
    rig = make_rig()
    rig.loop.set_task('insert the plug')
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.applied)
    for asked in range(2, 8):
        rig.now_ns += RULES.period_ns
        rig.planner.answers.put(answer)
        rig.until(lambda asked=asked: len(rig.planner.asked) >= asked)
        assert rig.texts() == ['grasp the plug']
        if asked <= 6:
            assert rig.loop.reasons == {}
    rig.until(lambda: 'subtask' in rig.loop.reasons and why in rig.loop.reasons['subtask'].found)
    rig.now_ns += RULES.period_ns
    rig.planner.answers.put('insert it')
    rig.until(lambda: rig.loop.reasons == {})


def test_invalid_streams_are_not_asked_about(make_rig: Callable[..., PlanRig]) -> None:
    rig = make_rig()
    rig.valid = False
    rig.loop.set_task('insert the plug')
    rig.now_ns += 10 * RULES.period_ns
    assert rig.planner.asked == []
    rig.valid = True
    rig.now_ns += RULES.period_ns
    rig.until(lambda: rig.planner.asked)


def test_a_subtask_that_is_being_compiled_changes_nothing_until_it_is_ready(
    make_rig: Callable[..., PlanRig],
) -> None:
    rig = make_rig()
    rig.compiling.clear()
    rig.loop.set_task('insert the plug')
    rig.planner.answers.put('grasp the plug')
    rig.until(lambda: rig.counts.answers)
    assert rig.applied == []
    assert rig.loop.reasons['subtask'].kind == 'pending'
    rig.compiling.set()
    rig.until(lambda: rig.applied)
