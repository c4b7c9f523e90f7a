"""Cartesian impedance control of the arm, as crisp_controllers' `target_pose` controller does it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

TORQUE_LIMITS_NM = np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0])


@dataclass(frozen=True)
class ImpedanceGains:
    """Stiffnesses of the tool in the base frame; damping is 2 sqrt(stiffness) in each direction.

    Attributes:
        posture_nm_rad: pull of the joints towards the posture at the start, in the null space of the tool.
        max_error_m, max_error_rad: a target farther away pulls no more than one at this distance.
        smoothing_s: time constant of the filter between targets, which come at 15 to 100 Hz, and control.
    """

    lateral_n_m: float = 1500.0
    vertical_n_m: float = 800.0
    turning_nm_rad: float = 40.0
    posture_nm_rad: float = 10.0
    max_error_m: float = 0.05
    max_error_rad: float = 0.5
    smoothing_s: float = 0.01

    @cached_property
    def stiffness(self) -> np.ndarray:
        """[6] in N/m and Nm/rad."""
        lateral, turning = self.lateral_n_m, self.turning_nm_rad
        return np.array([lateral, lateral, self.vertical_n_m, turning, turning, turning])

    @cached_property
    def damping(self) -> np.ndarray:
        """[6] in Ns/m and Nms/rad."""
        return 2 * np.sqrt(self.stiffness)


def impedance_torque(
    gains: ImpedanceGains,
    jacobian: np.ndarray,
    error: np.ndarray,
    joint_speeds_rad_s: np.ndarray,
    posture_error_rad: np.ndarray,
) -> np.ndarray:
    """Return joint torques [7] in Nm, without gravity's: J^T (K e - D J qd) + N^T tau_posture.

    Args:
        gains: stiffness and damping.
        jacobian: [6, 7] of the TCP in the base frame.
        error: [6] from the tool's pose to the target, m and rotation vector in rad in the base frame.
        joint_speeds_rad_s: [7].
        posture_error_rad: [7] from the joints to the posture that they are drawn to.
    """
    wrench = gains.stiffness * _clipped(gains, error) - gains.damping * (jacobian @ joint_speeds_rad_s)
    stiffness = gains.posture_nm_rad
    posture = stiffness * posture_error_rad - 2 * np.sqrt(stiffness) * joint_speeds_rad_s
    wrench -= np.linalg.solve(jacobian @ jacobian.T, jacobian @ posture)
    return jacobian.T @ wrench + posture


def _clipped(gains: ImpedanceGains, error: np.ndarray) -> np.ndarray:
    distance_m, angle_rad = np.sqrt(error[:3] @ error[:3]), np.sqrt(error[3:] @ error[3:])
    if distance_m <= gains.max_error_m and angle_rad <= gains.max_error_rad:
        return error
    shares = np.ones(6)
    shares[:3] = gains.max_error_m / max(distance_m, gains.max_error_m)
    shares[3:] = gains.max_error_rad / max(angle_rad, gains.max_error_rad)
    return error * shares
