"""The one delta rule: what comes back, wrapped angles, and nothing written into its input."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from restac_ros.contract.load import load_contract
from restac_ros.framing.values import state_change
from restac_ros.geometry.delta import DeltaRule

COMPOSITIONS = ('elementwise', 'so3')


def poses(*shape: int) -> st.SearchStrategy[np.ndarray]:
    angles = arrays(np.float64, (*shape, 7), elements=st.floats(-1.2, 1.2))
    return angles.map(lambda x: x + np.array([0.5, 0, 0.4, np.pi, 0, 0, 0]))


def rotation_of(convention: str, vectors: np.ndarray) -> Rotation:
    turns = vectors[..., 3:6]
    return Rotation.from_euler('xyz', turns) if convention == 'rpy' else Rotation.from_rotvec(turns)


@pytest.mark.parametrize('convention', ['rpy', 'rotvec'])
@pytest.mark.parametrize('composition', COMPOSITIONS)
@given(targets=poses(5), anchor=poses())
def test_deltas_lead_from_the_anchor_back_to_the_targets(
    composition: str, convention: str, targets: np.ndarray, anchor: np.ndarray
) -> None:
    rule = DeltaRule(convention, composition)
    deltas = rule.deltas(targets, anchor)
    np.testing.assert_allclose(anchor[:3] + deltas[:, :3], targets[:, :3], atol=1e-12)
    np.testing.assert_array_equal(deltas[:, 6], targets[:, 6])  # the gripper is absolute
    found = Rotation.from_quat(rule.orientations(deltas, anchor))
    assert ((found * rotation_of(convention, targets).inv()).magnitude() < 1e-7).all()


@pytest.mark.parametrize('composition', COMPOSITIONS)
def test_roll_near_half_a_turn_gives_small_deltas(composition: str) -> None:
    anchor = np.array([0.5, 0, 0.4, np.pi - 0.01, 0, 0, 0.04])
    target = np.array([[0.5, 0, 0.4, -np.pi + 0.01, 0, 0, 0.02]])
    delta = DeltaRule('rpy', composition).deltas(target, anchor)
    np.testing.assert_allclose(delta[0], [0, 0, 0, 0.02, 0, 0, 0.02], atol=1e-12)


def test_so3_deltas_turn_the_anchor_in_the_base_frame() -> None:
    anchor = np.array([0, 0, 0, np.pi, 0.2, -0.4, 0])
    turn = np.array([0.1, -0.2, 0.3])
    found = DeltaRule('rpy', 'so3').orientations(np.array([0, 0, 0, *turn, 0]), anchor)
    expected = Rotation.from_rotvec(turn) * Rotation.from_euler('xyz', anchor[3:6])
    assert (Rotation.from_quat(found) * expected.inv()).magnitude() < 1e-12


def test_elementwise_deltas_are_the_data_sets_state_change(repository: Path) -> None:
    contract = load_contract(repository / 'config' / 'contract.yaml')
    new, old = np.random.default_rng(0).normal(0, 2, (2, 7))
    found = DeltaRule(contract.rotation.convention, 'elementwise').deltas(new, old)
    np.testing.assert_allclose(found[:6], state_change(contract, new, old)[:6], atol=1e-12)


@pytest.mark.parametrize('composition', COMPOSITIONS)
def test_inputs_are_left_as_they_were(composition: str) -> None:
    anchor, targets = np.ones(7), np.ones((3, 7))
    for values in (anchor, targets):
        values.flags.writeable = False
    rule = DeltaRule('rpy', composition)
    rule.orientations(rule.deltas(targets, anchor), anchor)
