"""The cell in motion: forces that physics asks for, a controller that arrives, faults, and repeatability."""

from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.framing.kinematics import fk_hand_tcp
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.sim.cell.cell import DOWN_XYZW, Cell, CellState
from restac_ros.sim.cell.cell_model import PLUG as PLUG_BODY
from restac_ros.sim.cell.impedance import TORQUE_LIMITS_NM
from restac_ros.sim.cell.parameters import CellError, CellParameters, CellScene, draw_scene
from restac_ros.sim.virtual_arm import ROBOT_MODE_GUIDING, ROBOT_MODE_REFLEX

MOVE = 2
PLUG = CellParameters().plug
GRAVITY_M_S2 = 9.81
RIM_M = CellParameters().socket.rim_m + PLUG.tip_m  # height of the TCP where the tip is level with the rim


@pytest.fixture(scope='module')
def shared() -> Cell:
    return Cell(CellScene())


@pytest.fixture
def cell(shared: Cell) -> Cell:
    """The cell at rest above the socket, the hole 5 mm beside its middle."""
    shared.reset(CellScene(hole_m=(0.005, 0.0), start_m=(0.5, 0.0, 0.09)))
    return shared


def moved(cell: Cell, to_m: tuple[float, float, float], seconds: float, wait_s: float = 1.0) -> CellState:
    """Move the target straight to a place within `seconds`, wait, and return the state."""
    start = cell.state().pose
    goal = Pose(np.array(to_m), DOWN_XYZW)
    for tick in range(1, round(seconds * 100) + 1):
        cell.follow(start.towards(goal, tick / (seconds * 100)))
        cell.step(10)
    cell.step(round(wait_s * 1000))
    return cell.state()


def test_at_rest_nothing_moves_and_the_grasp_carries_the_plug(cell: Cell) -> None:
    before = cell.state()
    cell.step(1000)
    after = cell.state()
    gap = Offset.between(before.pose, after.pose)
    assert gap.distance_m < 1e-6
    assert gap.angle_rad < 1e-6
    assert np.abs(after.joint_speeds_rad_s).max() < 1e-6
    weight_n = PLUG.mass_kg * GRAVITY_M_S2
    assert after.mount[2] * PLUG.shear_n_m == pytest.approx(weight_n, rel=0.01)  # the hand's z points down
    assert np.abs(after.force_n).max() == 0.0


def test_the_pose_of_a_state_is_framings_of_its_joints(cell: Cell) -> None:
    state = moved(cell, (0.53, 0.04, 0.12), 0.5, 0.0)
    np.testing.assert_allclose(fk_hand_tcp(state.joints_rad)[:3, 3], state.pose.position_m, atol=1e-6)


def test_without_contact_the_arm_reaches_its_target(cell: Cell) -> None:
    state = moved(cell, (0.45, 0.06, 0.14), 1.0, 1.5)
    np.testing.assert_allclose(state.pose.position_m, (0.45, 0.06, 0.14), atol=0.001)
    assert Offset.between(state.pose, Pose(state.pose.position_m, DOWN_XYZW)).angle_rad < 0.01


@pytest.mark.parametrize('force_n', [5.0, 20.0])
def test_a_press_has_the_force_that_stiffness_and_depth_ask_for(cell: Cell, force_n: float) -> None:
    surface_m = moved(cell, (0.495, 0.0, RIM_M - 0.001), 2.0, 0.5).pose.position_m[2]
    target_m = surface_m - force_n / cell.gains.vertical_n_m
    state = moved(cell, (0.495, 0.0, target_m), 0.5)
    commanded_n = cell.gains.vertical_n_m * (state.pose.position_m[2] - target_m)
    assert state.force_n[2] == pytest.approx(commanded_n, rel=0.1)
    assert state.force_n[2] > 0.7 * force_n


def test_the_grasp_tilts_away_from_the_hole(cell: Cell) -> None:
    # The hole is at +5 mm in x, so the funnel touches the peg's edge at -x; the hand's y points to -y.
    state = moved(cell, (0.5, 0.0, RIM_M - 0.006), 1.0)
    turning = PLUG.turning_nm_rad * state.mount[3:5]
    shear = np.array([PLUG.normal_n_m * state.mount[1], -PLUG.shear_n_m * state.mount[0]])
    about_tip = turning + PLUG.tip_m * shear
    assert about_tip[1] < -0.01
    assert abs(about_tip[0]) < 0.3 * abs(about_tip[1])


def test_a_plug_above_its_hole_goes_in(cell: Cell) -> None:
    moved(cell, (0.505, 0.0, RIM_M + 0.01), 1.0)
    state = moved(cell, (0.505, 0.0, RIM_M - 0.014), 2.0)
    assert state.inserted
    assert state.depth_m == pytest.approx(PLUG.length_m, abs=0.001)  # its body rests on the rim
    assert cell.peak_n < 15


def test_an_open_gripper_drops_the_plug_which_falls_freely(cell: Cell) -> None:
    cell.grip(0.08)
    while cell.state().held:
        cell.step(1)
    height_m = [cell.data.body(PLUG_BODY).xpos[2]]
    for _ in range(2):
        cell.step(20)
        height_m.append(cell.data.body(PLUG_BODY).xpos[2])
    fallen_m = height_m[0] - 2 * height_m[1] + height_m[2]
    assert fallen_m == pytest.approx(-GRAVITY_M_S2 * 0.02**2, rel=0.02)


def test_a_dropped_plug_lies_on_the_table_and_leaves_the_arm_alone(cell: Cell) -> None:
    before = cell.state()
    cell.grip(0.08)
    cell.step(3000)
    after = cell.state()
    assert not after.held
    assert 0.0 < cell.data.body(PLUG_BODY).xpos[2] < before.pose.position_m[2]
    assert np.abs(cell.data.qvel).max() < 0.1
    assert Offset.between(before.pose, after.pose).distance_m < 5e-3
    assert after.mode == MOVE
    goal = Pose(np.add(before.pose.position_m, (0.0, 0.1, 0.05)), DOWN_XYZW)
    cell.follow(goal)
    cell.step(2000)
    assert Offset.between(goal, cell.state().pose).distance_m < 5e-3
    assert cell.peak_n < 1.0


def test_torques_stay_within_the_joints_limits(cell: Cell) -> None:
    largest_nm = np.zeros(7)
    cell.follow(Pose(np.array([0.3, 0.4, 0.6]), np.array([0.7, 0.7, 0.1, 0.1])))
    for _ in range(200):
        cell.step(1)
        largest_nm = np.maximum(largest_nm, np.abs(cell.state().torques_nm))
    assert np.all(largest_nm <= TORQUE_LIMITS_NM)
    assert np.any(largest_nm == TORQUE_LIMITS_NM), 'this target is meant to ask for more than the limits'


def test_the_same_commands_give_the_same_states_to_the_bit(cell: Cell) -> None:
    ends = []
    for one in (cell, Cell(CellScene(hole_m=(0.005, 0.0), start_m=(0.5, 0.0, 0.09)))):
        ends.append(moved(one, (0.501, 0.0, RIM_M - 0.004), 0.5, 0.2))
    np.testing.assert_array_equal(ends[0].joints_rad, ends[1].joints_rad)
    np.testing.assert_array_equal(ends[0].mount, ends[1].mount)
    assert draw_scene(3) == draw_scene(3) != draw_scene(4)


def test_a_hard_contact_trips_the_reflex_and_the_arm_then_ignores_targets(cell: Cell) -> None:
    moved(cell, (0.48, 0.0, 0.0), 0.2)  # 62 mm below the surface
    stopped = cell.state()
    assert stopped.mode == ROBOT_MODE_REFLEX
    cell.follow(Pose(np.array([0.45, 0.1, 0.2]), DOWN_XYZW))
    cell.step(300)
    assert Offset.between(stopped.pose, cell.state().pose).distance_m < 0.005
    cell.set_mode(MOVE)
    assert moved(cell, (0.48, 0.0, 0.12), 0.5).pose.position_m[2] == pytest.approx(0.12, abs=0.002)


def test_a_hand_moves_a_guided_arm_and_only_bends_one_that_is_controlled(cell: Cell) -> None:
    start = cell.state().pose
    cell.push(np.array([0.0, 15.0, 0.0]))
    cell.step(1500)
    bent = Offset.between(start, cell.state().pose)
    assert bent.translation_m[1] == pytest.approx(15.0 / cell.gains.lateral_n_m, rel=0.1)
    cell.push(np.zeros(3))
    cell.step(1000)
    cell.set_mode(ROBOT_MODE_GUIDING)
    cell.push(np.array([0.0, 15.0, 0.0]))
    cell.step(500)
    assert cell.state().pose.position_m[1] - start.position_m[1] > 0.05


def test_targets_outside_of_the_workspace_are_refused(repository: Path) -> None:
    limits = load_contract(repository / 'config' / 'contract.yaml').limits
    cell = Cell(CellScene(), limits=limits)
    with pytest.raises(CellError, match='outside the workspace'):
        cell.follow(Pose(np.array([0.5, 0.0, -0.1]), DOWN_XYZW))
    with pytest.raises(CellError, match='finite'):
        cell.follow(Pose(np.array([0.5, np.nan, 0.1]), DOWN_XYZW))
    with pytest.raises(CellError, match='opening'):
        cell.grip(0.2)


def test_an_unstable_simulation_is_refused_instead_of_begun_again(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cell.data.qvel[:] = 1e12
    with pytest.raises(CellError, match='became unstable'):
        cell.step(5)
    assert list(tmp_path.iterdir()) == [], 'a log file of MuJoCo'
    cell.reset(CellScene())
    cell.step(5)
