"""`restac-ros sim`: demonstrations of the simulated cell's expert, recorded without robot or ROS."""

import math
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import subcommand

from restac_ros.commands.paths import absolute
from restac_ros.commands.recorded_seeds import SEED_NOTE, recorded_seeds
from restac_ros.commands.sim_evaluating import SimEvaluate
from restac_ros.commands.teleoperating import SimTeleop
from restac_ros.commands.terminal import counted, counting, print_error, print_line
from restac_ros.graph import CELL_CONTRACT
from restac_ros.installation import GraphError, config_file
from restac_ros.sim.cell.parameters import DEMONSTRATED, SIMULATED_START_NS, SceneRanges, check_libraries
from restac_ros.sim.evaluation.settings import check_scenes

if TYPE_CHECKING:
    from restac_ros.contract.schema import Contract

_DRAWN_NOTE = 'only those images of the cameras were drawn that frames hold'
_ATTEMPTS_PER_EPISODE = 1.2


@dataclass(frozen=True)
class SimRecord:
    """Record demonstrations of the expert into a LeRobot data set: same framing and writer as on a robot.

    Each seed is a scene. Seeds that the data set holds already are skipped: after an interrupt the same call
    continues from there; another task or contract is refused. Attempts in which the expert fails are
    named and left out.
    """

    to: Path
    """Data set; made if absent."""
    episodes: int = 50
    """How many the data set shall hold of these seeds."""
    first_seed: int = 1_000_000
    """Seed of the first scene; evaluations use small ones."""
    task: str = 'insert the plug into the socket'
    """Task text of the episodes."""
    contract: Path | None = None
    """Robot facts (YAML); default: config/contract_cell.yaml, whose actions are the commanded poses."""
    limit_s: float = 20.0
    """Longest attempt, simulated time."""
    keep_journals: Path | None = None
    """Also keep the journals, in this directory."""

    def run(self) -> int:
        """Record; exit status 1 when the expert failed too often."""
        from restac_ros.contract.load import load_contract

        contract = load_contract(self.contract or config_file(CELL_CONTRACT))
        if self.episodes < 1:
            raise GraphError(f'episodes is {self.episodes}, expected 1 at least')
        check_scenes(self.first_seed, self.limit_s)
        root, done = absolute(self.to), 0
        attempts = math.ceil(_ATTEMPTS_PER_EPISODE * self.episodes)
        seeds = range(self.first_seed, self.first_seed + attempts)
        held = self._held(contract, root, seeds)
        place = _made(absolute(self.keep_journals) or root.parent)
        with counting('recording') as advance, TemporaryDirectory(dir=place) as scratch:
            for seed in seeds:
                if seed in held or self._record(contract, seed, root, Path(scratch)):
                    done += 1
                advance(done, self.episodes)
                if done == self.episodes:
                    break
        print_line(f'{root}: {counted(done, "episode")} of seeds from {self.first_seed} on')
        return int(done < self.episodes)

    def _held(self, contract: 'Contract', root: Path, seeds: range) -> Collection[int]:
        """Return the seeds that the data set holds.

        Raises:
            DatasetError: it is of another contract.
            GraphError: one of `seeds` is there with another task.
        """
        from restac_ros.dataset.dataset_files import check_appendable, is_dataset, streams_of

        if is_dataset(root):
            check_appendable(root, contract, streams_of(root, contract))
        held = recorded_seeds(root)
        for seed in seeds:
            if seed in held and self.task not in held[seed]:
                raise GraphError(
                    f'{root}: seed {seed} has the task {", ".join(map(repr, sorted(held[seed])))}, expected '
                    f'{self.task!r}; give that --task, or another --to or --first-seed'
                )
        return held

    def _record(self, contract: 'Contract', seed: int, root: Path, scratch: Path) -> bool:
        """Simulate, record and convert one attempt; False when the expert failed.

        A journal gets its name among those that are kept when it is whole, and shows a success.
        """
        from restac_ros.dataset.convert import convert_episode

        keep, journal = absolute(self.keep_journals), scratch / f'seed_{seed}'
        kept = keep / journal.name if keep else None
        if kept is not None and kept.exists():  # it was stopped before it was converted
            self._check_journal(kept, contract)
        elif not record_demonstration(
            journal, contract, seed, self.task, self.limit_s, every_image=bool(keep), ranges=DEMONSTRATED
        ):
            print_error(f'seed {seed}: the expert failed; left out')
            shutil.rmtree(journal)
            return False
        elif kept is not None:
            journal.rename(kept)
        notes = [f'{SEED_NOTE}{seed}', *([] if keep else [_DRAWN_NOTE])]
        convert_episode(kept or journal, contract, root, notes=notes)
        if kept is None:
            shutil.rmtree(journal)
        return True

    def _check_journal(self, journal: Path, contract: 'Contract') -> None:
        """Refuse a journal of an earlier call that recorded something else; raises GraphError, BagError."""
        from restac_ros.contract.load import dump_contract
        from restac_ros.dataset.bag.bag_reader import open_bag
        from restac_ros.dataset.journal import read_notes

        noted = read_notes(open_bag(journal))
        if (noted.task, noted.contract_text) != (self.task, dump_contract(contract)):
            raise GraphError(
                f'{journal} is there already, with the task {noted.task!r}, expected {self.task!r} and the '
                'same contract; give another --keep-journals, or move it'
            )


@dataclass(frozen=True)
class SimExpert:
    """Let the expert insert the plug, by touch or without: a first trial of the cell, without cameras."""

    scenes: int = 5
    """How many scenes, a seed each."""
    first_seed: int = 0
    """Seed of the first scene."""
    strategy: Literal['touch', 'guess', 'retries', 'spiral'] = 'touch'
    """How to search: by feel, not at all, at random places, along a spiral."""
    limit_s: float = 20.0
    """Longest attempt, simulated time."""

    def run(self) -> int:
        """Print each attempt and the share of successes."""
        from restac_ros.sim.cell.cell import Cell
        from restac_ros.sim.cell.expert import Expert, Strategy
        from restac_ros.sim.cell.intervals import wilson_interval
        from restac_ros.sim.cell.parameters import CellScene, draw_scene
        from restac_ros.sim.cell.trial import Senses, SensorNoise, run_trial

        if self.scenes < 1:
            raise GraphError(f'scenes is {self.scenes}, expected 1 at least')
        check_scenes(self.first_seed, self.limit_s)
        cell, successes = Cell(CellScene()), 0
        for seed in range(self.first_seed, self.first_seed + self.scenes):
            scene = draw_scene(seed)
            expert = Expert(Strategy(self.strategy), cell=cell.parameters, seed=seed)
            trial = run_trial(cell, scene, expert, Senses(scene, SensorNoise(), seed), self.limit_s)
            outcome = 'inserted' if trial.success else f'not inserted, {1000 * trial.miss_m:.1f} mm beside'
            print_line(f'seed {seed}: {outcome}, {trial.seconds:.1f} s, peak {trial.peak_n:.1f} N')
            successes += trial.success
        low, high = wilson_interval(successes, self.scenes)
        print_line(f'{successes} of {self.scenes} inserted ({low:.0%} to {high:.0%} at 95 % confidence)')
        return 0


@dataclass(frozen=True)
class Sim:
    """The simulated plug-insertion cell: its expert, without ROS, and a person at the keys."""

    what: (
        Annotated[SimExpert, subcommand('expert')]
        | Annotated[SimRecord, subcommand('record')]
        | Annotated[SimEvaluate, subcommand('evaluate')]
        | Annotated[SimTeleop, subcommand('teleop')]
    )

    def run(self) -> int:
        """Run the subcommand; refused where the cell's libraries are not installed."""
        check_libraries()
        return self.what.run()


def record_demonstration(
    path: Path,
    contract: 'Contract',
    seed: int,
    task: str,
    limit_s: float,
    every_image: bool = False,
    ranges: SceneRanges | None = None,
) -> bool:
    """Write the journal of one attempt, as the recorder would; return whether the expert succeeded.

    Without `every_image` it lacks the cameras' images that no frame holds, half of them at 30 Hz and 15 fps.

    Raises:
        CellError: the contract does not fit the cell, or nothing can be drawn here.
        JournalError: the disk refuses.
    """
    from restac_ros.dataset.journal import Journal
    from restac_ros.framing.encode import driver_message
    from restac_ros.framing.stamp import with_stamp
    from restac_ros.sim.cell.demonstration import Demonstration

    shown = Demonstration(contract, seed, every_image=every_image, ranges=ranges)
    journal = Journal(path, contract, start_ns=SIMULATED_START_NS, task=task, sync=False)
    end_ns = SIMULATED_START_NS
    for stream in contract.by_role('tactile'):
        cdr = driver_message(contract, stream, shown.loop.sensors.reference())
        journal.write_reference(stream, with_stamp(cdr, SIMULATED_START_NS), SIMULATED_START_NS)
    for reading in shown.readings(limit_s):
        assert reading.stream is not None
        assert reading.value is not None
        cdr = driver_message(contract, reading.stream, reading.value)
        end_ns = SIMULATED_START_NS + reading.publish_ns
        journal.write(reading.stream, with_stamp(cdr, SIMULATED_START_NS + reading.stamp_ns), end_ns)
    journal.close(end_ns + 1)
    return shown.succeeded


def _made(folder: Path) -> Path:
    """Return a directory that exists now."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
