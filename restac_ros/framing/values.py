"""What a frame carries of each stream: one function from a message to its value, and the state vector."""

import numpy as np

from restac_ros.contract.schema import Contract, GripperStream
from restac_ros.framing.decode import decode_image, decode_joints, decode_pose
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.kinematics import fk_hand_tcp, gripper_opening_m, transform
from restac_ros.framing.resize import letterbox, resize_tactile
from restac_ros.geometry.rotation import rotation_difference, rotation_from_matrix

STATE_DIM = 7
"""x y z [m], rotation [3] [rad], gripper opening [m]; actions and action_prev likewise."""

GRIPPER_TOLERANCE_M = 0.005  # beyond the declared range: homing offsets stay below, wrong units don't


def decode_value(contract: Contract, stream: str, cdr: bytes | memoryview) -> np.ndarray:
    """A message's value by its stream's role, read-only; DecodeError when it has none.

    camera: uint8 [224, 224, 3] RGB; tactile: uint8 [128, 160, 3] RGB; arm_joints, tool_pose and target_pose:
    pose of the tool in the base, float64 [4, 4]; gripper: opening in m, float64 [].
    """
    spec = contract.stream(stream)
    match spec.role:
        case 'camera':
            value = letterbox(decode_image(spec, cdr))
        case 'tactile':
            value = resize_tactile(decode_image(spec, cdr))
        case 'arm_joints':
            offset = contract.robot.pose_tool_in_hand
            value = fk_hand_tcp(decode_joints(spec, cdr)) @ transform(offset.xyz_m, offset.rpy_rad)
        case 'gripper':
            value = _opening_m(contract, decode_joints(spec, cdr))
            _check_opening(contract, spec.topic, float(value))
        case 'tool_pose' | 'target_pose':
            value = decode_pose(spec, cdr)
    value = np.asarray(value)
    value.flags.writeable = False
    return value


def gripper_positions(contract: Contract, spec: GripperStream, opening_m: float) -> np.ndarray:
    """Return the positions [n] of `spec.joints` at an opening: the inverse of what `decode_value` reads."""
    scale, (closed_m, open_m) = contract.gripper.joint, contract.gripper.opening_m
    if scale is None:
        return np.full(len(spec.joints), opening_m / 2)
    share = (opening_m - closed_m) / (open_m - closed_m)
    return np.full(len(spec.joints), scale.closed + share * (scale.open - scale.closed))


def pose_vector(contract: Contract, pose_tool_in_base: np.ndarray) -> np.ndarray:
    """Pose [..., 4, 4] -> x y z [m] and the contract's rotation [rad], unwrapped: float64 [..., 6]."""
    rule = contract.rotation
    matrix, centre = pose_tool_in_base[..., :3, :3], np.array(rule.branch_centre_rad)
    rotation = rotation_from_matrix(rule.convention, matrix, centre)
    return np.concatenate([pose_tool_in_base[..., :3, 3], rotation], axis=-1)


def state_vector(contract: Contract, pose_tool_in_base: np.ndarray, opening_m: np.ndarray) -> np.ndarray:
    """Pose [..., 4, 4] and opening [...] -> state float64 [..., 7]."""
    opening = np.asarray(opening_m, dtype=np.float64)[..., None]
    return np.concatenate([pose_vector(contract, pose_tool_in_base), opening], axis=-1)


def state_change(contract: Contract, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """new - old of two states [..., 7], angles never a turn off: what action_prev is made of."""
    change = np.asarray(new, dtype=np.float64) - old
    change[..., 3:6] = rotation_difference(contract.rotation.convention, new[..., 3:6], old[..., 3:6])
    return change


def _opening_m(contract: Contract, positions: np.ndarray) -> np.ndarray:
    """Joint positions [n] -> opening [] in m, by `gripper.joint` or as the fingers of a Franka hand."""
    scale, (closed_m, open_m) = contract.gripper.joint, contract.gripper.opening_m
    if scale is None:
        return gripper_opening_m(positions)
    share = (positions.mean() - scale.closed) / (scale.open - scale.closed)
    return np.array(closed_m + share * (open_m - closed_m))


def _check_opening(contract: Contract, topic: str, opening_m: float) -> None:
    closed, opened = contract.gripper.opening_m
    if not closed - GRIPPER_TOLERANCE_M <= opening_m <= opened + GRIPPER_TOLERANCE_M:
        expected = f'the contract declares {closed:g} to {opened:g} m'
        remedy = 'check joints, opening_m and the unit (gripper.joint)'
        raise DecodeError(f'{topic}: gripper opening {opening_m:.4g} m; {expected}; {remedy}')
