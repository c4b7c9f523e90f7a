"""Whether a data set's numbers and columns mean what its contract states, decided without an image."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import ABOUT, dataset_contract
from restac_ros.dataset.features import NO_GRIPPER, STATE_NAMES, meaning_differences
from restac_ros.geometry.rotation import wrap_to_pi
from restac_ros.training.data.tables import Tables
from restac_ros.training.errors import TrainingError

LARGEST_POSITION_M = 3.0
GRIPPER_MARGIN_M = 0.005
_TURN_MARGIN_RAD = 0.1
_DELTA_FACTOR = 5.0  # deltas are this much nearer to zero than to the state
_LEAST_REACH_M = 0.02


def check_agreement(
    tables: Tables, contract: Contract, cameras: Mapping[str, str], touch: Sequence[str]
) -> None:
    """Refuse a data set that its contract does not describe.

    Args:
        tables: of the data set.
        contract: the declared meaning of its columns.
        cameras: image column of each camera stream.
        touch: image columns of tactile streams.

    Raises:
        TrainingError: every disagreement: what was found, what was expected, what to do.
    """
    checks = (_rate(tables, contract), _own_contract(tables, contract), _images(tables, cameras, touch))
    faults = [fault for check in checks for fault in check]
    faults += [fault for column in tables.numbers for fault in _names(tables, contract, column)]
    if not faults:  # numbers of other columns cannot be compared
        faults = [*_ranges(tables, contract), *_pitch(tables, contract), *_space(tables)]
    if faults:
        raise TrainingError(f'{tables.root}: ' + '; '.join(faults))


def _rate(tables: Tables, contract: Contract) -> Iterator[str]:
    if tables.fps != contract.fps:
        yield (
            f'fps: found {tables.fps} frames/s, expected {contract.fps} by the contract: give the contract '
            'that the data were recorded under'
        )


def _own_contract(tables: Tables, contract: Contract) -> Iterator[str]:
    """A contract that is given must not contradict the one that the data were recorded under."""
    if not (tables.root / ABOUT / 'contract.yaml').is_file():
        return
    lines = meaning_differences(dataset_contract(tables.root), contract)
    if lines := [line for line in lines if not line.startswith('fps:')]:
        yield (
            f'the contract given contradicts the one it was recorded under (recorded != given): '
            f'{", ".join(lines)}: leave --data.contract out, or convert the recordings anew'
        )


def _images(tables: Tables, cameras: Mapping[str, str], touch: Sequence[str]) -> Iterator[str]:
    features = tables.info['features']
    present = [column for column in cameras.values() if column in features]
    if not present:
        images = [name for name, feature in features.items() if feature['dtype'] in ('image', 'video')]
        yield (
            f'found image columns {images}, expected some of {list(cameras.values())}: name them as '
            '`feature` of the cameras in a contract and give it with --data.contract'
        )
    for column in (*present, *(column for column in touch if column in features)):
        if (dtype := features[column]['dtype']) not in ('image', 'video'):
            yield f'{column}: found {dtype}, expected image or video: record it as one'


def _names(tables: Tables, contract: Contract, column: str) -> Iterator[str]:
    """Dimensions that are named must be named as ours are: seven joints are no pose."""
    found = _flat(tables.info['features'][column].get('names'))
    expected = [*STATE_NAMES[:6], NO_GRIPPER] if contract.gripper.absent else STATE_NAMES
    if found and found != expected:
        yield (
            f'{column}: found dimensions {found}, expected {expected}: convert the data to poses, or, '
            "if these are others' names for the same, write ours into meta/info.json"
        )


def _flat(names: Any) -> list[str]:
    """LeRobot writes names as a list, or as a list under a heading."""
    if isinstance(names, Mapping):
        return [name for part in names.values() for name in _flat(part)]
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _ranges(tables: Tables, contract: Contract) -> Iterator[str]:
    """Positions in m, angles on the contract's branch in rad, openings that the gripper has."""
    half_turn = np.pi if contract.rotation.convention == 'rpy' else 2 * np.pi
    centre = np.array(contract.rotation.branch_centre_rad)
    closed, opened = contract.gripper.opening_m
    low = [*[-LARGEST_POSITION_M] * 3, *(centre - half_turn - _TURN_MARGIN_RAD), closed - GRIPPER_MARGIN_M]
    high = [*[LARGEST_POSITION_M] * 3, *(centre + half_turn + _TURN_MARGIN_RAD), opened + GRIPPER_MARGIN_M]
    remedies = ['is this in mm?'] * 3
    remedies += ['is this in degrees, or on another branch? See rotation.branch_centre_rad'] * 3
    remedies += ['state its range as gripper.opening_m, or convert the openings to m']
    for column in ('observation.state', 'action'):
        outside = (tables.numbers[column] < low) | (tables.numbers[column] > high)
        for dim in np.flatnonzero(outside.any(axis=0)).tolist():
            row = int(np.argmax(outside[:, dim]))
            yield (
                f'{column} {STATE_NAMES[dim]} of {tables.place(row)}: found '
                f'{tables.numbers[column][row, dim]:.4g}, expected {low[dim]:.4g} to {high[dim]:.4g} '
                f'under the contract: {remedies[dim]}'
            )


def _pitch(tables: Tables, contract: Contract) -> Iterator[str]:
    """Of the angles of one rotation, deployment gives those whose pitch is at most a quarter turn."""
    if contract.rotation.convention != 'rpy':
        return
    for column in ('observation.state', 'action'):
        pitch = tables.numbers[column][:, 4]
        outside = np.abs(wrap_to_pi(pitch)) > np.pi / 2 + _TURN_MARGIN_RAD
        if outside.any():
            row = int(np.argmax(outside))
            yield (
                f'{column} ee_rot_y of {tables.place(row)}: found {pitch[row]:.4g} rad, expected -pi/2 to '
                "pi/2, as rotation.convention is 'rpy' in the contract: are these rotation vectors "
                "('rotvec'), or angles in another order?"
            )


def _space(tables: Tables) -> Iterator[str]:
    """Actions are absolute poses near the state, not changes near zero: a delta of a delta trains nothing."""
    state, action = (tables.numbers[column][:, :3] for column in ('observation.state', 'action'))
    from_state = float(np.median(np.linalg.norm(action - state, axis=1)))
    from_zero = float(np.median(np.linalg.norm(action, axis=1)))
    if from_state > max(_DELTA_FACTOR * from_zero, _LEAST_REACH_M):
        yield (
            f'action: found values {from_zero:.3g} m from zero and {from_state:.3g} m from the state, '
            'expected absolute poses near the state: these are deltas; add the state to them, as training '
            'takes the difference itself'
        )
