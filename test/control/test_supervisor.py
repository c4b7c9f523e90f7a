"""The supervisor's state machine, one fault at a time."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restac_ros.control.supervisor import (
    LATCHED,
    Fault,
    Health,
    Phase,
    Reason,
    Supervision,
    SupervisorConfig,
    supervise,
)

MS = 1_000_000
CONFIG = SupervisorConfig(
    max_age_ns={'observation': 500 * MS, 'tactile': 400 * MS}, watch_robot_mode=True, deadman=True
)
WELL = Health(
    now_ns=1000 * MS,
    plan_end_ns=2000 * MS,
    ages_ns={'observation': 100 * MS, 'tactile': 150 * MS},
    robot_mode=2,
    deadman_pressed=True,
    deadman_age_ns=20 * MS,
)
MOVING = Supervision(Phase.MOVING, commanded=True)

# What to change in WELL, the fault it is, and a part of the reason given.
FAULTS = [
    ({'plan_end_ns': None}, Fault.NO_CHUNK, 'waiting'),
    ({'plan_end_ns': 1000 * MS}, Fault.EXHAUSTED, 'due 0 ms ago'),
    (
        {'ages_ns': {'observation': 501 * MS, 'tactile': 0}},
        Fault.STALE,
        'is 501 ms old, at most 500',
    ),
    ({'ages_ns': {'observation': 0}}, Fault.STALE, 'nothing received from tactile'),
    ({'robot_mode': 4}, Fault.ROBOT_MODE, 'reflex, expected move'),
    ({'robot_mode': None}, Fault.ROBOT_MODE, 'unknown (None)'),
    ({'robot_mode': 99}, Fault.ROBOT_MODE, 'unknown (99)'),
    ({'deadman_pressed': False}, Fault.DEADMAN, 'not pressed'),
    ({'deadman_age_ns': None}, Fault.DEADMAN, 'nothing received'),
    ({'deadman_age_ns': 201 * MS}, Fault.DEADMAN, 'no message for 201 ms'),
    ({'rivals': ('/teleop',)}, Fault.SECOND_PUBLISHER, 'come from /teleop, too'),
    ({'reported': (Reason(Fault.MODEL, 'NaN'),)}, Fault.MODEL, 'NaN'),
    ({'reported': (Reason(Fault.HALT, 'by hand'),)}, Fault.HALT, 'by hand'),
    ({'reported': (Reason(Fault.CLOCK_JUMP, '3 s'),)}, Fault.CLOCK_JUMP, '3 s'),
]


def test_all_well_moves():
    state = supervise(CONFIG, Supervision(), WELL)
    assert state.phase is Phase.MOVING
    assert state.commanded
    assert state.reasons == ()
    assert state.since_ns == WELL.now_ns


@pytest.mark.parametrize(('change', 'fault', 'detail'), FAULTS)
def test_each_fault_holds_and_says_why(change: dict, fault: Fault, detail: str):
    state = supervise(CONFIG, MOVING, replace(WELL, **change))
    assert state.phase is (Phase.HALTED if fault in LATCHED else Phase.HOLDING)
    assert [reason.fault for reason in state.cause] == [fault]
    assert detail in str(state.cause[0])


@pytest.mark.parametrize(('change', 'fault', 'detail'), FAULTS)
def test_what_is_over_is_over_unless_latched(change: dict, fault: Fault, detail: str):
    held = supervise(CONFIG, MOVING, replace(WELL, **change))
    after = supervise(CONFIG, held, replace(WELL, now_ns=1010 * MS))
    if fault not in LATCHED:
        assert after.phase is Phase.MOVING
        return
    assert after.phase is Phase.HALTED
    assert after.reasons[0].fault is fault
    assert detail in after.reasons[0].detail
    assert after.since_ns == WELL.now_ns
    resumed, refusal = after.resume(1020 * MS)
    assert refusal is None
    assert (resumed.phase, resumed.latched, resumed.since_ns) == (Phase.HOLDING, (), 1020 * MS)
    assert supervise(CONFIG, resumed, replace(WELL, now_ns=1030 * MS)).phase is Phase.MOVING


@pytest.mark.parametrize(
    ('change', 'detail'), [({'robot_mode': 5}, 'user stopped'), ({'rivals': ('/a', '/b')}, '/a, /b')]
)
def test_no_resume_while_the_cause_stands(change: dict, detail: str):
    halted = supervise(CONFIG, MOVING, replace(WELL, **change))
    same, refusal = halted.resume(1020 * MS)
    assert same is halted
    assert 'still wrong' in refusal
    assert detail in refusal


@pytest.mark.parametrize('phase', [Phase.IDLE, Phase.MOVING, Phase.HOLDING])
def test_resume_needs_a_halt(phase: Phase):
    state = Supervision(phase)
    same, refusal = state.resume(0)
    assert same is state
    assert refusal == f'nothing to resume: the streamer is {phase}'


@pytest.mark.parametrize(('change', 'fault', 'detail'), FAULTS)
def test_before_the_first_command_start_up_conditions_only_delay(change: dict, fault: Fault, detail: str):
    state = supervise(CONFIG, Supervision(), replace(WELL, **change))
    delays = fault not in LATCHED or fault in (
        Fault.ROBOT_MODE,
        Fault.SECOND_PUBLISHER,
        Fault.SECOND_POLICY,
    )
    assert state.phase is (Phase.IDLE if delays else Phase.HALTED)
    assert not state.commanded
    if not delays:
        assert state.resume(0)[0].phase is Phase.IDLE


def test_several_reasons_keep_their_order_and_first_detail():
    first = replace(WELL, reported=(Reason(Fault.MODEL, 'chunk 3'),), deadman_pressed=False)
    state = supervise(CONFIG, MOVING, first)
    state = supervise(CONFIG, state, replace(WELL, reported=(Reason(Fault.MODEL, 'chunk 4'),), robot_mode=4))
    assert [str(reason) for reason in state.latched] == [
        'faulty chunk: chunk 3',
        'robot mode: reflex, expected move',
    ]
    assert [reason.fault for reason in state.cause] == [Fault.MODEL, Fault.DEADMAN]


def test_what_is_not_watched_does_not_matter():
    bare = Health(now_ns=0, plan_end_ns=1)
    assert supervise(SupervisorConfig(), Supervision(), bare).phase is Phase.MOVING


healths = st.builds(
    Health,
    now_ns=st.just(1000 * MS),
    plan_end_ns=st.none() | st.integers(900 * MS, 1100 * MS),
    ages_ns=st.dictionaries(st.sampled_from(['observation', 'tactile']), st.integers(0, 600 * MS)),
    robot_mode=st.none() | st.integers(0, 6),
    deadman_pressed=st.booleans(),
    deadman_age_ns=st.none() | st.integers(0, 300 * MS),
    rivals=st.sampled_from([(), ('/a',)]),
    reported=st.lists(st.builds(Reason, st.sampled_from(Fault), st.just('x')), max_size=2).map(tuple),
)


@given(st.lists(healths | st.just(WELL) | st.just('resume'), max_size=30))
def test_any_history(events: list):
    """It never moves with something wrong, a latch only `resume` takes off, and all well moves again."""
    state = Supervision()
    for event in events:
        if event == 'resume':
            state, refusal = state.resume(1000 * MS)
            assert (refusal is None) == (state.latched == () and state.phase is not Phase.MOVING) or refusal
            continue
        before, state = state, supervise(CONFIG, state, event)
        assert set(before.latched) <= set(state.latched)
        assert (state.phase is Phase.HALTED) == bool(state.latched)
        if state.phase is Phase.MOVING:
            assert not state.reasons
            assert not event.reported
            assert event.deadman_pressed
            assert event.robot_mode == 2
        else:
            assert state.reasons or event.reported
        if event == WELL:
            assert state.phase is (Phase.HALTED if before.latched else Phase.MOVING)
