"""The cell in simulated time: messages in order, the same by seed to the bit, commands and their refusals."""

from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.framing.kinematics import fk_hand_tcp
from restac_ros.geometry.pose import Pose
from restac_ros.sim.cell.cell import DOWN_XYZW, Cell
from restac_ros.sim.cell.cell_arm import AWAY_M, CellArm
from restac_ros.sim.cell.cell_loop import TICK_NS, CellLoop, DriverReading
from restac_ros.sim.cell.cell_sensors import CellSensors, SensorSizes
from restac_ros.sim.cell.parameters import CellError, draw_scene

SMALL = SensorSizes(camera_px=(24, 32), tactile_px=(32, 40))
SECOND_NS = 10**9


@pytest.fixture(scope='module')
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


def opened(contract: Contract, seed: int, cameras: bool = True) -> CellLoop:
    scene = draw_scene(seed)
    cell = Cell(scene, limits=contract.limits)
    return CellLoop(contract, cell, CellSensors(contract, cell, scene, seed, SMALL, cameras), seed)


def until(loop: CellLoop, end_ns: int) -> list[DriverReading]:
    readings = loop.readings()
    found = []
    for reading in readings:
        if reading.publish_ns > end_ns:
            break
        found.append(reading)
    readings.close()
    return found


def test_every_stream_comes_at_its_rate_in_order_of_publication(contract: Contract) -> None:
    found = until(opened(contract, 1), SECOND_NS // 2)
    published = [reading.publish_ns for reading in found]
    assert published == sorted(published)
    ticks = [reading.stamp_ns for reading in found if reading.stream is None]
    assert ticks == list(range(0, SECOND_NS // 2 + 1, TICK_NS))
    for name, spec in contract.streams.items():
        count = sum(reading.stream == name for reading in found)
        assert count == pytest.approx(spec.rate_hz / 2, abs=2)


def test_the_same_seed_and_commands_give_the_same_messages_to_the_bit(contract: Contract) -> None:
    runs = []
    for _ in range(2):
        loop = opened(contract, 2)
        loop.follow(Pose(np.array([0.48, 0.02, 0.2]), DOWN_XYZW))
        runs.append(until(loop, SECOND_NS // 4))
    for one, other in zip(*runs, strict=True):
        assert one[:3] == other[:3]
        np.testing.assert_array_equal(one.value, other.value)
    other = until(opened(contract, 3), SECOND_NS // 4)
    assert [reading.publish_ns for reading in other] != [reading.publish_ns for reading in runs[0]]


def test_no_two_images_at_rest_are_alike_so_that_none_counts_as_frozen(contract: Contract) -> None:
    found = until(opened(contract, 1), SECOND_NS // 2)
    for name in ('main', 'side', 'handeye', 'gelsight_left'):
        images = [reading.value for reading in found if reading.stream == name]
        assert len({image.tobytes() for image in images}) == len(images) > 5
        assert np.std(np.subtract(images[0], images[1], dtype=float)) < 5, 'noise, and no more'


def test_measured_joints_lead_to_the_followed_target(contract: Contract) -> None:
    loop, target = opened(contract, 4, cameras=False), Pose(np.array([0.5, -0.02, 0.18]), DOWN_XYZW)
    loop.follow(target)
    found = until(loop, 2 * SECOND_NS)
    assert {reading.stream for reading in found} == {None, 'joints', 'gripper', 'gelsight_left'}
    joints = [reading.value for reading in found if reading.stream == 'joints'][-1]
    np.testing.assert_allclose(fk_hand_tcp(joints[0])[:3, 3], target.position_m, atol=1e-3)
    assert np.abs(joints[1]).max() < 1e-2


@pytest.mark.parametrize(
    ('place_m', 'turn', 'said'),
    [
        ((0.5, 0.0, 1.5), (1.0, 0.0, 0.0, 0.0), 'outside the workspace'),
        ((float('nan'), 0.0, 0.3), (1.0, 0.0, 0.0, 0.0), 'finite'),
        ((0.5, 0.0, 0.3), (0.0, 0.0, 0.0, 0.0), 'unit quaternion'),
    ],
)
def test_a_command_beyond_the_limits_is_refused_and_said(
    contract: Contract, place_m: tuple, turn: tuple, said: str
) -> None:
    loop, texts = opened(contract, 1, cameras=False), []
    loop.refused = texts.append
    before = loop.cell.target
    loop.follow(Pose(np.array(place_m), np.array(turn)))
    loop.grip(0.2)
    until(loop, 3 * TICK_NS)
    assert said in texts[0]
    assert 'opening is 0.2 m' in texts[1]
    assert loop.outcome.refused == 2
    np.testing.assert_array_equal(loop.cell.target.position_m, before.position_m)


def test_an_insertion_is_over_when_the_plug_has_stayed_in(contract: Contract) -> None:
    loop, seed = opened(contract, 5, cameras=False), 5
    scene = draw_scene(seed)
    hole_m = np.add(scene.housing_m, scene.hole_m)
    above = Pose(np.array([*hole_m, 0.08]), DOWN_XYZW)
    start, readings = loop.cell.target, loop.readings()
    for tick in (reading.stamp_ns * 1e-9 for reading in readings if reading.stream is None):
        assert tick < 10, loop.outcome
        lowered_m = 0.02 * min(max(tick - 2.0, 0.0), 1.5)
        aim = start.towards(above, min(tick / 1.5, 1.0))
        loop.follow(aim._replace(position_m=aim.position_m - (0.0, 0.0, lowered_m)))
        if loop.complete:
            break
    outcome = loop.outcome
    assert 1.5 < outcome.inserted_s < 5
    assert outcome.touched_s > 1.5
    assert 0 < outcome.peak_n < 25
    start, begun = loop.cell.target, tick
    for tick in (reading.stamp_ns * 1e-9 for reading in readings if reading.stream is None):
        loop.follow(start.towards(above, min(tick - begun, 1.0)))
        if tick > begun + 1.5:
            break
    assert (outcome.inserted, outcome.inserted_s) == (False, None), 'it was drawn out again'
    assert not loop.complete
    loop.begin_anew()
    assert loop.outcome.inserted_s is None
    assert not loop.complete


def test_several_tactile_streams_are_refused(repository: Path, tmp_path: Path) -> None:
    text = (repository / 'config' / 'contract.yaml').read_text()
    start = text.index('  gelsight_left:')
    touch = text[start : text.index('  joints:', start)]
    other = touch.replace('gelsight_left', 'gelsight_right').replace('/left/', '/right/')
    file = tmp_path / 'contract.yaml'
    file.write_text(text.replace(touch, touch + other))
    with pytest.raises(CellError, match='gelsight_left, gelsight_right; the cell has one'):
        opened(load_contract(file), 1, cameras=False)


def test_the_drills_arm_is_simulated_up_to_the_time_of_each_call(contract: Contract) -> None:
    arm = CellArm(contract, SECOND_NS, 0, False, SMALL)
    goal = Pose(np.array([0.5, 0.05, 0.4]), DOWN_XYZW)
    arm.follow(goal, SECOND_NS)
    np.testing.assert_allclose(arm.pose(SECOND_NS).position_m, AWAY_M, atol=2e-3)
    np.testing.assert_allclose(arm.pose(3 * SECOND_NS).position_m, goal.position_m, atol=2e-3)
    assert arm.reading('main', 3 * SECOND_NS) is None
    assert arm.reading('gelsight_left', 3 * SECOND_NS).shape == (32, 40, 3)
    arm.push(np.array([0.0, 12.0, 0.0]), 3 * SECOND_NS)
    pushed_m = arm.pose(4 * SECOND_NS).position_m[1] - 0.05
    assert pushed_m == pytest.approx(12 / 1500, rel=0.2)
    arm.follow(Pose(np.array([0.5, 0.0, 5.0]), DOWN_XYZW), 4 * SECOND_NS)
    assert 'outside the workspace' in arm.refusal
    arm.push(np.zeros(3), 4 * SECOND_NS)
    arm.home(4 * SECOND_NS)
    np.testing.assert_allclose(arm.pose(5 * SECOND_NS).position_m, AWAY_M, atol=2e-3)
