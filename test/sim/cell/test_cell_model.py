"""The cell's model: the arm is framing's arm, its weight is known, and nothing drawn shows the hole."""

import mujoco
import numpy as np
import pytest

from restac_ros.framing.kinematics import fk_hand_tcp
from restac_ros.sim.cell.cell_model import (
    HOUSING,
    SOCKET,
    SOCKET_GROUP,
    TCP_IN_HAND_M,
    build_model,
)
from restac_ros.sim.cell.cell_sensors import CAMERA_OF_SLOT
from restac_ros.sim.cell.parameters import MOUNT, CellParameters


@pytest.fixture(scope='module')
def model() -> mujoco.MjModel:
    return build_model()


def test_forward_kinematics_are_those_of_framing(model: mujoco.MjModel) -> None:
    data, random = mujoco.MjData(model), np.random.default_rng(0)
    low, high = model.jnt_range[:7].T
    for _ in range(50):
        data.qpos[:7] = random.uniform(low, high)
        mujoco.mj_forward(model, data)
        hand = data.body('hand')
        turn, expected = hand.xmat.reshape(3, 3), fk_hand_tcp(data.qpos[:7])
        np.testing.assert_allclose(hand.xpos + turn @ TCP_IN_HAND_M, expected[:3, 3], atol=1e-9)
        np.testing.assert_allclose(turn, expected[:3, :3], atol=1e-6)


def test_the_moving_mass_is_arm_hand_fingers_and_plug(model: mujoco.MjModel) -> None:
    arm_kg = 2.92747 + 2.93554 + 2.2449 + 2.6156 + 2.32712 + 1.81704 + 0.627143
    expected = arm_kg + 0.73 + 2 * 0.015 + CellParameters().plug.mass_kg
    assert model.body_subtreemass[model.body('fr3_link1').id] == pytest.approx(expected)


def test_the_mount_has_the_stiffness_asked_for(model: mujoco.MjModel) -> None:
    joints = [model.joint(name) for name in MOUNT]
    assert [joint.stiffness.item(0) for joint in joints] == CellParameters().plug.stiffness.tolist()


def test_only_geoms_that_no_camera_draws_move_with_the_hole(model: mujoco.MjModel) -> None:
    socket, housing = model.body(SOCKET), model.body(HOUSING)
    assert model.body_parentid[socket.id] == housing.id
    groups = {int(model.geom_group[i]) for i in range(model.ngeom) if model.geom_bodyid[i] == socket.id}
    assert groups == {SOCKET_GROUP}
    assert mujoco.MjvOption().geomgroup[SOCKET_GROUP] == 0


def test_the_cameras_are_those_of_the_contract(model: mujoco.MjModel) -> None:
    assert {model.camera(i).name for i in range(model.ncam)} == set(CAMERA_OF_SLOT.values())
