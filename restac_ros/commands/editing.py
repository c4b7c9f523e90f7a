"""Subcommands that change which episodes a data set holds, and the list of what is in a directory."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional

from restac_ros.commands.paths import absolute
from restac_ros.commands.terminal import counted, counting, print_line


@dataclass(frozen=True)
class Delete:
    """Remove episodes from a data set. Nothing is lost: all that changes goes to DATASET.deleted-N.

    The episodes after them get lower numbers; no video is encoded anew.
    """

    dataset: Annotated[Path, Positional]
    """LeRobot v3.0 data set."""
    episodes: Annotated[tuple[int, ...], Positional]
    """Numbers of the episodes, as `restac-ros list` shows them."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.dataset.repair.deletion import delete_episodes

        root = absolute(self.dataset)
        aside, deleted = delete_episodes(root, self.episodes)
        print_line(f'{root}: deleted {", ".join(f"episode {lost.number}" for lost in deleted)}')
        print_line(f'what was deleted or replaced is in {aside}, with a report.json')
        for lost in deleted:
            if again := lost.again(root):
                command = shlex.join([*again, '--again'])
                print_line(f'to append what was episode {lost.number} as a new one: {command}')
        return 0


@dataclass(frozen=True)
class Merge:
    """Append all episodes of several data sets, in the order given, to one; the sources stay as they are."""

    datasets: Annotated[tuple[Path, ...], Positional]
    """LeRobot v3.0 data sets with the same meaning."""
    to: Path
    """Data set; made if absent."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.dataset.joining import join_datasets

        target = absolute(self.to)
        with counting('merging') as on_episode:
            episodes = join_datasets([absolute(path) for path in self.datasets], target, on_episode)
        print_line(f'{target}: {counted(episodes, "episode")}')
        return 0


@dataclass(frozen=True)
class Compact:
    """Put many episodes into each file, as LeRobot v3.0 intends; rows and images stay the same to the bit.

    A conversion writes a file per episode and camera. While this lasts the disk holds the data set twice.
    """

    dataset: Annotated[Path, Positional]
    """LeRobot v3.0 data set."""
    rows_mb: float | None = None
    """Most that a file of rows holds, MB; default: what the data set says (100)."""
    video_mb: float | None = None
    """Most that a video holds, MB; default: what the data set says (200)."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.dataset.compaction import compact_dataset

        root = absolute(self.dataset)
        with counting('compacting') as on_step:
            before, after = compact_dataset(root, self.rows_mb, self.video_mb, on_step)
        print_line(f'{root}: {counted(before, "file")} of rows, videos and descriptions became {after}')
        return 0


@dataclass(frozen=True)
class Adopt:
    """Give a data set without a contract that of its columns, so that episodes can be added to it.

    Columns, shapes and fps are compared; that frames and units are the contract's, you confirm by this call.
    """

    dataset: Annotated[Path, Positional]
    """LeRobot v3.0 data set, such as LeRobot's own tools leave it."""
    contract: Path
    """Robot facts (YAML) that its rows were made with."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.contract.load import load_contract
        from restac_ros.dataset.adoption import adopt_dataset

        root = absolute(self.dataset)
        adopt_dataset(root, load_contract(self.contract))
        print_line(f'{root}: adopted with the contract {absolute(self.contract)}')
        print_line('which recordings its episodes came from is not known: none is skipped as there already')
        return 0


@dataclass(frozen=True)
class Annotate:
    """State what is done when in recorded episodes: subtasks, in LeRobot's own language columns.

    FILE holds `episodes`, by number, with `subtasks` ({from_s, text}, s after the first frame) and `remarks`
    ({at_s, text}); or `marker_topic`, a topic of std_msgs/String in the recordings of the other episodes.
    """

    dataset: Annotated[Path, Positional]
    """LeRobot v3.0 data set."""
    subtasks: Path
    """YAML file."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.dataset.annotation import annotate

        root = absolute(self.dataset)
        for index, words in annotate(root, absolute(self.subtasks)).items():
            parts = ', '.join(f'{time_s:.2f} s {text!r}' for time_s, text in words.subtasks)
            print_line(f'episode {index}: {parts or "no subtask"}')
        return 0


@dataclass(frozen=True)
class List:
    """List the recordings and data sets in a directory: task, length, state and verdict of each."""

    directory: Annotated[Path, Positional] = Path('.')
    """Such as DATASET.journals, or a data set."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.commands.listing import print_list

        print_list(absolute(self.directory), Console())
        return 0
