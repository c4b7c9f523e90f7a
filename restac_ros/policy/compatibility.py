"""Whether a checkpoint may run under a contract: what the weights learned must be what the robot will do.

Topics, rates, latencies and limits may differ between two robots of one kind. What gives the numbers their
meaning may not.
"""

from collections.abc import Iterator
from typing import NamedTuple

from restac_ros.contract.errors import ContractError
from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.framing.resize import IMAGE_SIZE, TACTILE_SHAPE
from restac_ros.model.checkpoint.store import CONTRACT, CheckpointInfo
from restac_ros.model.config import ModelConfig
from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.policy.errors import PolicyError


class Difference(NamedTuple):
    """One field that disagrees."""

    field: str
    found: object  # in the contract the policy is to run under
    expected: object  # in the contract of the checkpoint

    def __str__(self) -> str:
        return f'{self.field}: found {self.found!r}, expected {self.expected!r}'


def differences(running: Contract, trained: Contract) -> list[Difference]:
    """Fields of `running` that give states, actions or images another meaning than in `trained`."""
    ours, theirs = dict(_meaning(running)), dict(_meaning(trained))
    fields = [*theirs, *(field for field in ours if field not in theirs)]
    return [
        Difference(field, ours.get(field), theirs.get(field))
        for field in fields
        if ours.get(field) != theirs.get(field)
    ]


def check_fit(info: CheckpointInfo, contract: Contract, source: str) -> None:
    """Refuse a checkpoint that cannot run under this contract, by its manifest.

    Raises:
        PolicyError: the checkpoint's contract is damaged or means something else, or the streams cannot feed
            the model.
    """
    try:
        trained = parse_contract(info.contract_text, f'{source}/{CONTRACT}')
    except ContractError as error:
        raise PolicyError(f'the contract inside the checkpoint is not valid: {error}') from error
    check_contract(contract, trained, source)
    check_model(info.config, contract, source)


def check_contract(running: Contract, trained: Contract, source: str) -> None:
    """Refuse a contract under which the weights would mean something else.

    Raises:
        PolicyError: every field that disagrees, found and expected, and what to do.
    """
    if found := differences(running, trained):
        listed = '\n  '.join(map(str, found))
        raise PolicyError(
            f'contract {running.name!r} does not fit checkpoint {source} (trained under {trained.name!r}):\n'
            f'  {listed}\nRun under the contract in the checkpoint (contract.yaml), adapted in topics and '
            'rates only, or give a checkpoint trained for this robot'
        )


def check_model(config: ModelConfig, contract: Contract, source: str) -> None:
    """Refuse a model that the contract's streams cannot feed.

    Raises:
        PolicyError: image size, cameras or touch do not fit.
    """
    if config.image_size != IMAGE_SIZE:
        raise PolicyError(
            f'{source}: image_size: found {config.image_size}, expected {IMAGE_SIZE} as frames have; '
            'choose another preset'
        )
    if not config.uses_touch:
        return
    if config.tactile is None:
        raise PolicyError(
            f'{source}: tactile: found None, expected an encoder: this model wants touch encoded elsewhere'
        )
    if config.tactile_shape[:2] != TACTILE_SHAPE:
        found = config.tactile_shape[:2]
        raise PolicyError(f'{source}: tactile: found size {found}, expected {TACTILE_SHAPE}')
    slots = {stream.slot for stream in contract.by_role('camera').values()}
    if missing := [slot for slot in CAMERA_SLOTS if slot not in slots]:
        raise PolicyError(
            f'contract {contract.name!r}: streams: no camera for slot {", ".join(missing)}; the tactile '
            f'prior reads all of {", ".join(CAMERA_SLOTS)}. Declare a camera stream for each'
        )
    if len(contract.by_role('tactile')) != 1:
        raise PolicyError(
            f'contract {contract.name!r}: streams: found {len(contract.by_role("tactile"))} of role tactile, '
            'expected one: the policy reads one sensor'
        )


def _meaning(contract: Contract) -> Iterator[tuple[str, object]]:
    """Everything that decides what a number or an image means, by dotted field."""
    yield 'fps', contract.fps
    yield 'robot.arm', contract.robot.arm
    for part in ('xyz_m', 'rpy_rad'):
        yield f'robot.pose_tool_in_hand.{part}', getattr(contract.robot.pose_tool_in_hand, part)
    yield 'rotation.convention', contract.rotation.convention
    yield 'rotation.branch_centre_rad', contract.rotation.branch_centre_rad
    yield 'gripper.opening_m', contract.gripper.opening_m
    yield 'gripper.absent', contract.gripper.absent is not None
    for part in ('space', 'delta', 'source'):
        yield f'action.{part}', getattr(contract.action, part)
    for stream in contract.by_role('camera').values():
        yield f'streams (camera).{stream.slot}.feature', stream.feature
    for index, sensor in enumerate(contract.by_role('tactile').values()):
        yield f'streams (tactile)[{index}].feature', sensor.feature
