"""Makes meta/info.json of a data set of ours anew, from its contract and its files."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.dataset_metadata import CODEBASE_VERSION
from lerobot.datasets.feature_utils import create_empty_dataset_info
from lerobot.datasets.video_utils import get_video_info
from lerobot.utils.constants import DEFAULT_FEATURES

from restac_ros.dataset.dataset_files import dataset_contract, own_video
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import action_prev_key, features_of, stored_streams
from restac_ros.dataset.language import LANGUAGE_FEATURES, PERSISTENT
from restac_ros.dataset.repair.damage_video import examine_video


def rebuilt_info(root: Path) -> dict[str, Any]:
    """Return a meta/info.json with the columns and videos of the data set, and totals of 0.

    Raises:
        DatasetError: it is not ours, or holds nothing to make it from.
    """
    contract = dataset_contract(root)
    present = {path.name for path in (root / 'videos').glob('*')} | _columns(root)
    streams = stored_streams(contract, present)
    features = {**features_of(contract, streams, action_prev_key(present)), **DEFAULT_FEATURES}
    if PERSISTENT in present:
        features |= LANGUAGE_FEATURES
    for key, feature in features.items():
        if feature['dtype'] == 'video':
            features[key] = {**feature, 'info': _video_info(root, key, contract.fps)}
    return create_empty_dataset_info(
        CODEBASE_VERSION, contract.fps, features, use_videos=True, robot_type=contract.robot.arm
    ).to_dict()


def _video_info(root: Path, key: str, fps: int) -> dict[str, Any]:
    """Return what LeRobot notes about a camera's videos, read from the first whole one."""
    video = own_video(root)
    for file in sorted((root / 'videos' / key).glob('*/*.mp4')):
        if examine_video(file, fps).frames:
            return get_video_info(file, RGBEncoderConfig(**video.settings))
    raise DatasetError(f'{root} holds no video of {key} that can be opened. Restore them from a copy.')


def _columns(root: Path) -> set[str]:
    """Return the columns of the first data file that can be read."""
    for path in sorted((root / 'data').glob('*/*.parquet')):
        try:
            return set(pq.read_schema(path).names)
        except (pa.ArrowException, OSError):
            continue
    return set()
