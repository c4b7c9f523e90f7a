"""How policy and streamer are deployed: by the files of config/, as on a robot."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from restac_ros.contract.schema import Contract
from restac_ros.control.streaming import StreamerConfig
from restac_ros.graph import SIM_ROBOT
from restac_ros.parameter_file import read_sections
from restac_ros.runtime.deployment import runtime_settings, streamer_config
from restac_ros.runtime.runtime_products import RuntimeSettings
from restac_ros.sim.cell.parameters import CellError


@dataclass(frozen=True)
class Deployment:
    """What an attempt runs with.

    Attributes:
        policy: parameters of config/policy.yaml, by name.
        settings: of the loops.
        streamer: of control.
        period_ns: of set-points.
        gripper_deadband_m: smaller changes of the opening are not commanded.
    """

    policy: Any
    settings: RuntimeSettings
    streamer: StreamerConfig
    period_ns: int
    gripper_deadband_m: float


def read_deployment(folder: Path, contract: Contract) -> Deployment:
    """Return the deployment that policy.yaml and streamer.yaml in `folder` describe, in the cell.

    Raises:
        ParameterFileError: a file cannot be read.
        CellError: a file asks for what there is not in the cell's closed loop.
    """
    policy = _parameters(folder / 'policy.yaml')
    streamer = _parameters(folder / 'streamer.yaml', **SIM_ROBOT)
    if policy.planner or policy.tokenizer or policy.dtype != 'checkpoint' or streamer.deadman_topic:
        raise CellError(
            f'{folder}: found planner, tokenizer, dtype or deadman_topic, expected their defaults: policies '
            'are evaluated in the cell without them'
        )
    return Deployment(
        policy,
        runtime_settings(policy),
        streamer_config(streamer, contract),
        round(1e9 / streamer.rate_hz),
        streamer.gripper_deadband_m,
    )


def _parameters(path: Path, **more: object) -> Any:
    [section] = read_sections(path)
    return SimpleNamespace(**{**section.values, **more})
