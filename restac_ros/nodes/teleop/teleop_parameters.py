"""Parameters of teleop_node."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from restac_ros.contract.schema import Contract
from restac_ros.control.limits import MotionLimits
from restac_ros.control.stick_axes import StickAxis, parse_axes
from restac_ros.control.teleoperation import TeleoperationLimits
from restac_ros.graph import CELL_CONTRACT
from restac_ros.installation import config_file
from restac_ros.runtime.node_parameters import Milliseconds, NodeParameters, texts_of


def _axes(value: object) -> object:
    return parse_axes(texts_of(value))


class TeleopParameters(NodeParameters):
    """See config/teleop.yaml."""

    target_topic: str = Field(min_length=1, description='PoseStamped of the controller; ours alone')
    gripper_topic: str = Field(min_length=1, description='Float64, opening of the gripper in m')
    rate_hz: float = Field(ge=10, le=500, description='set-points a second')
    speed_m_s: float = Field(gt=0, le=10, description="largest, where the contract's is not lower")
    speed_rad_s: float = Field(gt=0, le=10, description="largest, where the contract's is not lower")
    lead_m: float = Field(gt=0, le=0.04, description='farthest of the target from the tool')
    lead_rad: float = Field(gt=0, le=0.4, description='farthest of the target from the tool')
    joy_topic: str = Field(min_length=1, description='sensor_msgs/Joy of a gamepad')
    joy_axes: Annotated[tuple[StickAxis, ...], BeforeValidator(_axes)] = Field(
        description="what each axis moves, such as '1 +x'"
    )
    joy_close_button: int = Field(ge=0, le=255, description='button that closes the gripper')
    joy_open_button: int = Field(ge=0, le=255, description='button that opens it')
    joy_dead_zone: float = Field(ge=0, lt=1, description="share of an axis' way that counts as centred")
    joy_max_age_ms: Milliseconds = Field(description='silence for longer counts as centred')

    @property
    def contract_path(self) -> Path:
        """The contract to read: the given one, or that of the cell."""
        return self.contract or config_file(CELL_CONTRACT)

    def limits(self, contract: Contract) -> TeleoperationLimits:
        """Return the limits of the motion.

        Raises:
            LimitError: limits that contradict each other.
        """
        motion = MotionLimits.from_contract(contract)
        limits = TeleoperationLimits(motion, lead_m=self.lead_m, lead_rad=self.lead_rad)
        return limits.slowed(self.speed_m_s, self.speed_rad_s)
