"""Chunks, delays and faults in any order: the commanded set-points keep the limits, and motion comes back."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.control.chunk import ChunkRules
from restac_ros.control.continuity import ContinuityConfig
from restac_ros.control.limits import MotionLimits
from restac_ros.control.streaming import Measured, Streamer, StreamerConfig
from restac_ros.control.supervisor import Fault, Health, Phase, SupervisorConfig
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.delta import DeltaRule
from restac_ros.geometry.pose import Offset, Pose

MS = 1_000_000
TICK = 10 * MS
START = 10**18
LIMITS = MotionLimits(
    workspace_min_m=(0.2, -0.5, 0.0), workspace_max_m=(0.8, 0.5, 0.8), speed_m_s=0.25, speed_rad_s=1.0
)
CONFIG = StreamerConfig(
    LIMITS,
    ChunkRules('fr3_link0', DeltaRule('rpy', 'elementwise'), 66_666_666, 20 * MS),
    supervisor=SupervisorConfig(max_age_ns={'observation': 700 * MS}),
)


def deltas(velocity, horizon: int = 16) -> np.ndarray:
    """Constant velocity [6], m/s and rad/s."""
    return np.arange(1, horizon + 1)[:, None] / 15 * np.asarray(velocity, dtype=float)


class Run:
    """One streamer, its clock, and what it commanded. The arm is where it was sent, or at `arm`."""

    def __init__(self, make_chunk, config: StreamerConfig = CONFIG) -> None:
        self.make_chunk = make_chunk
        self.state = Streamer(config)
        self.arm: tuple[float, float, float] | None = None
        self.opening_m: float | None = None
        self.now_ns = START
        self.commanded = []
        self.next_id = 0

    def offer(self, velocity=(0.0,) * 6, **changes) -> str | None:
        """A chunk observed now, from where the arm is."""
        fields = {
            'chunk_id': self.next_id,
            'stamp_ns': self.now_ns,
            'position_m': tuple(self.pose.position_m),
            'rotation_rad': tuple(rpy(self.pose.quaternion_xyzw)),
            'delta_pose': deltas(velocity),
        }
        chunk = self.make_chunk(**{**fields, **changes})
        self.next_id += 1
        return self.state.offer(chunk, self.now_ns)

    def tick(self, ticks: int = 1, gap_ns: int = TICK, measured_age_ns: int = 0, **health) -> None:
        for _ in range(ticks):
            self.now_ns += gap_ns
            measured = Measured(self.now_ns - measured_age_ns, self.pose, self.opening_m)
            point = self.state.tick(Health(self.now_ns, **health), measured)
            if point is not None:
                self.commanded.append((self.now_ns, point))

    def resume(self) -> str | None:
        return self.state.resume(self.now_ns)

    @property
    def pose(self) -> Pose:
        """Where the arm is."""
        turn = quat.from_rpy(np.array([3.1, 0.1, -0.4]))
        if self.arm is not None:
            return Pose(np.array(self.arm), turn)
        return self.commanded[-1][1].pose if self.commanded else Pose(np.array([0.5, 0.0, 0.3]), turn)

    @property
    def phase(self) -> Phase:
        return self.state.phase

    @property
    def faults(self) -> set[Fault]:
        return {reason.fault for reason in self.state.supervision.reasons}

    def speed(self) -> float:
        (t0, before), (t1, after) = self.commanded[-2:]
        return Offset.between(before.pose, after.pose).distance_m / ((t1 - t0) * 1e-9)


def rpy(quaternion: np.ndarray) -> np.ndarray:
    x, y, z, w = quaternion
    return np.array([
        np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
        np.arcsin(np.clip(2 * (w * y - z * x), -1, 1)),
        np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
    ])  # fmt: skip


@pytest.fixture
def run(make_chunk) -> Run:
    return Run(make_chunk)


@pytest.fixture
def moving(run: Run) -> Run:
    """In steady motion at 0.1 m/s."""
    run.offer((0.1, 0, 0, 0, 0, 0))
    run.tick(40)
    assert run.phase is Phase.MOVING
    assert run.speed() == pytest.approx(0.1, rel=1e-6)
    return run


def check_hold(run: Run) -> None:
    """Still after the stop time, and from then on exactly there."""
    run.tick(LIMITS.stop_ns // TICK + 1)
    assert run.speed() == pytest.approx(0, abs=1e-9)
    held = run.commanded[-1][1].pose
    run.tick(100)
    np.testing.assert_allclose(run.commanded[-1][1].pose.position_m, held.position_m, atol=1e-12)
    assert held.position_m[0] > 0.5


def check_recovers(run: Run) -> None:
    assert run.offer((0.05, 0, 0, 0, 0, 0)) is None
    run.tick(40)
    assert run.phase is Phase.MOVING
    assert run.speed() == pytest.approx(0.05, rel=1e-6)
    check_bounds(run)


def check_bounds(run: Run) -> None:
    """Set-points inside the workspace; steps, and at uniform ticks speed, acceleration and jerk in bounds."""
    if not run.commanded:
        return
    points = [point for _, point in run.commanded]
    positions = np.array([point.pose.position_m for point in points])
    assert np.isfinite(positions).all()
    assert np.all(positions >= LIMITS.workspace_min_m)
    assert np.all(positions <= LIMITS.workspace_max_m)
    for point in points:
        if point.gripper is not None:
            assert LIMITS.opening_m[0] <= min(point.gripper) <= max(point.gripper) <= LIMITS.opening_m[1]
        assert np.linalg.norm(point.pose.quaternion_xyzw) == pytest.approx(1)
    for before, after in itertools.pairwise(points):
        step = Offset.between(before.pose, after.pose)
        assert step.distance_m <= LIMITS.step_m * (1 + 1e-6)
        assert step.angle_rad <= LIMITS.step_rad * (1 + 1e-6)
    gaps = np.diff([time_ns for time_ns, _ in run.commanded])
    for start, end in uniform(gaps):
        check_derivatives(run.commanded[start : end + 1])


def uniform(gaps: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of commands that are one tick apart."""
    breaks = [-1, *np.flatnonzero(gaps != TICK), len(gaps)]
    return [(a + 1, b) for a, b in itertools.pairwise(breaks) if b - a > 3]


def check_derivatives(commanded: list) -> None:
    tick_s, slack = TICK * 1e-9, 1.02
    positions = np.array([point.pose.position_m for _, point in commanded])
    turns = np.array([point.pose.quaternion_xyzw for _, point in commanded])
    for rate, bounds in (
        (np.diff(positions, axis=0) / tick_s, (LIMITS.speed_m_s, LIMITS.acceleration_m_s2, LIMITS.jerk_m_s3)),
        (
            quat.difference(turns[1:], turns[:-1]) / tick_s,
            (LIMITS.speed_rad_s, LIMITS.acceleration_rad_s2, LIMITS.jerk_rad_s3),
        ),
    ):
        for order, bound in enumerate(bounds):
            derivative = np.diff(rate, n=order, axis=0) / tick_s**order
            assert np.linalg.norm(derivative, axis=-1).max() <= bound * slack


def test_nothing_is_commanded_before_the_first_chunk(run: Run):
    run.tick(50)
    assert run.commanded == []
    assert (run.phase, run.faults) == (Phase.IDLE, {Fault.NO_CHUNK})


def test_the_first_set_point_is_where_the_tool_is(run: Run):
    assert run.offer((0.2, 0, 0, 0.5, 0, 0), stamp_ns=START - 100 * MS) is None
    run.tick()
    np.testing.assert_allclose(run.commanded[0][1].pose.position_m, [0.5, 0, 0.3], atol=1e-3)
    run.tick(60)
    check_bounds(run)


def test_a_chunk_is_executed_on_time(moving: Run):
    """Steady motion lies where the chunk says at that very time, smoothing included."""
    time_ns, point = moving.commanded[-1]
    assert point.pose.position_m[0] == pytest.approx(0.5 + 0.1 * (time_ns - START) * 1e-9, abs=1e-9)
    assert point.gripper.opening_m == pytest.approx(moving.state.plan.opening_at(time_ns))
    assert point.gripper.final_m == 0.0, 'the end of the close that is under way'


@pytest.mark.parametrize('fade_ms', [0, 100])
def test_switching_to_a_contradicting_chunk_does_not_jump(make_chunk, fade_ms: int):
    config = dataclasses.replace(CONFIG, continuity=ContinuityConfig(fade_ns=fade_ms * MS))
    run = Run(make_chunk, config)
    run.offer((0.1, 0, 0, 0, 0, 0))
    run.tick(40)
    before = run.commanded[-1][1].pose
    assert (
        run.offer((-0.1, 0.1, 0, 0, 0, 0.5), position_m=tuple(np.add(before.position_m, (-0.03, 0.02, 0.01))))
        is None
    )
    run.tick(50)
    steps = np.diff([point.pose.position_m for _, point in run.commanded[38:]], axis=0)
    change = np.linalg.norm(np.diff(steps, axis=0), axis=-1) / (TICK * 1e-9) ** 2
    assert change.max() <= LIMITS.acceleration_m_s2
    check_bounds(run)


def test_replanning_the_same_motion_costs_nothing(moving: Run):
    """Switching to a chunk that says the same leaves the speed as it is, tick by tick."""
    for _ in range(8):
        moving.now_ns += TICK // 2  # chunks come between ticks
        along = (moving.now_ns - START) * 1e-9 * 0.1
        assert moving.offer((0.1, 0, 0, 0, 0, 0), position_m=(0.5 + along, 0.0, 0.3)) is None
        moving.tick(gap_ns=TICK // 2)
        assert moving.speed() == pytest.approx(0.1, rel=1e-6)
        for _ in range(6):
            moving.tick()
            assert moving.speed() == pytest.approx(0.1, rel=1e-6)
    assert moving.state.counts.slowed == 0


def test_the_end_of_a_chunk_is_a_hold_at_its_end(run: Run):
    run.offer((0.1, 0, 0, 0, 0, 0))
    config = dataclasses.replace(CONFIG, supervisor=SupervisorConfig())
    run.state.config = config
    run.tick(125)
    assert run.phase is Phase.HOLDING
    assert {reason.fault for reason in run.state.supervision.cause} == {Fault.EXHAUSTED}
    assert run.commanded[-1][1].pose.position_m[0] == pytest.approx(0.5 + 0.1 * 16 / 15, abs=1e-9)
    check_recovers(run)


@pytest.mark.parametrize(
    ('health', 'config', 'fault'),
    [
        ({'rivals': ('/teleop',)}, SupervisorConfig(), Fault.SECOND_PUBLISHER),
        ({'deadman_pressed': False, 'deadman_age_ns': 0}, SupervisorConfig(deadman=True), Fault.DEADMAN),
        ({'ages_ns': {'robot_state': 300 * MS}}, SupervisorConfig({'robot_state': 200 * MS}), Fault.STALE),
    ],
)
def test_faults_of_the_surroundings_hold_and_recover(moving: Run, health, config, fault: Fault):
    moving.state.config = dataclasses.replace(CONFIG, supervisor=config)
    well = {'robot_mode': 2, 'deadman_pressed': True, 'deadman_age_ns': 0, 'ages_ns': {'robot_state': 0}}
    moving.tick(**well)
    assert moving.phase is Phase.MOVING
    moving.tick(**{**well, **health})
    assert fault in {reason.fault for reason in moving.state.supervision.cause}
    check_hold(moving)
    moving.tick(**well)
    if moving.phase is Phase.HALTED:
        refusal = moving.resume()
        assert refusal is None
    moving.state.config = CONFIG
    check_recovers(moving)


def test_a_faulty_chunk_halts_until_resumed(moving: Run):
    moving.state.report(Fault.MODEL, 'chunk 3: delta_pose[0] is nan')
    moving.tick()
    assert (moving.phase, moving.faults) == (
        Phase.HALTED,
        {Fault.MODEL},
    )
    check_hold(moving)
    assert 'halted' in moving.offer((0.1, 0, 0, 0, 0, 0))
    moving.tick(20)
    assert moving.speed() == 0
    refusal = moving.resume()
    assert refusal is None
    moving.tick(20)
    assert (moving.phase, moving.faults) == (Phase.HOLDING, {Fault.NO_CHUNK})
    assert moving.state.counts.faulty == 1
    check_recovers(moving)


def test_a_chunk_of_another_contract_is_a_faulty_chunk(moving: Run):
    assert "the contract says 'fr3_link0'" in moving.offer(frame_id='world')
    moving.tick()
    assert moving.phase is Phase.HALTED
    check_hold(moving)


def test_halt_and_resume(moving: Run):
    moving.state.report(Fault.HALT, 'on request')
    moving.tick()
    check_hold(moving)
    refusal = moving.resume()
    assert refusal is None
    late = moving.offer((0.1, 0, 0, 0, 0, 0), stamp_ns=moving.now_ns - 10 * MS)
    assert 'is not executed: holding' in late, 'observed before the person said go'
    check_recovers(moving)


def test_halt_before_the_first_chunk_commands_nothing(run: Run):
    run.state.report(Fault.HALT, 'on request')
    run.tick(5)
    assert 'halted' in run.offer()
    run.tick(5)
    assert run.phase is Phase.HALTED
    assert run.commanded == []
    refusal = run.resume()
    assert refusal is None
    assert run.phase is Phase.IDLE
    assert run.offer() is None
    run.tick()
    assert len(run.commanded) == 1


def test_after_a_fault_old_observations_do_not_move_the_arm(moving: Run):
    moving.state.config = dataclasses.replace(CONFIG, supervisor=SupervisorConfig(deadman=True))
    moving.tick(3, deadman_pressed=False, deadman_age_ns=0)
    began = moving.now_ns - 2 * TICK
    pressed = {'deadman_pressed': True, 'deadman_age_ns': 0}
    assert 'not executed' in moving.offer(stamp_ns=began - 1)
    moving.tick(**pressed)
    assert moving.phase is Phase.HOLDING
    assert moving.offer(stamp_ns=began + 1) is None
    moving.tick(**pressed)
    assert moving.phase is Phase.MOVING


def test_let_go_ramps_down_until_another_chunk_comes(moving: Run):
    moving.state.let_go()
    moving.tick()
    assert moving.phase is Phase.HOLDING
    check_hold(moving)
    check_recovers(moving)


def test_the_trail_reaches_two_seconds_back(moving: Run):
    moving.tick(500)
    trail, begin_ns = moving.state.trail, moving.now_ns - 2 * 10**9
    astray = Pose(moving.pose.position_m + 1.0, moving.pose.quaternion_xyzw)
    assert trail.judge(astray, begin_ns) is None, 'no set-point is that old'
    assert 'from its set-point' in trail.judge(astray, begin_ns + TICK)
    moving.tick(gap_ns=3 * 10**9)
    assert trail.judge(astray, moving.now_ns - 1) is None
    assert 'from its set-point' in trail.judge(astray, moving.now_ns)


def test_clock_set_back_holds_and_recovers(moving: Run):
    moving.now_ns -= 3600 * 10**9
    moving.tick()
    assert moving.phase is Phase.HOLDING
    assert {reason.fault for reason in moving.state.supervision.cause} == {Fault.CLOCK_JUMP, Fault.NO_CHUNK}
    check_hold_after_jump = moving.commanded[-1][1].pose
    moving.tick(30)
    gap = Offset.between(check_hold_after_jump, moving.commanded[-1][1].pose)
    assert gap.distance_m < 0.1 * LIMITS.stop_ns * 1e-9
    assert moving.speed() == pytest.approx(0, abs=1e-9)
    check_recovers(moving)


def test_clock_set_forward_holds_and_recovers(moving: Run):
    moving.tick(gap_ns=3600 * 10**9)
    assert moving.phase is Phase.HOLDING
    check_hold(moving)
    check_recovers(moving)


def test_robot_that_does_not_follow(moving: Run):
    x, y, z = moving.commanded[-1][1].pose.position_m
    refusal = moving.offer(position_m=(x - 0.15, y, z))
    assert 'the tool is 0.150 m' in refusal
    moving.tick()
    assert (moving.phase, moving.faults >= {Fault.NOT_FOLLOWING}) == (Phase.HALTED, True)
    check_hold(moving)


def test_a_robot_state_that_is_dead(run: Run):
    """The driver repeats its last word with new stamps: no chunk may lead away from there for long."""
    for _ in range(40):
        run.offer((0.2, 0, 0, 0, 0, 0), position_m=(0.5, 0.0, 0.3), rotation_rad=(3.1, 0.1, -0.4))
        run.tick(5)
    assert (run.phase, run.faults) == (Phase.HALTED, {Fault.NOT_FOLLOWING, Fault.NO_CHUNK})
    assert 'the same to the bit for' in str(run.state.supervision.latched[0])
    assert run.commanded[-1][1].pose.position_m[0] < 0.5 + 0.25 * 0.7
    check_bounds(run)


def test_a_robot_that_stands_still_as_it_should(run: Run):
    for _ in range(60):
        assert run.offer(position_m=(0.5, 0.0, 0.3), rotation_rad=(3.1, 0.1, -0.4)) is None
        run.tick(5)
    assert run.phase is Phase.MOVING


def test_no_start_outside_the_workspace(run: Run):
    run.arm = (0.5, 0.0, -0.02)
    run.offer()
    run.tick()
    assert (run.phase, run.commanded) == (Phase.IDLE, [])
    assert 'outside the workspace' in str(run.state.supervision.reasons)
    run.arm = None
    assert run.offer() is None
    run.tick()
    assert run.phase is Phase.MOVING


def test_targets_outside_are_clipped_and_counted(moving: Run):
    moving.offer((0.0, 0.0, -5.0, 0, 0, 0))
    moving.tick(60)
    assert moving.state.counts.clipped > 20
    assert moving.state.counts.slowed > 20
    check_bounds(moving)


def test_counts(run: Run):
    run.offer(chunk_id=0)
    run.tick()
    run.offer(chunk_id=3)
    run.tick()
    run.offer(chunk_id=4, stamp_ns=START)
    run.offer(chunk_id=5, stamp_ns=run.now_ns + 10**9)
    run.offer(chunk_id=0, stamp_ns=run.now_ns + 1)
    counts = run.state.counts
    assert (counts.accepted, counts.lost, counts.refused, counts.set_points) == (3, 2, 2, 2)


velocities = st.tuples(*[st.floats(-3, 3)] * 3, *[st.floats(-8, 8)] * 3)
WELL = {'robot_mode': 2, 'deadman_pressed': True, 'deadman_age_ns': 0, 'ages_ns': {'robot state': 0}}
ILLS = (
    {'robot_mode': 4},
    {'robot_mode': None},
    {'deadman_pressed': False},
    {'deadman_age_ns': 10**9},
    {'deadman_age_ns': None},
    {'ages_ns': {}},
    {'ages_ns': {'robot state': 10**9}},
    {'rivals': ('/teleop',)},
)
events = st.one_of(
    st.tuples(
        st.just('chunk'),
        velocities,
        st.integers(-50, 900),  # age in ms
        st.tuples(*[st.floats(-0.15, 0.15)] * 3),  # where the tool is measured, off the set-point
        st.floats(-1, 1),
        st.integers(1, 16),  # steps
    ),
    st.tuples(st.just('same tool'), velocities),  # measured where it was before, to the bit
    st.tuples(st.just('other contract'), st.sampled_from(['frame_id', 'composition'])),
    st.tuples(st.just('tick'), st.integers(1, 30)),
    st.tuples(st.just('ill tick'), st.integers(1, 10), st.sampled_from(ILLS)),
    st.tuples(st.just('late tick'), st.integers(-2000, 5000)),
    st.tuples(st.just('fault'), st.sampled_from(Fault)),
    st.tuples(st.just('let go')),
    st.tuples(st.just('resume')),
)


def play(run: Run, history: list[tuple]) -> None:
    """Do to a streamer what a history says; whatever the run's health is where none is ill, is well."""
    measured = {'position_m': (0.5, 0.0, 0.3), 'rotation_rad': (3.1, 0.1, -0.4)}
    for event in history:
        match event:
            case ('chunk', velocity, age_ms, off_m, turn, horizon):
                point = run.commanded[-1][1].pose if run.commanded else None
                at = (point.position_m if point else np.array([0.5, 0.0, 0.3])) + off_m
                rotation = rpy(point.quaternion_xyzw) if point else np.array([3.1, 0.1, -0.4])
                rotation[2] += turn
                measured = {'position_m': tuple(at), 'rotation_rad': tuple(rotation)}
                changes = {'horizon': horizon, 'opening_m': [0.04] * horizon}
                stamp_ns = run.now_ns - age_ms * MS
                run.offer(stamp_ns=stamp_ns, delta_pose=deltas(velocity, horizon), **measured, **changes)
            case ('same tool', velocity):
                run.offer(velocity, **measured)
            case ('other contract', field):
                run.offer(**{field: {'frame_id': 'world', 'composition': 'so3'}[field]})
            case ('tick', ticks):
                run.tick(ticks, **WELL)
            case ('ill tick', ticks, ill):
                run.tick(ticks, **{**WELL, **ill})
            case ('late tick', gap_ms):
                run.tick(gap_ns=gap_ms * MS, **WELL)
            case ('fault', fault):
                run.state.report(fault, 'injected')
            case ('let go',):
                run.state.let_go()
            case ('resume',):
                run.resume()
        check_phases(run)


def check_phases(run: Run) -> None:
    """The arm moves only while nothing is wrong, and a latched fault never goes by itself."""
    assert (run.phase is Phase.HALTED) == bool(run.state.supervision.latched)
    if run.phase is Phase.MOVING:
        assert run.state.supervision.reasons == ()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(events, min_size=5, max_size=25),
    st.builds(
        ContinuityConfig,
        mode=st.sampled_from(['receding_horizon', 'temporal_ensembling']),
        fade_ns=st.sampled_from([0, 100 * MS]),
        ensemble_decay=st.floats(0, 2),
        ensemble_order=st.sampled_from(['oldest_first', 'newest_first']),
        ensemble_size=st.integers(1, 8),
    ),
)
def test_no_history_breaks_the_limits_and_motion_comes_back(make_chunk, history, continuity) -> None:
    watched = SupervisorConfig(
        max_age_ns={'observation': 700 * MS, 'robot state': 500 * MS}, watch_robot_mode=True, deadman=True
    )
    run = Run(make_chunk, dataclasses.replace(CONFIG, continuity=continuity, supervisor=watched))
    play(run, history)
    check_bounds(run)
    # Whatever happened: with the causes gone and a person's consent, a sound chunk moves the arm.
    run.tick(30, **WELL)
    if run.phase is Phase.HALTED:
        refusal = run.resume()
        assert refusal is None
    run.tick(gap_ns=3000 * MS, **WELL)
    run.tick(20, **WELL)
    # A streamer that fell silent, as in the mode 'reflex', has not brought its last set-points to rest.
    if run.state.motion is not None:
        assert run.speed() == pytest.approx(0, abs=1e-9)
    assert run.offer((0.0, 0.02, 0, 0, 0, 0)) is None
    run.tick(3, **WELL)
    assert run.phase is Phase.MOVING
    check_bounds(run)


# Silence: a streamer that commanded nothing starts again where the arm is, or not at all.

MOVE, GUIDING, REFLEX = 2, 3, 4
WATCHED = SupervisorConfig(max_age_ns={'robot state': 500 * MS}, watch_robot_mode=True)
IN_MOVE = {'robot_mode': MOVE, 'ages_ns': {'robot state': 0}}
SLOW = (0.05, 0, 0, 0, 0, 0)


@pytest.fixture
def watched(make_chunk) -> Run:
    """In motion, with the robot's mode watched."""
    run = Run(make_chunk, dataclasses.replace(CONFIG, supervisor=WATCHED))
    run.offer(SLOW)
    run.tick(20, **IN_MOVE)
    assert run.phase is Phase.MOVING
    return run


def guide(run: Run, by_m: tuple[float, float, float], mode: int = GUIDING) -> None:
    """The mode changes, a hand moves the arm, the mode is 'move' again; as published, nothing happens."""
    count = len(run.commanded)
    run.tick(3, **{**IN_MOVE, 'robot_mode': mode})
    run.arm = tuple(run.pose.position_m + by_m)
    run.tick(3, **{**IN_MOVE, 'robot_mode': mode})
    run.tick(50, **IN_MOVE)
    assert len(run.commanded) == count, 'silent from the first tick of another mode until resumed'
    assert run.phase is Phase.HALTED


@pytest.mark.parametrize('mode', [GUIDING, REFLEX, None])
def test_an_arm_guided_by_hand_is_taken_up_where_it_was_left(watched: Run, mode: int | None) -> None:
    guide(watched, (0.0, 0.09, 0.0), mode)
    left_m, count = np.array(watched.arm), len(watched.commanded)
    assert watched.resume() is None
    watched.tick(20, **IN_MOVE)
    assert len(watched.commanded) == count, 'silent until a chunk comes'
    assert watched.offer(SLOW) is None
    watched.tick(**IN_MOVE)
    assert watched.phase is Phase.MOVING
    assert np.linalg.norm(watched.commanded[-1][1].pose.position_m - left_m) < 0.001


def test_a_chunk_observed_before_the_arm_moved_stays_halted_and_names_the_distance(watched: Run) -> None:
    guide(watched, (0.0, 0.09, 0.0))
    assert watched.resume() is None
    count = len(watched.commanded)
    watched.offer(SLOW)
    watched.arm = tuple(np.add(watched.pose.position_m, (0.03, 0.0, 0.0)))
    watched.tick(5, **IN_MOVE)
    assert len(watched.commanded) == count
    assert watched.phase is Phase.HALTED
    [reason] = [r for r in watched.state.supervision.latched if r.fault is Fault.ARM_MOVED]
    assert 'the tool is 0.030 m and 0.00 rad from where chunk 1 begins' in reason.detail
    assert watched.resume() is None, 'a person may try again'
    assert watched.offer(SLOW) is None
    watched.tick(2, **IN_MOVE)
    assert watched.phase is Phase.MOVING


def test_before_the_first_motion_a_moved_arm_only_delays(make_chunk) -> None:
    run = Run(make_chunk)
    run.offer(SLOW)
    run.arm = (0.5, 0.02, 0.3)
    run.tick(3)
    assert (run.phase, run.commanded) == (Phase.IDLE, [])
    assert Fault.ARM_MOVED in run.faults
    run.offer(SLOW)
    run.tick()
    assert run.phase is Phase.MOVING


@pytest.mark.parametrize(('opening_m', 'moves'), [(0.072, True), (0.03, False), (None, True)])
def test_the_gripper_must_be_where_the_chunk_begins_too(make_chunk, opening_m, moves: bool) -> None:
    run = Run(make_chunk)
    run.opening_m = opening_m
    run.offer(SLOW, anchor_opening_m=0.08)
    run.tick()
    assert (run.phase is Phase.MOVING) == moves
    if not moves:
        assert 'the gripper is 0.050 m from where chunk 0 begins' in str(run.state.supervision.reasons)


def test_without_a_recent_measured_pose_nothing_starts(make_chunk) -> None:
    run = Run(make_chunk)
    run.offer(SLOW)
    run.tick(measured_age_ns=101 * MS)
    assert (run.phase, run.commanded) == (Phase.IDLE, [])
    assert 'the measured pose is 101 ms old, at most 100 ms' in str(run.state.supervision.reasons)
    run.offer(SLOW)
    run.tick(measured_age_ns=99 * MS)
    assert run.phase is Phase.MOVING


def test_a_halt_on_request_restarts_at_the_measured_pose_too(watched: Run) -> None:
    watched.state.report(Fault.HALT, 'on request')
    watched.tick(2, **IN_MOVE)
    assert 'not at a hold yet, which takes up to 140 ms' in watched.resume()
    watched.tick(LIMITS.stop_ns // TICK + 1, **IN_MOVE)
    watched.arm = tuple(np.add(watched.pose.position_m, (0.0, 0.0, 0.05)))  # the controller is soft
    watched.tick(50, **IN_MOVE)
    assert watched.resume() is None
    watched.offer(SLOW)
    watched.tick(**IN_MOVE)
    assert np.linalg.norm(watched.commanded[-1][1].pose.position_m - watched.arm) < 0.001


def test_an_unknown_mode_ramps_down_and_then_falls_silent(watched: Run) -> None:
    lost = {'robot_mode': MOVE, 'ages_ns': {'robot state': 501 * MS}}
    before = len(watched.commanded)
    watched.tick(LIMITS.stop_ns // TICK + 2, **lost)
    assert len(watched.commanded) > before + 10, 'a ramp'
    count = len(watched.commanded)
    watched.tick(20, **lost)
    assert len(watched.commanded) == count
    assert watched.speed() < 1e-3


def test_the_set_points_before_a_silence_judge_no_arm_after_it(watched: Run) -> None:
    """Moved by more than the following limit, resumed: the old set-points count for nothing."""
    guide(watched, (0.0, 0.2, 0.0))
    assert watched.resume() is None
    assert watched.offer(SLOW) is None
    watched.tick(**IN_MOVE)
    assert watched.phase is Phase.MOVING


deeds = st.one_of(
    st.tuples(st.just('hand'), st.tuples(*[st.floats(-0.1, 0.1)] * 3)),
    st.tuples(st.just('mode'), st.sampled_from([MOVE, GUIDING, REFLEX, None])),
    st.tuples(st.just('chunk'), st.integers(0, 300)),
    st.tuples(st.just('tick'), st.integers(1, 30)),
    st.tuples(st.just('halt')),
    st.tuples(st.just('resume')),
    st.tuples(st.just('state age'), st.sampled_from([0, 600 * MS])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(deeds, min_size=3, max_size=30))
def test_the_first_set_point_after_any_silence_is_where_the_arm_is(make_chunk, history) -> None:
    config: StreamerConfig = dataclasses.replace(CONFIG, supervisor=WATCHED)
    run, health, silent = Run(make_chunk, config), dict(IN_MOVE), True
    run.arm = (0.5, 0.0, 0.3)
    past = [(START - 400 * MS, run.arm)]
    for deed in [*history, ('tick', 1)]:
        match deed:
            case ('hand', by_m):
                run.arm = tuple(np.clip(np.add(run.arm, by_m), (0.2, -0.5, 0.0), (0.8, 0.5, 0.8)))
                past.append((run.now_ns, run.arm))
            case ('mode', mode):
                health['robot_mode'] = mode
            case ('state age', age_ns):
                health['ages_ns'] = {'robot state': age_ns}
            case ('chunk', age_ms):
                stamp_ns = run.now_ns - age_ms * MS
                anchor = next(arm for at_ns, arm in reversed(past) if at_ns <= stamp_ns)
                run.offer(SLOW, stamp_ns=stamp_ns, position_m=anchor)
            case ('halt',):
                run.state.report(Fault.HALT, 'on request')
            case ('resume',):
                run.resume()
            case ('tick', ticks):
                for _ in range(ticks):
                    count = len(run.commanded)
                    run.tick(**health)
                    if len(run.commanded) == count:
                        silent = True
                        continue
                    assert health['robot_mode'] == MOVE
                    if silent:
                        gap = Offset.between(run.commanded[-1][1].pose, run.pose)
                        assert gap.distance_m <= 0.01
                        assert gap.angle_rad <= 0.05
                    silent = False
