"""Parameters of the streamer, and the configuration of control made from them."""

from typing import Literal

from pydantic import Field

from restac_ros.contract.schema import Contract
from restac_ros.control.chunk import ChunkRules
from restac_ros.control.continuity import ContinuityConfig
from restac_ros.control.limits import MotionLimits
from restac_ros.control.streaming import StreamerConfig
from restac_ros.control.supervisor import ROBOT_STATE, SupervisorConfig
from restac_ros.control.trail import FollowingConfig
from restac_ros.runtime.node_parameters import Milliseconds, NodeParameters


class StreamerParameters(NodeParameters):
    """See config/streamer.yaml."""

    chunk_topic: str = Field(min_length=1, description='ActionChunk of the policy')
    target_topic: str = Field(min_length=1, description='PoseStamped of the controller; ours alone')
    rate_hz: float = Field(ge=10, le=500, description='set-points a second')
    realtime_priority: int = Field(ge=0, le=98, description='SCHED_FIFO priority; 0: none')
    acceleration_m_s2: float = Field(gt=0, le=50, description='largest of the set-points')
    acceleration_rad_s2: float = Field(gt=0, le=100, description='largest of the set-points')
    jerk_m_s3: float = Field(gt=0, le=20_000, description='largest of the set-points')
    jerk_rad_s3: float = Field(gt=0, le=50_000, description='largest of the set-points')
    step_m: float = Field(gt=0, le=0.1, description='most between two set-points')
    step_rad: float = Field(gt=0, le=0.5, description='most between two set-points')
    continuity: Literal['receding_horizon', 'temporal_ensembling'] = Field(description='chunk after chunk')
    fade_ms: Milliseconds = Field(description='in which a switch is faded out')
    ensemble_decay: float = Field(ge=0, le=10, description='m of the weights exp(-m i)')
    ensemble_order: Literal['oldest_first', 'newest_first'] = Field(description='which prediction has i = 0')
    ensemble_size: int = Field(ge=1, le=64, description='chunks averaged at most')
    max_observation_age_ms: Milliseconds = Field(description='of the state behind a chunk; 0: not watched')
    max_camera_age_ms: Milliseconds = Field(description='of the oldest image behind a chunk; 0: not watched')
    max_tactile_age_ms: Milliseconds = Field(description='of the tactile frame behind it; 0: not watched')
    following_m: float = Field(gt=0, le=10, description='farthest of the tool from its set-point')
    following_rad: float = Field(gt=0, le=10, description='farthest of the tool from its set-point')
    motionless_m: float = Field(gt=0, le=10, description='farthest of set-points while the tool is at rest')
    motionless_rad: float = Field(gt=0, le=10, description='farthest of set-points while it is at rest')
    deadman_topic: str = Field(description='std_msgs/Bool, true while pressed; empty: none')
    deadman_max_age_ms: Milliseconds = Field(description='silence for longer counts as released')
    robot_state_topic: str = Field(description='where the robot publishes its mode; empty: not watched')
    robot_state_type: str = Field(description='message type there')
    robot_mode_field: str = Field(min_length=1, description='field of that message')
    robot_state_max_age_ms: Milliseconds = Field(description='silence for longer is a fault')
    gripper_type: str = Field(description='message or action type; empty: no gripper')
    gripper_name: str = Field(min_length=1, description='topic or action')
    gripper_grasp_name: str = Field(description='action of franka_msgs/action/Grasp; empty: none')
    gripper_scale: float = Field(gt=0, le=1000, description='number commanded per m of opening')
    gripper_deadband_m: float = Field(ge=0, le=0.1, description='smaller changes are not sent')
    gripper_speed_m_s: float = Field(gt=0, le=1, description='of franka_msgs Move and Grasp')
    gripper_effort_n: float = Field(ge=0, le=200, description='of GripperCommand, and force of a Grasp')
    gripper_timeout_s: float = Field(gt=0, le=60, description='a goal that lasts longer counts as failed')

    def control(self, contract: Contract) -> StreamerConfig:
        """Return the configuration of `restac_ros.control.streaming`.

        Raises:
            LimitError: limits that contradict each other.
        """
        ages_ms = {
            'observation': self.max_observation_age_ms,
            'cameras': self.max_camera_age_ms,
            'tactile': self.max_tactile_age_ms,
            ROBOT_STATE: self.robot_state_max_age_ms if self.robot_state_topic else 0,
        }
        return StreamerConfig(
            limits=MotionLimits.from_contract(
                contract,
                acceleration_m_s2=self.acceleration_m_s2,
                acceleration_rad_s2=self.acceleration_rad_s2,
                jerk_m_s3=self.jerk_m_s3,
                jerk_rad_s3=self.jerk_rad_s3,
                step_m=self.step_m,
                step_rad=self.step_rad,
            ),
            rules=ChunkRules.from_contract(contract),
            continuity=ContinuityConfig(
                mode=self.continuity,
                fade_ns=round(self.fade_ms * 1e6),
                ensemble_decay=self.ensemble_decay,
                ensemble_order=self.ensemble_order,
                ensemble_size=self.ensemble_size,
            ),
            supervisor=SupervisorConfig(
                max_age_ns={name: round(age_ms * 1e6) for name, age_ms in ages_ms.items() if age_ms},
                watch_robot_mode=bool(self.robot_state_topic),
                deadman=bool(self.deadman_topic),
                deadman_max_age_ns=round(self.deadman_max_age_ms * 1e6),
            ),
            following=FollowingConfig(
                following_m=self.following_m,
                following_rad=self.following_rad,
                motionless_m=self.motionless_m,
                motionless_rad=self.motionless_rad,
            ),
            max_measured_age_ns=contract.streams[contract.pose_stream].max_age_ns,
            measures_gripper=bool(contract.by_role('gripper')),
        )
