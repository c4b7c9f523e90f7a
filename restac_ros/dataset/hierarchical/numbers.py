"""The states and actions of a run: two arrays, or the older text file."""

import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.hierarchical.layout import OLDER, RUN_ARRAYS
from restac_ros.framing.kinematics import fk_hand_tcp, transform
from restac_ros.framing.values import STATE_DIM, state_vector

Space = Literal['pose', 'joints']
WIDEST = 32
"""Numbers of a state or an action that pi0.5 has room for."""

_LEAST_FRAMES = 2
_MAX_BYTES = 1 << 30
_WIDTHS = {'pose': STATE_DIM, 'joints': 8}
_MEANING = {
    'pose': 'x y z in m, three angles in rad as the contract has them, opening of the gripper in m',
    'joints': 'seven joints in rad, opening of the gripper in m',
}
_FRAME = re.compile(r'Frame_(\d+)\s*:')
_VECTOR = re.compile(r'(\w+)\s*:\s*\[([^\[\]]*)\]')
_OLDER_NAMES = {'action': 'actions', 'lrstate': 'states'}


class RunNumbers(NamedTuple):
    """States and absolute actions of a run, float64 [T, 7] in the contract's pose layout."""

    states: NDArray[np.float64]
    actions: NDArray[np.float64]


def read_numbers(run: Path, contract: Contract, space: Space) -> RunNumbers:
    """Read the numbers of a run.

    Args:
        run: its directory.
        contract: what a pose is, and where the tool is on the hand.
        space: what the numbers are; joints become poses of the tool by the arm's kinematics.

    Raises:
        DatasetError: a file is missing or damaged, lengths or widths are others, or a value is not finite.
    """
    older = run / OLDER
    if older.is_file() and not any((run / name).is_file() for name in RUN_ARRAYS):
        states, actions = _of_text(older)
        sources = (older, older)
    else:
        sources = (run / RUN_ARRAYS[1], run / RUN_ARRAYS[0])
        states, actions = map(_array, sources)
    for name, values, source in zip(('states', 'actions'), (states, actions), sources, strict=True):
        _check(name, values, source, space)
    if len(states) != len(actions):
        raise DatasetError(
            f'{run}: found {len(states)} states and {len(actions)} actions, expected as many: every frame '
            'has its action'
        )
    if len(states) < _LEAST_FRAMES:
        raise DatasetError(f'{run}: found {len(states)} frames, expected at least {_LEAST_FRAMES}')
    if space == 'joints':
        states, actions = (_poses(contract, values) for values in (states, actions))
    return RunNumbers(states, actions)


def _poses(contract: Contract, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return seven joints and an opening [T, 8] as poses of the tool and openings [T, 7]."""
    offset = contract.robot.pose_tool_in_hand
    pose_tool_in_base = fk_hand_tcp(values[:, :7]) @ transform(offset.xyz_m, offset.rpy_rad)
    return state_vector(contract, pose_tool_in_base, values[:, 7])


def _array(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise DatasetError(f'{path}: no such file, expected {" and ".join(RUN_ARRAYS)} in every run')
    _check_size(path)
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DatasetError(f'{path}: found no array of numbers: {error}') from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in 'fiu' or values.ndim != 2:
        found = f'{values.dtype} {list(values.shape)}' if isinstance(values, np.ndarray) else 'an archive'
        raise DatasetError(f'{path}: found {found}, expected numbers [frames, dimensions]')
    return values.astype(np.float64)


def _of_text(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read blocks `Frame_k:` with `action: [...]` and `lrstate: [...]`, in the order of their numbers."""
    _check_size(path)
    try:
        parts = _FRAME.split(path.read_text(encoding='utf-8'))
    except UnicodeDecodeError as error:
        raise DatasetError(f'{path}: found bytes that are no text: {error}') from error
    numbers = list(map(int, parts[1::2]))
    if not numbers:
        raise DatasetError(f'{path}: found no line "Frame_0:", expected one for every frame')
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    first = numbers[order[0]]
    for place, index in enumerate(order):
        if numbers[index] != first + place:
            raise DatasetError(
                f'{path}: found Frame_{numbers[index]}, expected Frame_{first + place}: frames are missing '
                'or twice there'
            )
    rows: dict[str, list[list[float]]] = {'states': [], 'actions': []}
    for index in order:
        vectors = dict(_VECTOR.findall(parts[2 + 2 * index]))
        for name, column in _OLDER_NAMES.items():
            where = f'{path}: Frame_{numbers[index]}'
            if name not in vectors:
                raise DatasetError(f'{where}: found {list(vectors) or "nothing"}, expected {name}: [...]')
            rows[column].append(_vector(vectors[name], f'{where}: {name}'))
            if len(rows[column][-1]) != len(rows[column][0]):
                raise DatasetError(
                    f'{where}: {name}: found {len(rows[column][-1])} numbers, expected '
                    f'{len(rows[column][0])} as in the frame before'
                )
    return np.array(rows['states'], np.float64), np.array(rows['actions'], np.float64)


def _vector(text: str, where: str) -> list[float]:
    try:
        return [float(word) for word in text.replace(',', ' ').split()]
    except ValueError as error:
        raise DatasetError(f'{where}: found {text[:60]!r}, expected numbers: {error}') from error


def _check(name: str, values: NDArray[np.float64], source: Path, space: Space) -> None:
    width, expected = values.shape[1], _WIDTHS[space]
    if width > WIDEST:
        raise DatasetError(
            f'{source}: {name}: found {width} numbers, expected at most {WIDEST}, and {expected} here: '
            f'{_MEANING[space]}'
        )
    if width != expected:
        other = next((name for name, count in _WIDTHS.items() if count == width), None)
        remedy = f'are these {other}? (--space {other})' if other else 'convert them to poses'
        raise DatasetError(
            f'{source}: {name}: found {width} numbers, expected {expected}: {_MEANING[space]}; {remedy}'
        )
    if not np.isfinite(values).all():
        frame, dim = np.argwhere(~np.isfinite(values))[0].tolist()
        raise DatasetError(
            f'{source}: {name}[{frame}, {dim}]: found {values[frame, dim]}, expected a finite number'
        )


def _check_size(path: Path) -> None:
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise DatasetError(f'{path}: found {size} bytes, expected at most {_MAX_BYTES}')
