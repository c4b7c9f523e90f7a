"""What can be measured, and how: the options of each benchmark, which `restac-ros bench` reads."""

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Literal

from restac_ros.installation import GraphError, config_file

REPLAN_HZ = {'tiny': 10.0, 'mid': 2.0}  # what two cores can do beside prefixes; others need `replan_hz`


@dataclass(frozen=True, kw_only=True)
class _Measured:
    module: ClassVar[str]  # of restac_ros.bench: its `main` measures

    json: Path | None = None
    """Also write the figures here."""

    def run(self) -> int:
        """Run the benchmark; exit status 1 when a target is missed."""
        return int(import_module(f'restac_ros.bench.{self.module}').main(self))


@dataclass(frozen=True, kw_only=True)
class _WithContract(_Measured):
    contract: Path | None = None
    """Robot facts; default: the installed contract."""

    @property
    def contract_file(self) -> Path:
        """The contract given, or the installed one."""
        return self.contract or config_file('contract.yaml')


@dataclass(frozen=True, kw_only=True)
class _OnCheckpoint(_Measured):
    checkpoint: Path = Path('runs/checkpoints/tiny')
    """Policy to run."""

    def existing_checkpoint(self) -> Path:
        """The checkpoint; GraphError when there is none."""
        if not self.checkpoint.is_dir():
            remedy = f'`restac-ros init-checkpoint --to {self.checkpoint}` makes one'
            raise GraphError(f'no checkpoint at {self.checkpoint}: {remedy}')
        return self.checkpoint


@dataclass(frozen=True)
class NodeBench(_OnCheckpoint):
    """Loss, latency and CPU share of the policy node's ingest, with a bag at full rate."""

    module = 'node'

    bag: Path | None = None
    """Bag to play; default: the synthetic source."""


@dataclass(frozen=True)
class ModelBench(_Measured):
    """Time of each call of a model preset, beside a matmul yardstick."""

    module = 'model'

    preset: str = 'mid'
    """Size: tiny, mid, pi05_restac or another that `restac-ros init-checkpoint` knows."""
    runs: int = 5
    """Timed runs, after the warm-ups."""
    warmups: int = 2
    """Runs before."""


@dataclass(frozen=True)
class ArithmeticBench(_Measured):
    """A network in float32 and as `dtype: auto` chooses, in turn: times, and how far the actions move."""

    module = 'paired'

    preset: str = 'mid'
    """Size; its weights are random."""
    runs: int = 7
    """Pairs of timed runs."""
    int8: bool = False
    """8-bit weights beside float32's."""


@dataclass(frozen=True)
class GpuBench(_Measured):
    """Latency of each call on an accelerator, beside what its matmul and copy rates allow, and a profile.

    Takes at most `limit_s`: what it has no time for is listed, not dropped silently. Runs on a CPU, too.
    """

    module = 'gpu'

    preset: str = 'pi05_restac_token_in_ae'
    """Network; its random weights are made on the device."""
    views: tuple[int, ...] = (3, 2, 1)
    """Cameras; fewer than three without touch, whose prior reads all."""
    steps: tuple[int, ...] = (10, 5)
    """Euler steps of a chunk."""
    weights: tuple[Literal['bf16', 'int8'], ...] = ('bf16', 'int8')
    """How weights are kept."""
    runs: int = 100
    """Timed runs of each call, after the warm-ups."""
    limit_s: float = 450.0
    """No further case is begun that would end after this."""


@dataclass(frozen=True)
class RuntimeBench(_Measured):
    """Latencies, jitter, losses and CPU of policy, streamer and view, with a bag at full rate.

    Takes `seconds` and half a minute; the first time with a preset, its checkpoint is made and compiled.
    """

    module = 'runtime'

    bag: Path | None = None
    """Bag to play; default: the synthetic source."""
    preset: str = 'tiny'
    """Size of the policy, which gets random weights, as of `restac-ros init-checkpoint`."""
    seconds: float = 20.0
    """Longest measured time."""
    replan_hz: float | None = None
    """Replans a second; default: 10 for tiny, 2 for mid."""
    gate_threshold: float | None = None
    """Above which a rise of the gate triggers a replan; default: the 60th percentile of a first pass."""
    directory: Path = Path('runs')
    """Where checkpoints are kept, and what the run leaves is put until its end."""

    @property
    def rate_hz(self) -> float:
        """Replans a second.

        Raises:
            GraphError: none is given, and none known for the preset.
        """
        if (rate_hz := self.replan_hz or REPLAN_HZ.get(self.preset)) is None:
            raise GraphError(f'no replan rate known for preset {self.preset!r}: give --replan-hz')
        return rate_hz


@dataclass(frozen=True)
class FaultsBench(_OnCheckpoint, _WithContract):
    """Every fault, rehearsed: streams, chunks, people and processes go wrong one at a time.

    Takes about two minutes and no robot: it is refused where another node publishes the streams.
    """

    module = 'faults'

    bag: Path | None = None
    """Whose images to play, again and again; default: test patterns."""
    source: Literal['synthetic', 'sim'] = 'synthetic'
    """What moves: a virtual arm, with images of a bag or patterns, or the simulated cell with its own."""
    cases: tuple[str, ...] = ('',)
    """Names of faults, or parts of them; default: all."""
    params: Path | None = None
    """ROS parameter file for the nodes, such as a streamer's own limits."""
    directory: Path | None = None
    """Where to keep the session logs and the output of the nodes; default: nowhere."""


@dataclass(frozen=True)
class RecordBench(_WithContract):
    """Losses, CPU, memory and disk of the recorder, with a source at full rate: what is recorded is removed.

    Takes `seconds` and half a minute. The two standard runs: the defaults (2.5 minutes, 14 GB of free disk)
    and `--seconds 900 --size 320x240` (16 minutes, 26 GB).
    """

    module = 'recorder'

    seconds: float = 120.0
    """How long to record."""
    size: str = '640x480'
    """Width and height of the cameras' images, px."""
    compression: Literal['none', 'lz4', 'zstd'] = 'none'
    """Of the journal."""
    directory: Path = Path('runs')
    """Where to record to."""


@dataclass(frozen=True)
class ConvertBench(_WithContract):
    """Speed of the converter from raw bags to a data set with video, and what bounds it.

    Bags are made first (4 of 20 s: 7 GB, 10 GB of free disk), and removed afterwards. The standard run takes
    about 2 minutes; `--seconds 60` (28 GB) takes 5, and the time in which libraries are loaded counts less.
    """

    module = 'conversion'

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
    from_memory: bool = False
    """Leave the made bags in the system's file cache, as those just recorded are."""
    directory: Path = Path('runs')
    """Where bags and data set are put."""


@dataclass(frozen=True)
class LoaderBench(_WithContract):
    """Training samples a second from recorded videos, beside a plain decode; and statistics of many frames.

    Takes two minutes: recordings are made first (2 GB), and removed afterwards.
    """

    module = 'loader'

    dataset: Path | None = None
    """LeRobot data set of this package to read; default: one is made."""
    seconds: float = 10.0
    """Length of each of the two recordings that are made."""
    samples: int = 800
    """Read in each round."""
    rounds: int = 5
    """Of the loader and the plain decode in turn, after one that is not counted."""
    threads: int = 0
    """Reading threads; 0: two per core."""
    workers: int = 0
    """Reading processes; 0: threads only."""
    rows: int = 1_000_000
    """Frames whose statistics are measured."""
    horizon: int = 50
    """Steps of a chunk, for these."""
    directory: Path = Path('runs')
    """Where the recordings are put."""


@dataclass(frozen=True)
class TrainBench(_WithContract):
    """Time of a training step beside a bare one of the same network, waiting for data, and saving.

    Takes about six minutes with `mid` and 10 GB of memory; a recording is made first, and removed afterwards.
    """

    module = 'training'

    preset: str = 'mid'
    """Size: see restac_ros/model/presets.py."""
    batch_size: int = 2
    """Samples of a step."""
    rounds: int = 5
    """Steps of each kind in turn, after one that is not counted."""
    steps: int = 8
    """Of the run whose waiting is measured."""
    workers: int = 2
    """Reading processes of that run."""
    seconds: float = 6.0
    """Length of the recording that is made."""
    directory: Path = Path('runs')
    """Where recording and run are put."""


@dataclass(frozen=True)
class PlannerBench(_WithContract):
    """Learning nine subtasks of three tasks from pictures, tokens a second beside the products' floor, and
    how much a plan delays touch.

    Takes about four minutes; episodes are made first, and removed afterwards.
    """

    module = 'planning'

    preset: str = 'mid'
    """Size of the network whose tokens are timed; `tiny` learns."""
    episodes: int = 45
    """That are made; a fifth is held out."""
    steps: int = 400
    """Of training."""
    frames: int = 60
    """Asked about on either side."""
    rounds: int = 20
    """Tokens and floors in turn."""
    windows: int = 12
    """Of either kind in which touch is read, beside plans and alone."""
    readings: int = 36
    """Of a window, at least: two seconds of the contract's sensor."""
    directory: Path = Path('runs')
    """Where episodes and run are put."""


@dataclass(frozen=True)
class TouchBench(_Measured):
    """Whether training uses touch: small policies with and without it are trained and compared.

    Takes about ten minutes on two cores and 3 GB of disk. What is in the directory stays and is not made
    again: an interrupted benchmark continues.
    """

    module = 'touch'

    directory: Path = Path('runs/touch-bench')
    """Data, runs and the page of the evaluation."""
    episodes: int = 40
    """To train on."""
    check_episodes: int = 20
    """To compare on."""
    steps: int | None = None
    """Of every training; default: the configurations' own."""
    frames: int = 400
    """Most frames that are compared."""

    def steps_of(self, config: str) -> int:
        """Steps of a training configuration."""
        from restac_ros.training.config import CONFIGS

        return self.steps or CONFIGS[config].steps


@dataclass(frozen=True)
class CellBench(_Measured):
    """The simulated cell: speed of physics and images, the expert with and without touch, what is learnt.

    Takes about 10 minutes of one core. Physics faster than 5 times real time, and 40 frames of all images a
    second, both on one core, are the targets.
    """

    module = 'cell'

    seeds: int = 50
    """Scenes in which each strategy of the expert is tried, and each clone."""
    first_seed: int = 0
    """The first of these; clones are trained in scenes of other seeds."""
    demonstrations: int = 50
    """Episodes from which a small policy is cloned, with touch and without; 0: none is."""
    trainings: int = 1
    """Clones of each kind, each from other initial weights."""
    steps: int = 6000
    """Of training a clone."""
    vision_m: float = 0.001
    """Standard deviation of the estimate of the housing's place, which drifts within a second."""
    limit_s: float = 20.0
    """Simulated time in which an attempt must succeed."""

    def run(self) -> int:
        """Run the benchmark; exit status 1 when a target is missed."""
        from restac_ros.sim.cell.parameters import check_libraries

        check_libraries()
        return super().run()


def size_px(text: str) -> tuple[int, int]:
    """Width and height from a text like 640x480; GraphError for others."""
    match = re.fullmatch(r'(\d{2,4})x(\d{2,4})', text)
    if match is None:
        raise GraphError(f'size is {text!r}, expected WIDTHxHEIGHT in px, such as 640x480')
    return int(match[1]), int(match[2])
