"""Where an episode's images lie in the videos of a data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restac_ros.dataset.dataset_files import video_file
from restac_ros.dataset.video.video_cut import VideoPart


def video_part(root: Path, info: Mapping[str, Any], key: str, episode: Mapping[str, Any]) -> VideoPart:
    """Return the part of a video with an episode's images of the column `key`; `episode`: see `video_file`.

    Raises:
        DatasetError: the file would lie outside the data set.
    """
    begin_s, end_s = (episode[f'videos/{key}/{end}_timestamp'] for end in ('from', 'to'))
    return VideoPart(video_file(root, info, key, episode), begin_s, end_s)
