"""The `restac-ros` command: each subcommand a small dataclass whose `run` calls a layer."""

import datetime
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import OmitSubcommandPrefixes, Positional, subcommand

from restac_ros.contract.errors import ContractError
from restac_ros.dataset.errors import BagError, DatasetError
from restac_ros.graph import GraphError, Run, processes
from restac_ros.model.checkpoint.errors import CheckpointError

MENDABLE = (
    BagError,
    CheckpointError,
    ContractError,
    DatasetError,
    FileExistsError,
    FileNotFoundError,
    GraphError,
)


def _new_run_directory() -> Path:
    return Path('runs') / datetime.datetime.now().strftime('%Y-%m-%dT%H-%M-%S')


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.expanduser().absolute()


@dataclass(frozen=True)
class Up:
    """Start the policy, a recorder and a source where asked for; stop them in order; say what came out."""

    checkpoint: Path | None = None
    """Policy checkpoint; without one only the recorder runs."""
    prompt: str = ''
    """What the robot shall do; also the task text of a recorded episode."""
    contract: Path | None = None
    """Robot facts (YAML); default: the installed config/contract.yaml."""
    record: Path | None = None
    """LeRobot data set to record an episode into; made if absent."""
    bag: Path | None = None
    """rosbag2 (MCAP or sqlite3) to play instead of live drivers."""
    source: Literal['none', 'bag', 'synthetic'] | None = None
    """Who publishes the streams: drivers ('none'), a bag, test patterns. Default: the bag if one is given."""
    rate: float = 1.0
    """Playing speed of the bag."""
    seconds: float = 10.0
    """Length of the synthetic source, s."""
    params: Path | None = None
    """ROS parameter file for tuning the nodes; the defaults are in config/."""
    run_dir: Path = field(default_factory=_new_run_directory)
    """Where the nodes put their summaries, and the picture of the episode."""

    def run(self) -> int:
        """Exit status: 0 when the run ended in order."""
        from restac_ros.summary import print_summary, read_summaries, saved_dataset
        from restac_ros.supervise import Supervisor

        run = self._described()
        listed = processes(run)
        ending = Supervisor(listed, run.directory).run()
        summaries = read_summaries(listed)
        print_summary(summaries, ending)
        if dataset := saved_dataset(summaries):
            _draw_episode(dataset, run.directory / 'episode.png')
        return ending.code

    def _described(self) -> Run:
        return Run(
            directory=_absolute(self.run_dir),
            contract=_absolute(self.contract),
            checkpoint=_absolute(self.checkpoint),
            prompt=self.prompt,
            record=_absolute(self.record),
            bag=_absolute(self.bag),
            source=self.source or ('bag' if self.bag else 'none'),
            rate=self.rate,
            seconds=self.seconds,
            parameter_file=_absolute(self.params),
        )


def _draw_episode(dataset: Path, picture: Path) -> None:
    from restac_ros.dataset.preview import frame_grid_png

    print(f'frames, read back from it by lerobot: {frame_grid_png(dataset, picture)}')


@dataclass(frozen=True)
class InitCheckpoint:
    """Make a randomly initialised checkpoint: for trying the runtime, not for moving a robot."""

    to: Path
    """Directory to make; must not exist."""
    preset: str = 'tiny'
    """Size: see restac_ros/model/presets.py."""
    contract: Path = Path('config/contract.yaml')
    """Robot facts the checkpoint is for."""
    seed: int = 0
    """Seed of the random weights."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.contract.load import load_contract
        from restac_ros.policy.init_checkpoint import init_checkpoint

        report = init_checkpoint(self.preset, load_contract(self.contract), self.to, seed=self.seed)
        print(report)
        return 0


@dataclass(frozen=True)
class Quality:
    """Say how good a recording or a data set is: rates, gaps, freezes, contacts; as a page and as JSON."""

    path: Annotated[Path, Positional]
    """Journal, bag, or data set."""
    contract: Path | None = None
    """Robot facts (YAML), for bags that hold none; default: the installed config/contract.yaml."""
    to: Path | None = None
    """Directory for quality.json and quality.html; default: with what they describe."""

    def run(self) -> int:
        """Exit status: 1 when the verdict is bad."""
        from restac_ros.assessment import assess_path

        return assess_path(self.path, self.contract, self.to)


@dataclass(frozen=True)
class Info:
    """Say what is at a path: a bag, a journal, a data set or a checkpoint."""

    path: Annotated[Path, Positional]
    """What to look at."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.info import print_info

        print_info(self.path)
        return 0


@dataclass(frozen=True)
class Doctor:
    """Check every stream of the contract live, and this machine: what is wrong, and what mends it."""

    contract: Path | None = None
    """Robot facts (YAML); default: the installed config/contract.yaml."""
    seconds: float = 5.0
    """How long to listen, s."""
    journals: Path | None = None
    """Where recordings will go, whose disk is tried; default: runs/ in the current directory."""
    json: Path | None = None
    """Also write the findings here."""

    def run(self) -> int:
        """Exit status: 1 when something is wrong."""
        from restac_ros.doctor import examine

        return examine(
            contract=_absolute(self.contract),
            seconds=self.seconds,
            journals=_absolute(self.journals or Path('runs')),
            json_file=_absolute(self.json),
        )


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

        return main(bag=_absolute(self.bag), checkpoint=_absolute(self.checkpoint), json_file=self.json)


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
class Bench:
    """Benchmarks: figures to compare, with targets where there are some."""

    what: Annotated[NodeBench, subcommand('node')] | Annotated[ModelBench, subcommand('model')]

    def run(self) -> int:
        """Exit status."""
        return self.what.run()


Command = (
    Annotated[Up, subcommand('up')]
    | Annotated[InitCheckpoint, subcommand('init-checkpoint')]
    | Annotated[Quality, subcommand('quality')]
    | Annotated[Info, subcommand('info')]
    | Annotated[Doctor, subcommand('doctor')]
    | Annotated[Bench, subcommand('bench')]
)


def main() -> None:
    """Entry point. Errors a user can mend are one message and status 2; all others are tracebacks, for us."""
    command = tyro.cli(
        Command,
        prog='restac-ros',
        description='Touch for vision-language-action robots on ROS 2.',
        config=(OmitSubcommandPrefixes,),
    )
    try:
        code = command.run()
    except MENDABLE as error:
        print(f'restac-ros: {error}', file=sys.stderr)
        code = 2
    sys.exit(code)


if __name__ == '__main__':
    main()
