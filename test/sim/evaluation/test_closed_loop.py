"""A policy in the cell in simulated time: what it does depends on seed and latencies, on no machine."""

import threading
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from knowing_policy import KnowingPolicy
from node_process import poll_until
from restac_ros.contract.schema import Contract
from restac_ros.control.gripper import GripperRequest
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.parameters import CellError
from restac_ros.sim.evaluation.attempt_record import AttemptRecord
from restac_ros.sim.evaluation.cell_robot import CellRobot
from restac_ros.sim.evaluation.closed_loop import AttemptTask, ClosedLoop
from restac_ros.sim.evaluation.conditions import AS_IT_IS, CONDITIONS
from restac_ros.sim.evaluation.deployment_files import Deployment
from restac_ros.sim.evaluation.settings import CallDurations

SEED = 5


def attempt(
    contract: Contract,
    deployment: Deployment,
    limit_s: float,
    real_s: float = 0.0,
    condition: str = AS_IT_IS,
    **durations: float,
) -> tuple[AttemptRecord, KnowingPolicy]:
    policy = KnowingPolicy(contract, SEED, real_s)
    task = AttemptTask(contract, deployment, CallDurations(**durations), limit_s)
    return ClosedLoop(policy, CONDITIONS[condition], SEED, task).run(), policy


def test_a_policy_that_knows_the_hole_inserts_the_plug_and_the_record_says_how(
    contract: Contract, deployment: Deployment
) -> None:
    record, _ = attempt(contract, deployment, 8.0)
    assert record.success
    assert not record.halted
    assert record.refused == 0
    assert not record.dropped
    assert 0 < record.touched_s < record.inserted_s < record.seconds < 8.0
    assert record.seconds == pytest.approx(record.inserted_s + 1.0, abs=0.02)
    assert record.interaction_s == pytest.approx(record.inserted_s - record.touched_s)
    assert record.touch_miss_m < 0.004
    assert record.miss_m < 0.002
    assert 0.5 < record.mean_n < record.peak_n < 25
    assert record.chunks == pytest.approx(10 * record.seconds, rel=0.15)
    felt = record.felt
    assert len(felt.gate) == pytest.approx(18 * record.seconds, rel=0.15)
    assert all(known - taken >= 0.025 for taken, known in zip(felt.time_s, felt.known_s, strict=True))
    touched = np.array(felt.contact)
    assert np.array(felt.time_s)[touched].min() == pytest.approx(record.touched_s, abs=0.12)
    assert np.array(felt.gate)[touched].mean() > np.array(felt.gate)[~touched].mean()


def test_the_gripper_is_commanded_as_the_streamer_does_also_by_less_than_the_deadband(
    contract: Contract,
) -> None:
    sent: list[float] = []
    robot = CellRobot(contract, SimpleNamespace(grip=sent.append), gripper_deadband_m=0.002)
    for tick in range(300):
        opening_m = 0.011 if tick < 50 else 0.0118
        robot.grip(GripperRequest(opening_m, opening_m), tick * 10_000_000)
    assert sent == [0.011, 0.0118, 0.0118], 'repeated once a second'
    robot.grip(None, 3_000_000_000)
    robot.grip(GripperRequest(0.0118, 0.0118), 3_010_000_000)
    assert len(sent) == 4, 'after a silence it is sent anew'


def test_a_slow_machine_changes_nothing_and_a_latency_does(
    contract: Contract, deployment: Deployment
) -> None:
    record, _ = attempt(contract, deployment, 1.0)
    slow, _ = attempt(contract, deployment, 1.0, real_s=0.003)
    assert asdict(slow) == asdict(record)
    later, _ = attempt(contract, deployment, 1.0, condition='latency')
    assert later.miss_m > record.miss_m
    assert later.felt.known_s[0] > record.felt.known_s[0] + 0.1
    quick, _ = attempt(contract, deployment, 1.0, prefix_ms=0.0, tactile_ms=0.0, act_ms=0.0)
    assert quick.miss_m < record.miss_m


def test_a_reference_in_place_of_touch_is_what_the_policy_gets(
    contract: Contract, deployment: Deployment
) -> None:
    before = set(threading.enumerate())
    _, policy = attempt(contract, deployment, 0.6, condition='touch reference')
    poll_until(lambda: set(threading.enumerate()) <= before, 'an attempt leaves no thread behind')
    assert len(policy.felt) > 4
    assert all(image is policy.felt[0] for image in policy.felt)


def test_a_loop_that_fails_ends_the_attempt_with_its_reason(
    contract: Contract, deployment: Deployment
) -> None:
    class Broken(KnowingPolicy):
        def act(self, *arguments: object, **more: object) -> object:
            raise OSError('no memory')

    task = AttemptTask(contract, deployment, CallDurations(), 5.0)
    with pytest.raises(CellError, match='seed 5: act failed: unexpected OSError: no memory'):
        ClosedLoop(Broken(contract, SEED), CONDITIONS[AS_IT_IS], SEED, task).run()


def test_a_simulation_that_becomes_unstable_is_a_failed_attempt_with_its_reason(
    contract: Contract, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, made = Cell.step, []

    def break_off(cell: Cell, steps: int) -> None:
        step(cell, steps)
        made.extend([1] if steps == 1 else [])  # more at a time settle the cell before it begins
        if len(made) > 300:
            cell.data.qpos[:] = np.nan
            raise CellError('the simulation became unstable')

    before = set(threading.enumerate())
    monkeypatch.setattr(Cell, 'step', break_off)
    record, _ = attempt(contract, deployment, 1.0)
    assert (record.success, record.halted) == (False, 'the simulation became unstable')
    assert record.seconds == pytest.approx(0.3, abs=0.006), 'the last sound state is recorded'
    assert np.isfinite([record.miss_m, record.peak_n]).all()
    poll_until(lambda: set(threading.enumerate()) <= before, 'no thread is left behind')
