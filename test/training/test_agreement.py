"""A data set that its contract does not describe is refused when it is opened, with what to do about it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.dataset.features import STATE_NAMES
from restac_ros.geometry.quaternion import from_rpy, to_rotvec
from restac_ros.geometry.rotation import unwrap
from restac_ros.training.data.episodes import open_episodes
from restac_ros.training.errors import TrainingError

STATE, ACTION = 'observation.state', 'action'


def test_another_frame_rate_is_refused(touch_data: Path, contract_with: Callable[..., Contract]) -> None:
    with pytest.raises(TrainingError, match='found 15 frames/s, expected 10 by the contract'):
        open_episodes(touch_data, contract_with(fps=10))


def test_a_contract_that_contradicts_the_recordings_own_is_refused(
    touch_data: Path, contract_with: Callable[..., Contract]
) -> None:
    other = contract_with(rotation={'convention': 'rotvec', 'branch_centre_rad': [np.pi, 0.0, 0.0]})
    with pytest.raises(
        TrainingError, match=r"rotation\.convention: 'rpy' != 'rotvec'.*leave --data\.contract"
    ):
        open_episodes(touch_data, other)


def test_columns_that_no_camera_of_the_contract_names_are_refused(
    touch_data: Path, contract_with: Callable[..., Contract], contract: Contract
) -> None:
    streams = contract.model_dump(mode='json')['streams']
    streams['main']['feature'] = 'observation.images.top'
    only = {name: value for name, value in streams.items() if name not in ('handeye', 'side')}
    with pytest.raises(TrainingError, match=r'found image columns .*expected some of .*top.*`feature`'):
        open_episodes(touch_data, contract_with(streams=only))


def test_joints_are_not_taken_for_a_pose(info_with: Callable[..., Path]) -> None:
    joints = {'motors': [f'joint_{number}' for number in range(7)]}
    root = info_with(lambda info: info['features'][STATE].update(names=joints))
    with pytest.raises(TrainingError, match=r"state: found dimensions \['joint_0', .*expected \['ee_x'"):
        open_episodes(root)


@pytest.mark.parametrize('names', [None, {'axes': STATE_NAMES}])
def test_names_may_be_unstated_or_under_a_heading(info_with: Callable[..., Path], names: object) -> None:
    root = info_with(lambda info: info['features'][STATE].update(names=names))
    assert len(open_episodes(root).state)


def test_actions_that_are_deltas_already_are_refused(
    numbers_with: Callable[..., Path], touch_data: Path
) -> None:
    states = open_episodes(touch_data)

    def minus_state(values: np.ndarray, episode: int) -> np.ndarray:
        span = states.tables.spans[episode]
        deltas = values - states.state[span.first : span.first + span.length]
        deltas[:, 3:] = values[:, 3:]
        return deltas

    with pytest.raises(TrainingError, match=r'm from the state, expected absolute poses.*these are deltas'):
        open_episodes(numbers_with(ACTION, minus_state))


@pytest.mark.parametrize(
    ('dims', 'factor', 'expected'),
    [
        (
            slice(6, 7),
            1000,
            r'state gripper of episode 0, frame 0: found 5\d.*expected -0\.005 to 0\.085.*to m',
        ),
        (slice(0, 3), 1000, r'state ee_x of episode 0, frame 0: found .*expected -3 to 3.*in mm\?'),
        (slice(3, 6), 57.3, r'state ee_rot_x of episode 0, frame 0: found 1\d\d.*in degrees'),
    ],
)
def test_other_units_are_refused_by_place(
    numbers_with: Callable[..., Path], dims: slice, factor: float, expected: str
) -> None:
    def scaled(values: np.ndarray, _: int) -> np.ndarray:
        values[:, dims] *= factor
        return values

    with pytest.raises(TrainingError, match=expected):
        open_episodes(numbers_with(STATE, scaled))


@pytest.mark.parametrize('column', [STATE, ACTION])
def test_a_rotation_vector_is_not_taken_for_angles(column: str, numbers_with: Callable[..., Path]) -> None:
    """Of a tool that points down, turned by 2 rad, which is no roll, pitch and yaw that deployment gives."""

    def as_vector(values: np.ndarray, _: int) -> np.ndarray:
        vectors = to_rotvec(from_rpy(values[:, 3:6] + np.array([0.0, 0.0, 2.0])))
        values[:, 3:6] = unwrap('rotvec', vectors, np.array([np.pi, 0.0, 0.0]))
        return values

    expected = rf"{column} ee_rot_y of episode 0, frame 0: found 2\.\d+ rad, expected -pi/2 .*'rotvec'"
    with pytest.raises(TrainingError, match=expected):
        open_episodes(numbers_with(column, as_vector))


def test_a_number_that_is_not_finite_is_named_by_place(numbers_with: Callable[..., Path]) -> None:
    def broken(values: np.ndarray, episode: int) -> np.ndarray:
        values[5, 2] = np.nan if episode == 1 else values[5, 2]
        return values

    with pytest.raises(
        TrainingError, match=r'observation\.state\[2\] of episode 1, frame 5: found nan'
    ) as caught:
        open_episodes(numbers_with(STATE, broken))
    assert 'take the episode out with `restac-ros delete`' in str(caught.value)
