"""One picture of an episode, read back through LeRobot: its images over time above its state and actions."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from restac_ros.dataset.dataset_files import read_info
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import STATE_NAMES
from restac_ros.dataset.lerobot_access import open_dataset, private_cache
from restac_ros.dataset.quality.dataset_trace import dataset_traces
from restac_ros.dataset.quality.quality import EpisodeQuality, judge_episode
from restac_ros.dataset.quality.quality_figure import ABOVE, AXIS_COLOURS, plot_ages, shade_contacts
from restac_ros.dataset.quality.trace import Trace

COLUMNS = 6
_WIDTH_INCH, IMAGE_INCH, CURVE_INCH = 13.0, 1.95, 1.25
# title, dimensions of the state, unit shown, factor to it from m or rad
CURVES = (
    ('position', (0, 1, 2), 'm', 1.0),
    ('rotation', (3, 4, 5), 'deg', 180 / np.pi),
    ('gripper', (6,), 'mm', 1000.0),
)
_STYLE: Any = {
    'font.size': 8,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.alpha': 0.3,
    'grid.linewidth': 0.5,
    'legend.frameon': False,
}


def frame_grid_png(dataset_dir: Path | str, out_png: Path | str, episode: int = -1) -> Path:
    """Draw an episode (the last by default) to `out_png`.

    Rows: each camera and tactile sensor at evenly spaced times; then the measured state (solid) with the
    action (dashed), and how old each stream's sample was in each frame.

    Raises:
        DatasetError: the data set cannot be read, or has no such episode.
    """
    root, out = Path(dataset_dir), Path(out_png)
    total = read_info(root)['total_episodes']
    index = episode if episode >= 0 else total + episode
    if not 0 <= index < total:
        raise DatasetError(f'{root} has episodes 0 to {total - 1}; found {episode}')
    [trace] = dataset_traces(root, index)
    with private_cache(), mpl.rc_context(_STYLE):
        figure = _draw(open_dataset(root, [index]), index, trace, judge_episode(trace))
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=110)
    return out


def _draw(dataset: LeRobotDataset, episode: int, trace: Trace, quality: EpisodeQuality) -> Figure:
    image_keys = [*dataset.meta.video_keys, *dataset.meta.image_keys]
    curve_count = len(CURVES) + 1
    heights = [IMAGE_INCH] * len(image_keys) + [CURVE_INCH] * curve_count
    figure = Figure(figsize=(_WIDTH_INCH, sum(heights) + 1.1))
    FigureCanvasAgg(figure)
    margins = {
        'left': 0.075,
        'right': 0.985,
        'top': 1 - 0.62 / (sum(heights) + 1.1),
        'bottom': 0.42 / (sum(heights) + 1.1),
    }
    grid = GridSpec(len(heights), COLUMNS, figure, height_ratios=heights, wspace=0.04, hspace=0.22, **margins)
    rows = np.unique(np.linspace(0, len(dataset) - 1, COLUMNS).round().astype(int))
    _images(figure, grid, dataset, image_keys, rows)
    table = dataset.hf_dataset.select_columns(_plain_columns(dataset)).with_format('numpy')
    time_s = table['timestamp'][:]
    first = len(image_keys)
    for number, (title, dims, unit, factor) in enumerate(CURVES):
        axes = figure.add_subplot(grid[first + number, :])
        _state_curves(axes, time_s, table['observation.state'][:] * factor, table['action'][:] * factor, dims)
        shade_contacts(axes, quality.contacts)
        axes.legend(ncols=6, **ABOVE)
        _dress(axes, title, unit, time_s, time_s[rows], last=False)
    axes = figure.add_subplot(grid[first + len(CURVES), :])
    plot_ages(axes, time_s, {name: trace.ages_ms(name) for name in trace.messages}, trace.contract)
    _dress(axes, 'age', 'ms', time_s, time_s[rows], last=True)
    figure.suptitle(
        _title(dataset, episode, quality), x=0.075, ha='left', y=1 - 0.1 / (sum(heights) + 1.1), va='top'
    )
    return figure


def _images(
    figure: Figure, grid: GridSpec, dataset: LeRobotDataset, keys: list[str], rows: np.ndarray
) -> None:
    """One row of pictures per key; times above the first."""
    items = [dataset[int(row)] for row in rows]
    for line, key in enumerate(keys):
        for column, item in enumerate(items):
            axes = figure.add_subplot(grid[line, column])
            axes.imshow(item[key].numpy().transpose(1, 2, 0).clip(0, 1), interpolation='nearest')
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            if line == 0:
                axes.set_title(f'{item["timestamp"].item():.2f} s', fontsize=9)
            if column == 0:
                height, width = item[key].shape[1:]
                name = key.removeprefix('observation.images.').replace('_rgb', '').replace('_', '\n', 1)
                axes.set_ylabel(f'{name}\n{width} x {height}', fontsize=9)


def _state_curves(
    axes: Axes, time_s: np.ndarray, state: np.ndarray, action: np.ndarray, dims: tuple[int, ...]
) -> None:
    for colour, dim in zip(AXIS_COLOURS, dims, strict=False):
        label = STATE_NAMES[dim].removeprefix('ee_')
        axes.plot(time_s, state[:, dim], color=colour, linewidth=1.2, label=label)
        axes.plot(time_s, action[:, dim], color=colour, linewidth=0.9, linestyle=(0, (3, 2)))


def _dress(axes: Axes, title: str, unit: str, time_s: np.ndarray, marks_s: np.ndarray, *, last: bool) -> None:
    """Label a curve; grey lines show where the pictures were taken."""
    axes.set_ylabel(f'{title}\n[{unit}]', fontsize=9)
    axes.set_xlim(time_s[0], time_s[-1])
    axes.vlines(marks_s, 0, 1, transform=axes.get_xaxis_transform(), color='0.6', linewidth=0.6)
    if last:
        axes.set_xlabel('time in the episode [s]', fontsize=9)
    else:
        axes.tick_params(labelbottom=False)


def _plain_columns(dataset: LeRobotDataset) -> list[str]:
    return [key for key in dataset.hf_dataset.column_names if key not in dataset.meta.image_keys]


def _title(dataset: LeRobotDataset, episode: int, quality: EpisodeQuality) -> str:
    rate, count = dataset.meta.fps, len(dataset)
    task = dataset[0]['task']
    return (
        f'{dataset.root.name}, episode {episode}: {task}\n{quality.verdict}: {count} frames at {rate} fps, '
        f'{count / rate:.2f} s. State solid, action dashed, age limits dotted; grey lines mark pictures.'
    )
