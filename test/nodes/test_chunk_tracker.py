"""Which chunk the next one continues, and how late it comes: from stamps alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.control.chunk import Chunk, build_chunk
from restac_ros.control.streaming import ChunkUse
from restac_ros.runtime.chunk_tracker import ChunkTracker

MS = 10**6
START, STEP = 10**18, 50 * MS
HORIZON = 16
STATE = np.array([0.5, 0.0, 0.3, 3.1, 0.0, -0.4, 0.04])
VELOCITY = np.array([0.002, 0.0, -0.001, 0.0, 0.0, 0.01])  # per step
QUATERNION = (0.0, 0.0, 0.0, 1.0)


def chunk(number: int, stamp_ns: int) -> Chunk:
    """A straight motion from STATE; the rotation is a vector, as the anchor's then is easy to write down."""
    return build_chunk(
        chunk_id=number,
        stamp_ns=stamp_ns,
        frame_id='base',
        anchor_position_m=STATE[:3],
        anchor_quaternion_xyzw=QUATERNION,
        anchor_state=[*STATE[:3], 0.0, 0.0, 0.0],
        anchor_opening_m=0.04,
        convention='rotvec',
        composition='elementwise',
        step_ns=STEP,
        horizon=HORIZON,
        delta_pose=np.outer(np.arange(1, HORIZON + 1), VELOCITY).ravel(),
        opening_m=np.full(HORIZON, 0.04),
        valid_until_ns=stamp_ns + 500 * MS,
    )


def at(steps: float) -> np.ndarray:
    """The state when so many steps of the chunk have been executed."""
    state = np.array([*STATE[:3], 0.0, 0.0, 0.0, 0.04])
    state[:6] += VELOCITY * steps
    return state


def use(stamp_ns: int, late_ns: int = 120 * MS) -> ChunkUse:
    return ChunkUse(stamp_ns + late_ns, True, stamp_ns, stamp_ns + late_ns)


def make(max_delay: int = HORIZON - 1, **rules: int) -> ChunkTracker:
    encoder = SimpleNamespace(horizon=HORIZON, max_delay=max_delay)
    return ChunkTracker(encoder, **{'overlap_steps': 8, 'initial_delay_steps': 2, **rules})


def running() -> ChunkTracker:
    """One chunk is published and executed."""
    tracker = make()
    tracker.published(chunk(0, START))
    tracker.note_use(use(START))
    return tracker


def test_a_chunk_continues_the_one_that_is_executed() -> None:
    tracker = running()
    found = tracker.next(START + 4 * STEP, at(3.5))  # the arm lags half a step behind
    rows = np.arange(1, HORIZON + 1)[:8] + 0.5
    np.testing.assert_allclose(found.delta_pose[:8], rows[:, None] * VELOCITY, atol=1e-12)
    assert found.delay_steps == 2
    assert found.weights[:2].tolist() == [1.0, 1.0]
    assert np.count_nonzero(found.weights) == 8
    assert np.all(np.diff(found.weights[2:8]) < 0)
    assert tracker.summary() == {
        'continued': 1, 'planned_freely': 0, 'delay_steps': 2, 'delays_too_long': 0,
    }  # fmt: skip


def test_a_surprise_keeps_only_what_is_executed_anyway() -> None:
    found = running().next(START + 4 * STEP, at(4), surprised=True)
    assert found.weights.tolist() == [1.0, 1.0] + [0.0] * 14


def test_the_first_chunk_and_those_that_nobody_executes_are_planned_freely() -> None:
    tracker = make()
    assert tracker.next(START, at(0)) is None
    for number in range(5):
        tracker.published(chunk(number, START + number * 100 * MS))
        assert tracker.next(START + number * 100 * MS + 50 * MS, at(1)) is None
    assert tracker.summary()['planned_freely'] == 6


def test_after_a_hold_chunks_are_planned_freely_until_one_is_executed_again() -> None:
    tracker = running()
    tracker.note_use(ChunkUse(START + 200 * MS))
    assert tracker.next(START + 4 * STEP, at(4)) is None
    tracker.published(chunk(1, START + 5 * STEP))
    assert tracker.next(START + 6 * STEP, at(4)) is None
    before = tracker.summary()['delay_steps']
    for _ in range(3):
        tracker.note_use(use(START + 5 * STEP, late_ns=900 * MS))
    assert tracker.next(START + 7 * STEP, at(4)) is not None
    assert tracker.summary()['delay_steps'] == before, 'a start from standing is no delay'


def test_the_newest_chunk_is_continued_though_the_streamer_has_not_named_it_yet() -> None:
    tracker = running()
    tracker.published(chunk(1, START + 2 * STEP))
    found = tracker.next(START + 3 * STEP, at(1))
    np.testing.assert_allclose(
        found.delta_pose[0], VELOCITY, atol=1e-12
    )  # of chunk 1, one step after its start


def test_a_streamer_that_fell_silent_executes_nothing() -> None:
    tracker = running()
    for number in range(1, 4):
        stamp_ns = START + number * 2 * STEP
        assert tracker.next(stamp_ns, at(1)) is not None
        tracker.published(chunk(number, stamp_ns))
    assert tracker.next(START + 8 * STEP, at(1)) is None


def test_a_chunk_that_has_ended_is_not_continued() -> None:
    tracker = running()
    assert tracker.next(START + (HORIZON - 2) * STEP, at(14)) is not None
    assert tracker.next(START + (HORIZON - 1) * STEP, at(15)) is None


def delays(tracker: ChunkTracker, late_ms: list[int]) -> list[int]:
    """What is expected after each of these; each chunk joins the one before."""
    expected = []
    for number, late in enumerate(late_ms, start=1):
        stamp_ns = START + number * 1000 * MS
        tracker.published(chunk(number, stamp_ns))
        tracker.note_use(use(stamp_ns, late * MS))
        tracker.note_use(use(stamp_ns, late * MS))  # said twice, counted once
        expected.append(tracker.summary()['delay_steps'])
    return expected


def test_delays_are_seen_in_steps_without_the_warm_up_and_forgotten() -> None:
    tracker = running()
    assert delays(tracker, [700, 650]) == [2, 2], 'warm-up'
    assert delays(tracker, [60, 240, 60]) == [2, 5, 5]
    assert delays(tracker, [60] * 9)[-2:] == [5, 2]


def test_a_delay_beyond_what_the_policy_was_trained_for_is_cut_and_counted() -> None:
    tracker = make(max_delay=3, initial_delay_steps=5)
    tracker.published(chunk(0, START))
    tracker.note_use(use(START))
    found = tracker.next(START + STEP, at(1))
    assert found.delay_steps == 3
    assert found.weights[:3].tolist() == [1.0] * 3
    assert tracker.summary()['delays_too_long'] == 1


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just('publish'), st.integers(0, 300)),
            st.tuples(st.just('use'), st.integers(0, 400)),
            st.tuples(st.just('hold'), st.just(0)),
            st.tuples(st.just('plan'), st.integers(0, 300)),
        ),
        max_size=30,
    )
)
def test_no_sequence_gives_a_continuation_that_cannot_be(events: list[tuple[str, int]]) -> None:
    tracker, now_ns, stamps = make(), START, [START]
    moving = False
    for number, (event, ms) in enumerate(events):
        now_ns += ms * MS
        if event == 'publish':
            stamps.append(now_ns)
            tracker.published(chunk(number, now_ns))
        elif event == 'use':
            moving = True
            tracker.note_use(use(stamps[-1], ms * MS))
        elif event == 'hold':
            moving = False
            tracker.note_use(ChunkUse(now_ns))
        elif (found := tracker.next(now_ns, at(0))) is not None:
            assert moving
            assert np.isfinite(found.delta_pose).all()
            assert 0 <= found.delay_steps < HORIZON
            assert found.weights[: found.delay_steps] == pytest.approx(1.0)
            assert ((found.weights >= 0) & (found.weights <= 1)).all()
