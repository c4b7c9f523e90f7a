"""What loops and control are made of, from the parameters of config/policy.yaml and config/streamer.yaml."""

from typing import Any

from restac_ros.contract.schema import Contract
from restac_ros.control.chunk import ChunkRules
from restac_ros.control.continuity import ContinuityConfig
from restac_ros.control.limits import MotionLimits
from restac_ros.control.streaming import StreamerConfig
from restac_ros.control.supervisor import ROBOT_STATE, SupervisorConfig
from restac_ros.control.trail import FollowingConfig
from restac_ros.runtime.runtime_products import RuntimeSettings
from restac_ros.runtime.surprise import SurpriseRule


def runtime_settings(policy: Any) -> RuntimeSettings:
    """Return the settings of the loops; `policy` has the parameters of config/policy.yaml as attributes."""
    return RuntimeSettings(
        replan_period_ns=round(1e9 / policy.replan_hz),
        chunk_validity_ns=round(policy.chunk_validity_ms * 1e6),
        surprise=SurpriseRule(
            policy.replan_gate_threshold,
            policy.replan_gate_release,
            round(policy.replan_gate_interval_ms * 1e6),
        ),
        max_state_age_ns=round(policy.max_state_age_ms * 1e6),
        max_prefix_age_ns=round(policy.max_prefix_age_ms * 1e6),
        max_touch_age_ns=round(policy.max_touch_age_ms * 1e6),
    )


def streamer_config(streamer: Any, contract: Contract) -> StreamerConfig:
    """Return what control is configured by; `streamer` has the parameters of config/streamer.yaml.

    Raises:
        LimitError: limits that contradict each other.
    """
    names = ('acceleration_m_s2', 'acceleration_rad_s2', 'jerk_m_s3', 'jerk_rad_s3', 'step_m', 'step_rad')
    ages_ms = {
        'observation': streamer.max_observation_age_ms,
        'cameras': streamer.max_camera_age_ms,
        'tactile': streamer.max_tactile_age_ms,
        ROBOT_STATE: streamer.robot_state_max_age_ms if streamer.robot_state_topic else 0,
    }
    return StreamerConfig(
        limits=MotionLimits.from_contract(contract, **{name: getattr(streamer, name) for name in names}),
        rules=ChunkRules.from_contract(contract),
        continuity=ContinuityConfig(
            mode=streamer.continuity,
            fade_ns=round(streamer.fade_ms * 1e6),
            ensemble_decay=streamer.ensemble_decay,
            ensemble_order=streamer.ensemble_order,
            ensemble_size=streamer.ensemble_size,
        ),
        supervisor=SupervisorConfig(
            max_age_ns={name: round(age_ms * 1e6) for name, age_ms in ages_ms.items() if age_ms},
            watch_robot_mode=bool(streamer.robot_state_topic),
            deadman=bool(streamer.deadman_topic),
            deadman_max_age_ns=round(streamer.deadman_max_age_ms * 1e6),
        ),
        following=FollowingConfig(
            following_m=streamer.following_m,
            following_rad=streamer.following_rad,
            motionless_m=streamer.motionless_m,
            motionless_rad=streamer.motionless_rad,
        ),
        max_measured_age_ns=contract.streams[contract.pose_stream].max_age_ns,
        measures_gripper=bool(contract.by_role('gripper')),
    )
