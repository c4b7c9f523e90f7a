"""`restac-ros bench`: figures to compare, with targets where there are some."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import subcommand

from restac_ros.commands.paths import absolute
from restac_ros.graph import GraphError

_Compression = Literal['none', 'lz4', 'zstd']


@dataclass(frozen=True)
class NodeBench:
    """Loss, latency and CPU share of the policy node's ingest, with a bag at full rate."""

    bag: Path | None = None
    """Bag to play; default: the synthetic source."""
    checkpoint: Path = Path('runs/checkpoints/tiny')
    """Policy to run meanwhile."""
    json: Path | None = None
    """Also write the figures here."""

    def run(self) -> int:
        """Exit status: 1 when a target is missed."""
        from restac_ros.bench.node import main

        return main(bag=absolute(self.bag), checkpoint=absolute(self.checkpoint), json_file=self.json)


@dataclass(frozen=True)
class ModelBench:
    """Time of each call of a model preset, beside a matmul yardstick."""

    preset: str = 'mid'
    """Size: see restac_ros/model/presets.py."""
    runs: int = 5
    """Timed runs, after the warm-ups."""
    warmups: int = 2
    """Runs before."""
    json: Path | None = None
    """Also write the figures here."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.bench.model import main

        return main(self.preset, runs=self.runs, warmups=self.warmups, json_file=self.json)


@dataclass(frozen=True)
class RuntimeBench:
    """Latencies, jitter, losses and CPU of policy, streamer and view, with a bag at full rate.

    Takes `seconds` and half a minute; the first time with a preset, its checkpoint is made and compiled.
    """

    bag: Path | None = None
    """Bag to play; default: the synthetic source."""
    preset: str = 'tiny'
    """Size of the policy, which gets random weights: see restac_ros/model/presets.py."""
    seconds: float = 20.0
    """Longest measured time."""
    replan_hz: float | None = None
    """Replans a second; default: 10 for tiny, 2 for mid."""
    gate_threshold: float | None = None
    """Above which a rise of the gate triggers a replan; default: the 60th percentile of a first pass."""
    directory: Path = Path('runs')
    """Where checkpoints are kept, and what the run leaves is put until its end."""
    json: Path | None = None
    """Also write the figures here."""

    def run(self) -> int:
        """Exit status: 1 when a target is missed."""
        from restac_ros.bench.runtime import RuntimeWish, main

        wish = RuntimeWish(absolute(self.bag), self.preset, self.seconds, self.replan_hz, self.gate_threshold)
        return main(wish, absolute(self.directory), self.json)


@dataclass(frozen=True)
class FaultsBench:
    """Every fault, rehearsed: streams, chunks, people and processes go wrong one at a time.

    Takes about two minutes and no robot: it is refused where anybody else publishes the streams.
    """

    checkpoint: Path = Path('runs/checkpoints/tiny')
    """Policy to run."""
    contract: Path | None = None
    """Its robot facts; default: the installed ones."""
    bag: Path | None = None
    """Whose images to play, again and again; default: test patterns."""
    cases: tuple[str, ...] = ('',)
    """Names of faults, or parts of them; default: all."""
    params: Path | None = None
    """ROS parameter file for the nodes, such as a streamer's own limits."""
    directory: Path | None = None
    """Where to keep the session logs and what the nodes say; default: nowhere."""
    json: Path | None = None
    """Also write the outcomes here."""

    def run(self) -> int:
        """Exit status: 1 when a fault was not borne as it must be."""
        from restac_ros.bench.faults import main

        return main(
            absolute(self.checkpoint),
            contract=absolute(self.contract),
            bag=absolute(self.bag),
            cases=self.cases,
            params=absolute(self.params),
            directory=absolute(self.directory),
            json_file=self.json,
        )


@dataclass(frozen=True)
class RecordBench:
    """Losses, CPU, memory and disk of the recorder, with a source at full rate: what is recorded is removed.

    Takes `seconds` and half a minute. The two standard runs: the defaults (2.5 minutes, 14 GB of free disk)
    and `--seconds 900 --size 320x240` (16 minutes, 26 GB).
    """

    seconds: float = 120.0
    """How long to record."""
    size: str = '640x480'
    """Width and height of the cameras' images, px."""
    compression: _Compression = 'none'
    """Of the journal."""
    contract: Path | None = None
    """Streams to record; default: the installed contract."""
    directory: Path = Path('runs')
    """Where to record to."""
    json: Path | None = None
    """Also write the figures here."""

    def run(self) -> int:
        """Exit status: 1 when a target is missed."""
        from restac_ros.bench.recorder import RecorderWish, main

        wish = RecorderWish(self.seconds, size_px(self.size), self.compression, absolute(self.contract))
        return main(wish, absolute(self.directory), self.json)


@dataclass(frozen=True)
class ConvertBench:
    """Speed of the converter from raw bags to a data set with video, and what bounds it.

    Bags are made first (4 of 20 s: 7 GB, 10 GB of free disk), and removed afterwards. The standard run takes
    about 2 minutes; `--seconds 60` (28 GB) takes 5, and the time in which libraries are loaded counts less.
    """

    seconds: float = 20.0
    """Length of each bag that is made."""
    bags: int = 4
    """How many are made."""
    workers: int = 2
    """Processes that convert."""
    size: str = '640x480'
    """Width and height of the cameras' images, px."""
    bag: tuple[Path, ...] = ()
    """Bags to convert instead; nothing is made then."""
    contract: Path | None = None
    """The bags' contract; default: the installed one."""
    from_memory: bool = False
    """Leave the made bags in the system's file cache, as those just recorded are."""
    directory: Path = Path('runs')
    """Where bags and data set are put."""
    json: Path | None = None
    """Also write the figures here."""

    def run(self) -> int:
        """Exit status: 1 when the target is missed."""
        from restac_ros.bench.conversion import ConversionWish, main

        given = tuple(absolute(path) for path in self.bag)
        contract = absolute(self.contract)
        wish = ConversionWish(
            self.seconds,
            self.bags,
            self.workers,
            size_px(self.size),
            given,
            contract,
            self.from_memory,
        )
        return main(wish, absolute(self.directory), self.json)


def size_px(text: str) -> tuple[int, int]:
    """Width and height from a text like 640x480; GraphError for others."""
    match = re.fullmatch(r'(\d{2,4})x(\d{2,4})', text)
    if match is None:
        raise GraphError(f'size is {text!r}, expected WIDTHxHEIGHT in px, such as 640x480')
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class Bench:
    """Benchmarks: figures to compare, with targets where there are some."""

    what: (
        Annotated[NodeBench, subcommand('node')]
        | Annotated[ModelBench, subcommand('model')]
        | Annotated[RuntimeBench, subcommand('runtime')]
        | Annotated[FaultsBench, subcommand('faults')]
        | Annotated[RecordBench, subcommand('record')]
        | Annotated[ConvertBench, subcommand('convert')]
    )

    def run(self) -> int:
        """Exit status."""
        return self.what.run()
