"""One picture of an episode of a data set: its images over time above its streams, state and actions."""

from pathlib import Path

from restac_ros.dataset.dataset_files import read_info
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.quality.dataset_trace import dataset_traces
from restac_ros.dataset.quality.quality import judge_episode
from restac_ros.dataset.quality.quality_figure import episode_png


def frame_grid_png(dataset_dir: Path | str, out_png: Path | str, episode: int = -1) -> Path:
    """Draw an episode (the last by default), read back from the data set, to `out_png`.

    Raises:
        DatasetError: the data set cannot be read, or has no such episode.
    """
    root, out = dataset_place(dataset_dir), Path(out_png)
    total = read_info(root)['total_episodes']
    index = episode if episode >= 0 else total + episode
    if not 0 <= index < total:
        raise DatasetError(f'{root} has episodes 0 to {total - 1}; found {episode}')
    [trace] = dataset_traces(root, index)
    quality = judge_episode(trace)
    counted = f'{quality.frames} frames at {quality.fps} fps, {quality.duration_s:.2f} s'
    title = f'{root.name}, episode {index}: {trace.task}\n{quality.verdict}: {counted}; action dashed'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(episode_png(trace, quality, title))
    return out
