"""Damage of a LeRobot v3.0 data set, as `examine_dataset` finds and `repair` mends it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from restac_ros.dataset.dataset_files import OWN_CONTRACT
from restac_ros.dataset.repair.damage_rows import Rows


@dataclass
class Whole:
    """An episode that stays, as number `number` with its first row at `start`.

    `about` is its row in meta/episodes; `changes` holds the right values of those in it that are wrong.
    """

    rows: Rows
    about: pa.Table
    number: int = -1
    start: int = -1
    changes: dict[str, Any] = field(default_factory=dict)


class Lost(NamedTuple):
    """An episode that must be left out, with the reasons, and its recording where that is known.

    `options` of `restac-ros convert` make the episode of the recording again.
    """

    number: int
    reasons: list[str]
    task: str
    bag: str
    options: list[str]

    def again(self, root: Path) -> list[str]:
        """Return the command that appends the episode to the data set again; [] if its bag is not known."""
        if not self.bag:
            return []
        contract = ['--contract', str(root / OWN_CONTRACT)] if (root / OWN_CONTRACT).is_file() else []
        words = ['restac-ros', 'convert', self.bag, '--to', str(root), '--task', self.task]
        return [*words, *contract, *self.options]


@dataclass
class DatasetDamage:
    """Damage of a data set.

    Attributes:
        faults: what can be mended without loss.
        strays, leftovers: files (relative) and directories (absolute) that belong to no whole episode.
        cut_videos, missing: videos without their end, and absent ones.
        tasks: replaces a wrong table of tasks.
        numbers: new task numbers by those in the rows.
        stale_stats: meta/stats.json is not that of the rows.
        info_lost: `info` was made anew, with totals of 0.
        state: `directory_state` of the data set before anything else of it was read.
    """

    root: Path
    info: dict[str, Any]
    state: tuple[int, int, int]
    whole: list[Whole] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    strays: list[Path] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)
    cut_videos: list[Path] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)
    tasks: list[str] | None = None
    numbers: dict[int, int] = field(default_factory=dict)
    stale_stats: bool = False
    info_lost: bool = False

    @property
    def is_fine(self) -> bool:
        return not (self.lost or self.faults or self.strays or self.leftovers)
