"""Asks the policy's network what to do next, and lets the chunks follow: a fourth loop beside the three.

A question is many short calls on the one device; before each, a tactile frame under way comes first. What the
answer's prompt needs is compiled in this loop's thread: the other loops continue with the subtask before.
"""

import math
from typing import NamedTuple

import numpy as np

from restac_ros.framing.frame import Frame
from restac_ros.policy.errors import CALL_REFUSED
from restac_ros.policy.prompts import PromptError
from restac_ros.policy.subtask_planner import SaidSubtask
from restac_ros.policy.tokenizer import TokenizerError
from restac_ros.runtime.complaints import Complaint
from restac_ros.runtime.holding import Reasons, invalid_streams, pending
from restac_ros.runtime.motion_end import MotionEnd
from restac_ros.runtime.prefix_loop import TOUCH_FIRST_S
from restac_ros.runtime.runtime_products import AppliedSubtask, LoopContext
from restac_ros.runtime.subtask_rules import AnswerVerdict, Applied, SubtaskRules, SubtaskSource, judge
from restac_ros.runtime.worker import Worker

_REFUSED = (*CALL_REFUSED, PromptError, TokenizerError)


class _Wanted(NamedTuple):
    """What people want; replaced as a whole. `operator` is sticky until it is None again."""

    task: str | None = None
    operator: str | None = None


class PlanLoop:
    """Keeps what is acted by.

    Without a task nothing is asked, and the last subtask stays. `set_task`, `override` and `ask_now` may be
    called from any thread.

    Attributes:
        least_revision: chunks of prefixes with earlier prompts must not be published: an operator has spoken,
            or no subtask was acted by before.
    """

    def __init__(self, context: LoopContext, rules: SubtaskRules) -> None:
        self.least_revision = 0
        self._context, self._rules, self._planner = context, rules, context.policy.planner
        self._wanted, self._done = _Wanted(), _Wanted()
        self._applied: Applied | None = None
        self._why = 'the first answer is not there yet'
        self._unusable: Complaint | None = None  # the operator's subtask of now
        self._asked_ns: int | None = None
        self._good_ns: int | None = None  # last good answer, or since when one is waited for
        contract, still_ns = context.policy.contract, rules.still_ns
        self._motion = MotionEnd(contract, still_ns) if still_ns else None
        self.worker = Worker('planner', self._step, context.outputs.failed, context.waiting)

    def set_task(self, text: str) -> None:
        """Plan for another task from now on; an empty one ends planning."""
        self._wanted = self._wanted._replace(task=text.strip() or None)
        self.worker.wake.set()

    def override(self, text: str) -> None:
        """Let the operator's subtask be acted by at once and until it is released, by an empty one."""
        self._wanted = self._wanted._replace(operator=text.strip() or None)
        self.worker.wake.set()

    def ask_now(self) -> None:
        """Ask before the period is over: something has happened. While an answer is awaited, it counts."""
        self._asked_ns = None
        self.worker.wake.set()

    def note_state(self, state: np.ndarray, time_ns: int) -> None:
        """Ask at once when a motion ends with a state [7]: its subtask may be done. Of one thread."""
        if self._motion is not None and self._motion.ends(state, time_ns):
            self.ask_now()

    @property
    def reasons(self) -> Reasons:
        """Why no chunk can be planned: nothing to act by, or no good answer for too long.

        What the operator says and nobody can act by holds, too: what was before may be what shall end.
        """
        if unusable := self._unusable:
            return {'subtask': unusable}
        if self._applied is None:
            return pending('subtask')
        if self._wanted.task is None or self._wanted.operator is not None or self._good_ns is None:
            return {}
        silent_ns, limit_ns = self._context.clocks.pace_ns() - self._good_ns, self._rules.max_silence_ns
        if silent_ns <= limit_ns:
            return {}
        found = f'no subtask for {silent_ns / 1e9:.1f} s, limit {limit_ns / 1e9:.1f} s: the last {self._why}'
        return {'subtask': Complaint('stale', found, 'set one by hand (`~/override`), or another task')}

    def _step(self) -> None:
        self._await_turn()
        wanted = self._wanted
        if self.worker.stopping:
            return
        if wanted != self._done:
            self._turn_to(wanted)
        elif wanted.task is not None and wanted.operator is None:
            self._asked_ns = self._context.clocks.pace_ns()
            self._ask(wanted.task)

    def _await_turn(self) -> None:
        """Wait until people want something else, or, while there is a task, until a question is due."""
        clocks = self._context.clocks
        while not self.worker.stopping and self._wanted == self._done:
            waits_ns: int | None = None
            if self._wanted.task is not None and self._wanted.operator is None:
                asked_ns = self._asked_ns
                waits_ns = 0 if asked_ns is None else asked_ns + self._rules.period_ns - clocks.pace_ns()
                if waits_ns <= 0:
                    return
            self.worker.wait(None if waits_ns is None else clocks.wait_s(waits_ns))

    def _turn_to(self, wanted: _Wanted) -> None:
        """Follow people: the operator's words at once, a new task by a question at once."""
        before, self._done = self._done, wanted
        if wanted.operator is None:
            self._unusable = None
        self._asked_ns, self._good_ns = None, self._context.clocks.pace_ns()
        if wanted.operator is not None and wanted.operator != before.operator:
            self._adopt(wanted.operator, wanted.task or '', SubtaskSource.OPERATOR, None)
        elif wanted.operator is None and before.operator is not None and self._applied is not None:
            # Released: the network may change it from now on.
            self._applied = self._applied._replace(source=SubtaskSource.PLANNER)

    def _ask(self, task: str) -> None:
        frame = self._frame()
        if frame is None or frame.state is None:
            return
        stamp_ns = min(frame.streams[name].times_ns()[0] for name in frame.images)
        try:
            answer = self._planner.ask(frame.images, frame.state, task, stamp_ns, self._goes_on)
        except _REFUSED as error:
            self._why = f'question was refused: {error}'
            return
        if answer is None:  # people want something else
            return
        clocks = self._context.clocks
        judged = judge(answer, self._applied, task, self._rules, clocks.now_ns(), clocks.pace_ns())
        self._context.counts.count_answer(judged.verdict.name.lower())
        if judged.verdict is AnswerVerdict.REFUSE:
            self._why = f'answer {judged.reason}'
            return
        self._good_ns = clocks.pace_ns()
        if judged.verdict is AnswerVerdict.APPLY:
            self._adopt(answer.text, task, SubtaskSource.PLANNER, answer)

    def _frame(self) -> Frame | None:
        """Return the present images; None, with the reason kept, while a stream that is needed is invalid."""
        policy = self._context.policy
        contract = policy.contract
        frame = self._context.frames.frame([*policy.camera_streams, *contract.state_streams])
        faults = invalid_streams(contract, frame.streams, every=policy.uses_touch)
        if not faults and frame.state is not None and frame.images:
            return frame
        texts = [complaint.text for complaint in faults.values()] or ['no state or no image']
        self._why = f'question could not be asked: {"; ".join(texts)}'
        return None

    def _goes_on(self) -> bool:
        """Let a tactile frame under way come first; an outdated answer is dropped."""
        self._context.touch_idle.wait(TOUCH_FIRST_S)
        return not self.worker.stopping and self._wanted == self._done

    def _adopt(self, text: str, task: str, source: SubtaskSource, answer: SaidSubtask | None) -> None:
        """Act by a subtask from the next prefix on; what it needs is compiled here first."""
        context, shown = self._context, self._planner.taught.prompt == 'joint' and bool(task)
        try:
            prepared = context.policy.prepare_task(text, task if shown else None)
        except _REFUSED as error:
            self._why = f'subtask was refused: {error}'
            if source is SubtaskSource.OPERATOR:
                remedy = 'set another (`~/override`), or release it by an empty one'
                self._unusable = Complaint('refused', f'override {text[:60]!r}: {error}', remedy)
            return
        if self.worker.stopping:
            return
        adopted = context.policy.adopt_task(prepared)
        if source is SubtaskSource.OPERATOR or self._applied is None:
            self.least_revision = adopted.revision  # first: from the next line on there may be chunks
        self._unusable = None  # until then what was before it must not be acted by
        self._applied = Applied(text, task, source, context.clocks.pace_ns())
        context.outputs.prompt(adopted)
        context.outputs.subtask(
            AppliedSubtask(
                text=text,
                task=task,
                revision=adopted.revision,
                source=int(source),
                stamp_ns=answer.stamp_ns if answer else context.clocks.now_ns(),
                mean_log_probability=answer.mean_log_probability if answer else math.nan,
                ended=answer.ended if answer else True,
            )
        )
