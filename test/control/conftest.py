"""Chunks for the tests of control."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from restac_ros.control.chunk import Chunk, build_chunk

STEP_NS = 66_666_666
STAMP_NS = 10**18


def chunk_fields(
    *,
    convention: str = 'rpy',
    position_m: tuple[float, float, float] = (0.5, 0.0, 0.3),
    rotation_rad: tuple[float, float, float] = (3.1, 0.1, -0.4),
    horizon: int = 16,
    delta_pose: np.ndarray | None = None,
    stamp_ns: int = STAMP_NS,
    **changes: object,
) -> dict:
    """Arguments of `build_chunk`, sound unless changed; deltas wander, the gripper closes."""
    convert = Rotation.from_rotvec if convention == 'rotvec' else lambda x: Rotation.from_euler('xyz', x)
    if delta_pose is None:
        steps = np.random.default_rng(0).uniform(-0.01, 0.01, (horizon, 6))
        delta_pose = np.cumsum(steps, axis=0)
    fields = {
        'chunk_id': 7,
        'stamp_ns': stamp_ns,
        'frame_id': 'fr3_link0',
        'anchor_position_m': list(position_m),
        'anchor_quaternion_xyzw': convert(np.array(rotation_rad)).as_quat().tolist(),
        'anchor_state': [*position_m, *rotation_rad],
        'anchor_opening_m': 0.08,
        'convention': convention,
        'composition': 'elementwise',
        'step_ns': STEP_NS,
        'horizon': horizon,
        'delta_pose': np.ravel(delta_pose).tolist(),
        'opening_m': np.linspace(0.075, 0.0, horizon).tolist(),
        'valid_until_ns': stamp_ns + 500_000_000,
    }
    return {**fields, **changes}


@pytest.fixture(scope='session')
def fields() -> Callable[..., dict]:
    return chunk_fields


@pytest.fixture(scope='session')
def make_chunk() -> Callable[..., Chunk]:
    """A sound chunk with some fields changed."""
    return lambda **changes: build_chunk(**chunk_fields(**changes))
