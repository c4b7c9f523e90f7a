"""Logs an episode of a data set as a run is logged, by what the data set holds of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import dataset_contract
from restac_ros.dataset.episode_frames import episode_frames, episode_text
from restac_ros.geometry import quaternion
from restac_ros.geometry.rotation import quaternion_from_rotation
from restac_ros.view.playback import tactile_stream
from restac_ros.view.rerun import layout
from restac_ros.view.rerun.recordings import new_recording
from restac_ros.view.rerun.sink import RerunSink
from restac_ros.view.scene import SceneOptions


def log_episode(
    root: Path,
    index: int,
    to: Path,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
    otherwise: Contract | None = None,
) -> int:
    """Write episode `index` of a data set to the file `to` (.rrd); return its number of frames.

    `otherwise` is the contract of a data set that has none, as LeRobot makes.

    Raises:
        DatasetError: a data set without a contract, no such episode, or its files are damaged.
    """
    contract, text = dataset_contract(root, otherwise), episode_text(root, index)
    recording = new_recording(f'{root.name} episode {index}', contract, is_dataset=True)
    recording.save(to)
    tactile = tactile_stream(contract)
    sink = RerunSink(recording, contract, tactile, SceneOptions(), is_dataset=True)
    sink.add_words(layout.AT_PROMPT, text.task, 0)
    count = 0
    for frame in episode_frames(root, index, otherwise):
        time_ns = round(frame.time_s * 1e9)
        sink.add_opening(float(frame.state[6]))
        sink.add_pose(_pose(contract, frame.state), time_ns)
        for name, image in frame.images.items():
            if name == tactile:
                sink.add_tactile(image, time_ns)
            elif contract.streams[name].role == 'camera':
                sink.add_image(name, image, time_ns)
        sink.add_vector(layout.AT_STATE, frame.state.tolist(), time_ns)
        sink.add_vector(layout.AT_ACTION, frame.action.tolist(), time_ns)
        sink.add_subtask(frame.subtask, time_ns)
        sink.draw(time_ns)
        count += 1
        on_frame(count, text.frames)
    recording.flush()
    recording.disconnect()
    return count


def _pose(contract: Contract, state: np.ndarray) -> np.ndarray:
    """State [7] -> pose of the tool in the base [4, 4]."""
    pose = np.eye(4)
    pose[:3, :3] = quaternion.to_matrix(quaternion_from_rotation(contract.rotation.convention, state[3:6]))
    pose[:3, 3] = state[:3]
    return pose
