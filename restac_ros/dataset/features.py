"""What one row of a data set holds, derived from the contract; and whether two data sets may be one."""

from collections.abc import Collection
from typing import Any

import numpy as np

from restac_ros.contract.schema import CameraStream, Contract, TactileStream
from restac_ros.dataset.errors import DatasetError
from restac_ros.framing.frame import Frame
from restac_ros.framing.resize import IMAGE_SIZE, TACTILE_SHAPE

STATE_NAMES = ['ee_x', 'ee_y', 'ee_z', 'ee_rot_x', 'ee_rot_y', 'ee_rot_z', 'gripper']
NO_GRIPPER = 'no_gripper_constant'  # in place of 'gripper' where the contract states that there is none
IMAGE_NAMES = ['height', 'width', 'channels']
# LeRobot takes every column whose name begins with "action" for an output of a policy, so the measured motion
# of the last period is an observation. Data sets published before call it the other way.
ACTION_PREV = 'observation.action_prev'
PUBLISHED_ACTION_PREV = 'action_prev'
NO_SAMPLE_NS = -1  # stamp and age where nothing had been received yet
# Columns about the samples, not from them: `stamp_ns.main`, ... and their types.
BOOKKEEPING = {'stamp_ns': 'int64', 'age_ns': 'int64', 'valid': 'bool'}

# What may differ between episodes of one data set: how the streams reached us, not what the columns mean.
# The last part of a dotted path into the contract, or a whole section.
FREE_TO_DIFFER = {
    'name',
    'topic',
    'type',
    'rate_hz',
    'latency_ms',
    'max_age_ms',
    'required',
    'reliability',
    'encoding',
    'channel_order',
    'frame_id',
    'max_skew_ms',
}
FREE_SECTIONS = ('limits.', 'gripper.joint', 'gripper.absent')  # the columns' names show whether there is one


def stored_streams(contract: Contract, columns: Collection[str] | None = None) -> list[str]:
    """Return the streams that a data set is made of; of optional images those in `columns` (None: all)."""
    left_out = () if contract.action.source == 'target_pose' else [*contract.by_role('target_pose')]
    if columns is not None:
        optional = optional_images(contract)
        left_out = [*left_out, *(name for name in optional if feature_of(contract, name) not in columns)]
    return [name for name in contract.streams if name not in left_out]


def image_columns(contract: Contract) -> dict[str, str]:
    """Return the column of each camera and tactile sensor."""
    streams = contract.streams.items()
    return {name: spec.feature for name, spec in streams if isinstance(spec, CameraStream | TactileStream)}


def optional_images(contract: Contract) -> list[str]:
    """Return the cameras and tactile sensors that a data set may lack."""
    return [name for name in image_columns(contract) if not contract.streams[name].required]


def action_prev_key(columns: Collection[str]) -> str:
    """Return the name of the column `action_prev` in a data set with these columns (none: a new one)."""
    return PUBLISHED_ACTION_PREV if PUBLISHED_ACTION_PREV in columns else ACTION_PREV


def features_of(
    contract: Contract, streams: Collection[str], action_prev: str = ACTION_PREV
) -> dict[str, dict[str, Any]]:
    """Return LeRobot's feature table for rows of these streams; `action_prev` is that column's name.

    Cameras are video; tactile images are stored without loss, as PNG in the Parquet files. Besides the usual
    columns each stream has the capture time and the age, ns, of the sample in the frame (-1: none received
    yet), and whether it was valid.
    """
    features: dict[str, dict[str, Any]] = {}
    for name in streams:
        stream = contract.streams[name]
        if stream.role == 'camera':
            shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
            features[stream.feature] = {'dtype': 'video', 'shape': shape, 'names': IMAGE_NAMES}
        elif stream.role == 'tactile':
            features[stream.feature] = {'dtype': 'image', 'shape': (*TACTILE_SHAPE, 3), 'names': IMAGE_NAMES}
    state_names = [*STATE_NAMES[:6], NO_GRIPPER] if contract.gripper.absent else STATE_NAMES
    for key in ('observation.state', 'action', action_prev):
        features[key] = {'dtype': 'float32', 'shape': (7,), 'names': state_names}
    for name in streams:
        for column, dtype in BOOKKEEPING.items():
            features[f'{column}.{name}'] = {'dtype': dtype, 'shape': (1,), 'names': None}
    return features


def feature_of(contract: Contract, stream: str) -> str:
    """Return the column of a stream's images.

    Raises:
        DatasetError: the stream has none.
    """
    spec = contract.streams[stream]
    if isinstance(spec, CameraStream | TactileStream):
        return spec.feature
    raise DatasetError(
        f'stream {stream} is of role {spec.role}, which has no images: expected camera or tactile'
    )


def row_of(
    contract: Contract,
    frame: Frame,
    action: np.ndarray,
    streams: Collection[str],
    action_prev: str = ACTION_PREV,
) -> dict[str, np.ndarray]:
    """Return the row of a usable frame; `action` float32 [7] is absolute, in the state's layout."""
    if frame.state is None or frame.action_prev is None:
        raise ValueError(f'a frame without state is no row: {"; ".join(frame.reasons)}')
    images = {**frame.images, **frame.tactile}
    row = {feature_of(contract, name): images[name] for name in streams if name in images}
    row |= {'observation.state': frame.state, 'action': action, action_prev: frame.action_prev}
    for name in streams:
        status = frame.streams[name]
        stamp, age = (NO_SAMPLE_NS if value is None else value for value in (status.stamp_ns, status.age_ns))
        row[f'stamp_ns.{name}'] = np.array([stamp], np.int64)
        row[f'age_ns.{name}'] = np.array([age], np.int64)
        row[f'valid.{name}'] = np.array([status.valid])
    return row


def action_of(contract: Contract, frame: Frame, following: Frame) -> np.ndarray:
    """Return the action at `frame`, float32 [7] absolute: the state one period later, or the commanded pose.

    No stream commands the gripper: its opening one period later is used as its command.
    """
    if following.state is None or (contract.action.source == 'target_pose' and frame.target is None):
        raise ValueError(f'a frame without state or target has no action: {"; ".join(frame.reasons)}')
    if contract.action.source == 'target_pose' and frame.target is not None:
        return np.concatenate([frame.target, following.state[6:]]).astype(np.float32)
    return following.state


def meaning_differences(ours: Contract, theirs: Contract) -> list[str]:
    """Return lines `path: ours != theirs` for differences that change the meaning of a data set's columns."""
    return [line for line in ours.differences(theirs) if not _may_differ(line.partition(':')[0])]


def _may_differ(path: str) -> bool:
    return path.startswith(FREE_SECTIONS) or path.rpartition('.')[2] in FREE_TO_DIFFER


def feature_differences(ours: dict[str, dict], theirs: dict[str, dict]) -> list[str]:
    """Return a line for each feature that only one of two tables has, or that they declare differently."""
    lines = []
    for key in sorted({*ours, *theirs}):
        one, other = (_declared(table.get(key)) for table in (ours, theirs))
        if one != other:
            lines.append(f'{key}: {one} != {other}')
    return lines


def _declared(feature: dict[str, Any] | None) -> str:
    if feature is None:
        return 'absent'
    names = feature.get('names')
    return f'{feature["dtype"]} {list(feature["shape"])}' + (f' {list(names)}' if names else '')
