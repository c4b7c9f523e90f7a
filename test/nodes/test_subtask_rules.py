"""Which answers of the network become the subtask that is acted by."""

from dataclasses import replace

import pytest

from restac_ros.policy.subtask_planner import SaidSubtask
from restac_ros.runtime.subtask_rules import (
    AnswerVerdict,
    Applied,
    SubtaskRules,
    SubtaskSource,
    judge,
    normal_form,
)

MS = 10**6
NOW_NS, PACE_NS = 1_760_000_000 * 10**9, 50_000 * MS
RULES = SubtaskRules(1000 * MS, 2000 * MS, 500 * MS, 5000 * MS)
SAID = SaidSubtask('grasp the plug', 'insert the plug', NOW_NS - 300 * MS, -0.1, ended=True, num_tokens=5)
APPLIED = Applied('find the plug', 'insert the plug', SubtaskSource.PLANNER, PACE_NS - 2000 * MS)


def verdict(
    answer: SaidSubtask = SAID, applied: Applied | None = APPLIED, rules: SubtaskRules = RULES
) -> tuple[AnswerVerdict, str]:
    judged = judge(answer, applied, 'insert the plug', rules, NOW_NS, PACE_NS)
    return judged.verdict, judged.reason


def test_a_good_answer_is_applied_with_and_without_one_before() -> None:
    assert verdict() == (AnswerVerdict.APPLY, '')
    assert verdict(applied=None) == (AnswerVerdict.APPLY, '')


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'ended': False}, 'cut off after 5 tokens'),
        ({'text': ' . '}, 'is empty'),
        ({'stamp_ns': NOW_NS - 2001 * MS}, '2001 ms old, limit 2000 ms'),
        ({'task': 'pack the box'}, "answers task 'pack the box'"),
    ],
)
def test_an_answer_that_is_not_good_is_refused_with_a_reason(changes: dict, reason: str) -> None:
    found, reason_given = verdict(replace(SAID, **changes))
    assert found is AnswerVerdict.REFUSE
    assert reason in reason_given


def test_only_what_is_on_the_list_is_taken_where_there_is_one() -> None:
    listed = replace(RULES, allowed=('Grasp the plug.', 'find the plug'))
    assert verdict(rules=listed)[0] is AnswerVerdict.APPLY
    found, reason = verdict(replace(SAID, text='dance'), rules=listed)
    assert found is AnswerVerdict.REFUSE
    assert 'not on the list' in reason


def test_the_same_in_other_letters_changes_nothing() -> None:
    assert normal_form('  Find_the  plug. ') == 'find the plug'
    assert verdict(replace(SAID, text='Find the plug.'))[0] is AnswerVerdict.KEEP
    other_task = APPLIED._replace(task='pack the box')
    assert verdict(replace(SAID, text='find the plug'), other_task)[0] is AnswerVerdict.APPLY


def test_a_subtask_is_held_for_its_least_time() -> None:
    young = APPLIED._replace(since_ns=PACE_NS - 499 * MS)
    found, reason = verdict(applied=young)
    assert found is AnswerVerdict.KEEP
    assert '499 of 500 ms' in reason
    assert verdict(applied=young._replace(since_ns=PACE_NS - 500 * MS))[0] is AnswerVerdict.APPLY


def test_an_operators_subtask_outranks_every_answer() -> None:
    found, reason = verdict(applied=APPLIED._replace(source=SubtaskSource.OPERATOR))
    assert found is AnswerVerdict.KEEP
    assert "operator has set 'find the plug'" in reason
