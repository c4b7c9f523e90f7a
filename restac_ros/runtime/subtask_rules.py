"""Which of a network's answers become the subtask that is acted by: pure functions of what is known.

The planner never starts a motion, and never stops one: it changes what the next chunks are planned for.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from restac_ros.policy.subtask_planner import SaidSubtask
from restac_ros.runtime.clocks import age_ns


class SubtaskSource(IntEnum):
    """Source of the subtask that is acted by, as in Subtask.msg."""

    PLANNER = 0
    OPERATOR = 1


class Applied(NamedTuple):
    """What is acted by, and since when, by the clock of `since_ns`."""

    text: str
    task: str
    source: SubtaskSource
    since_ns: int


class AnswerVerdict(IntEnum):
    """What becomes of an answer."""

    APPLY = 0
    KEEP = 1  # a good answer that changes nothing, or not yet
    REFUSE = 2  # no good answer


class JudgedAnswer(NamedTuple):
    """A verdict, and why it is no application, in words."""

    verdict: AnswerVerdict
    reason: str = ''


@dataclass(frozen=True)
class SubtaskRules:
    """When answers are requested and accepted.

    Attributes:
        period_ns: between two questions.
        max_age_ns: oldest images that an answer may rest on when it is there.
        min_hold_ns: a subtask is acted by for so long before the network may change it.
        max_silence_ns: without a good answer for so long, no chunk is planned any more.
        allowed: the only subtasks that are accepted; empty: any.
        still_ns: a motion has ended when all has stood still for so long, and it is asked; 0: not watched.
    """

    period_ns: int
    max_age_ns: int
    min_hold_ns: int
    max_silence_ns: int
    allowed: tuple[str, ...] = ()
    still_ns: int = 0


def normal_form(text: str) -> str:
    """Return a text as subtasks are compared: case, spaces, underscores and a last full stop don't count."""
    return ' '.join(text.replace('_', ' ').lower().split()).rstrip('. ')


def judge(
    answer: SaidSubtask, applied: Applied | None, task: str, rules: SubtaskRules, now_ns: int, pace_ns: int
) -> JudgedAnswer:
    """Decide what becomes of an answer.

    Args:
        answer: of the network.
        applied: what is acted by now; None: nothing yet.
        task: the task of now.
        rules: in force.
        now_ns: time that the answer's stamp is compared with.
        pace_ns: time that `applied.since_ns` is compared with.
    """
    if fault := _fault(answer, task, rules, now_ns):
        return JudgedAnswer(AnswerVerdict.REFUSE, fault)
    if applied is not None and (reason := _kept(answer, applied, rules, pace_ns)):
        return JudgedAnswer(AnswerVerdict.KEEP, reason)
    return JudgedAnswer(AnswerVerdict.APPLY)


def _fault(answer: SaidSubtask, task: str, rules: SubtaskRules, now_ns: int) -> str:
    """Return why this is no good answer; empty: it is one."""
    found = normal_form(answer.text)
    if answer.task != task:
        return f'answers task {answer.task!r}, which is {task!r} by now'
    if not answer.ended:
        return f'was cut off after {answer.num_tokens} tokens: {answer.text[:60]!r}'
    if not found:
        return 'is empty'
    if (age := age_ns(answer.stamp_ns, now_ns)) > rules.max_age_ns:
        return f'rests on images {age / 1e6:.0f} ms old, limit {rules.max_age_ns / 1e6:.0f} ms'
    if rules.allowed and found not in map(normal_form, rules.allowed):
        return f'is {answer.text[:60]!r}, which is not on the list of subtasks'
    return ''


def _kept(answer: SaidSubtask, applied: Applied, rules: SubtaskRules, pace_ns: int) -> str:
    """Return why what is acted by stays, although the answer is good; empty: it does not."""
    if applied.source is SubtaskSource.OPERATOR:
        return f'waits: the operator has set {applied.text!r}'
    if (normal_form(applied.text), applied.task) == (normal_form(answer.text), answer.task):
        return 'is the subtask of now'
    if (age := pace_ns - applied.since_ns) < rules.min_hold_ns:
        return f'waits: the subtask of now is {age / 1e6:.0f} of {rules.min_hold_ns / 1e6:.0f} ms old'
    return ''
