"""What a drill is made of: the arm's messages, and a judge that is not deceived."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.control.limits import MotionLimits
from restac_ros.control.supervisor import ROBOT_MODE_MOVE
from restac_ros.framing.values import decode_value
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.nodes.drill.drill_record import (
    ReceivedSetPoint,
    StatusText,
    last_motion_ns,
    restart_fault,
    stalls_ns,
    starts_ns,
    turned_ns,
    violations,
)
from restac_ros.nodes.drill.drill_stage import GUIDE_N, Stage
from restac_ros.nodes.drill.stage_arm import StageArm
from restac_ros.sim.stream_faults import StreamFaults
from restac_ros.sim.virtual_arm import ROBOT_MODE_GUIDING

MS = 1_000_000
NOW = 10**18
DOWN = quat.from_rpy(np.array([3.1, 0.0, -0.4]))


@pytest.fixture(scope='module')
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


def test_the_arms_messages_say_where_it_is(contract: Contract) -> None:
    """Through the very decoding and kinematics that the policy's frames go through."""
    now_ns = [NOW]
    arm = StageArm(contract, lambda: now_ns[0])
    start = arm.pose()
    np.testing.assert_allclose(start.position_m, [0.5, 0.0, 0.4])
    goal = Offset(np.array([0.1, 0.05, -0.1]), np.array([0.0, 0.3, 0.2])).apply(start)
    for _ in range(200):
        now_ns[0] += 10 * MS
        arm.follow(goal, now_ns[0])
        found = decode_value(contract, 'joints', arm.cdr('joints'))
        measured = Pose(found[:3, 3], quat.from_matrix(found[:3, :3]))
        gap = Offset.between(arm.pose(), measured)
        assert gap.distance_m < 2e-4
        assert gap.angle_rad < 2e-3
    assert arm.follow(goal, now_ns[0]).distance_m < 1e-6
    assert arm.cdr('joints') != arm.cdr('joints'), 'an encoder has noise'


def test_the_arm_grips_and_has_no_eyes(contract: Contract) -> None:
    arm = StageArm(contract, lambda: NOW)
    arm.grip(0.03)
    assert decode_value(contract, 'gripper', arm.cdr('gripper')) == pytest.approx(0.03)
    assert arm.cdr('main') is None


@pytest.mark.parametrize('turned_rad', [0.0, 0.9])
def test_an_arm_that_went_astray_is_put_where_it_started_and_stays(
    contract: Contract, turned_rad: float
) -> None:
    now_ns = [NOW]
    arm = StageArm(contract, lambda: now_ns[0])
    start = arm.pose()
    assert not arm.astray()
    moved_m = 0.0 if turned_rad else 0.3
    arm.follow(Offset(np.array([0.0, moved_m, 0.0]), np.array([0.0, 0.0, turned_rad])).apply(start), NOW)
    now_ns[0] += 2000 * MS
    assert arm.astray()
    arm.set_mode(ROBOT_MODE_GUIDING)
    arm.home()
    now_ns[0] += 200 * MS
    gap = Offset.between(start, arm.pose())
    assert (gap.distance_m, gap.angle_rad) == pytest.approx((0.0, 0.0), abs=1e-6)
    found = decode_value(contract, 'joints', arm.cdr('joints'))
    np.testing.assert_allclose(found[:3, 3], start.position_m, atol=2e-4)


def points(*positions: tuple[int, float]) -> list[ReceivedSetPoint]:
    """(ms, x in m)."""
    return [ReceivedSetPoint(ms * MS, np.array([x, 0.0, 0.3]), DOWN) for ms, x in positions]


def test_a_guided_arm_is_returned_when_every_pose_that_counts_as_present_is_where_it_stands(
    contract: Contract, tmp_path: Path
) -> None:
    """Else motion begins where the arm was measured last, which on a busy machine is behind it."""
    joints = contract.streams['joints'].model_copy(update={'max_age_ms': 450.0})
    patient = contract.model_copy(update={'streams': {**contract.streams, 'joints': joints}})
    now_ns, places, modes = [NOW], [], []
    arm = StageArm(patient, lambda: now_ns[0])

    def later() -> int:
        now_ns[0] += 10 * MS
        places.append((now_ns[0], arm.pose().position_m))
        return now_ns[0]

    node = SimpleNamespace(
        now_ns=later,
        steady_clock=None,
        create_publisher=lambda *_: SimpleNamespace(publish=lambda message: modes.append(message.data)),
        create_client=lambda *_: None,
        create_timer=lambda *_, **__: None,
    )
    stage = Stage(node, {}, tmp_path, StreamFaults(patient, lambda _, cdr: cdr), arm)
    stage.set_mode(ROBOT_MODE_GUIDING)
    arm.push(GUIDE_N)
    stage.pause(0.3)
    stage.let_go()
    assert modes == [ROBOT_MODE_GUIDING, ROBOT_MODE_MOVE]
    counted = [place for time_ns, place in places if now_ns[0] - time_ns <= joints.max_age_ns]
    assert len(counted) > 40
    assert max(np.linalg.norm(place - arm.pose().position_m) for place in counted) < 0.001


def test_a_set_point_from_before_the_mode_was_changed_is_not_followed(contract: Contract) -> None:
    """A busy machine delivers it afterwards; the arm would leave the place that it was guided to."""
    now_ns = [NOW]
    arm = StageArm(contract, lambda: now_ns[0])
    start = arm.pose()
    aside = Offset(np.array([0.0, 0.05, 0.0]), np.zeros(3)).apply(start)
    arm.set_mode(ROBOT_MODE_GUIDING)
    now_ns[0] += 500 * MS
    arm.set_mode(ROBOT_MODE_MOVE)
    arm.follow(aside, NOW)
    now_ns[0] += 500 * MS
    assert Offset.between(start, arm.pose()).distance_m < 1e-6
    arm.follow(aside, now_ns[0])
    now_ns[0] += 500 * MS
    assert Offset.between(start, arm.pose()).distance_m > 0.04


def test_the_judge_sees_the_end_of_motion() -> None:
    assert last_motion_ns(points((0, 0.5), (10, 0.501), (20, 0.502), (30, 0.502), (40, 0.502))) == 20 * MS
    assert last_motion_ns(points((0, 0.5), (10, 0.5))) is None
    assert last_motion_ns([]) is None


def test_the_judge_sees_when_a_hold_began_also_where_a_motion_between_two_was_not_published() -> None:
    said = [(0, 'moving; since_s=2.000'), (100, 'holding; since_s=0.001'), (1500, 'holding; since_s=1.401')]
    later = (1600, 'holding; since_s=0.300')
    assert turned_ns(statuses_at(*said), '^holding', NOW) == NOW + 100 * MS
    assert turned_ns(statuses_at(*said, later), '^holding', NOW) == NOW + 1300 * MS
    assert turned_ns(statuses_at((0, 'moving; since_s=2.000')), '^holding', NOW + 7) == NOW + 7


def statuses_at(*said: tuple[int, str]) -> list[StatusText]:
    """Statuses of texts, ms after NOW."""
    return [StatusText(NOW + at_ms * MS, 'streamer_node: streaming', text) for at_ms, text in said]


def test_the_judge_adds_up_what_a_busy_machine_took() -> None:
    assert stalls_ns(points((0, 0), (10, 0), (24, 0), (134, 0)), 10 * MS) == 100 * MS


@pytest.mark.parametrize(
    ('found', 'words'),
    [
        (points((0, 0.5), (10, 0.5025), (20, 0.505)), []),
        (points((0, 0.5), (10, 0.504)), ['a step of 4.00 mm in 10.0 ms']),
        (points((0, 0.5), (1000, 0.76)), ['a step of 260.00 mm in 1000.0 ms']),
        (points((0, 0.1), (10, 0.1)), ['outside the workspace']),
        (points((0, float('nan'))), ['not finite']),
    ],
)  # fmt: skip
def test_the_judge_sees_what_must_not_be(contract, found: list[ReceivedSetPoint], words: list[str]) -> None:
    said = violations(found, MotionLimits.from_contract(contract))
    assert len(said) == len(words)
    assert all(word in text for word, text in zip(words, said, strict=True))


def test_the_judge_asks_where_the_arm_was_at_the_first_set_point_after_a_silence(contract: Contract) -> None:
    limits = MotionLimits.from_contract(contract)
    before, after = points((0, 0.5), (10, 0.5)), points((1000, 0.79), (1010, 0.79))
    led_back = [*before, after[0]._replace(apart_m=0.09, apart_rad=0.0), after[1]]
    assert 'after 0.99 s without set-points the first is 90.0 mm' in restart_fault(led_back, limits, [])
    assert violations(led_back, limits)
    at_arm = [*before, after[0]._replace(apart_m=0.004, apart_rad=0.01), after[1]]
    assert restart_fault(at_arm, limits, []) == ''
    assert violations(at_arm, limits) == []


def test_the_judge_asks_where_the_arm_was_also_where_the_first_set_points_were_lost(
    contract: Contract,
) -> None:
    """A starved machine lost those of the first 200 ms: 50 mm at most, at the limit of the speed."""
    said = statuses_at(
        (0, 'moving; since_s=2.000'), (300, 'moving; since_s=0.300'), (400, 'holding; since_s=0.1')
    )
    assert starts_ns(said) == [NOW - 2000 * MS, NOW]
    limits, starts = MotionLimits.from_contract(contract), [800 * MS]
    before, first = points((0, 0.5), (10, 0.5)), points((1000, 0.79))[0]
    for apart_m, is_fault in ((0.059, False), (0.061, True)):
        found = [*before, first._replace(apart_m=apart_m, apart_rad=0.0)]
        assert bool(restart_fault(found, limits, starts)) == is_fault
        assert bool(violations(found, limits, starts)) == is_fault
