"""`restac-ros sim evaluate`."""

import hashlib
import json
import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from restac_ros.commands.paths import absolute
from restac_ros.commands.recorded_seeds import recorded_seeds
from restac_ros.commands.terminal import counting, print_line
from restac_ros.graph import CELL_CONTRACT
from restac_ros.installation import config_file
from restac_ros.sim.cell.parameters import CellError
from restac_ros.sim.evaluation.settings import CallDurations, SimEvaluationConfig

if TYPE_CHECKING:
    from restac_ros.sim.evaluation.cell_card import ShownData


@dataclass(frozen=True)
class SimEvaluate:
    """Let checkpoints try in closed loop, in the same scenes: success, ablations of touch, perturbations.

    The policy's loops run at their rates in simulated time, so that the machine's speed changes nothing; what
    the network's calls take there are parameters. Attempts that are done are kept: after an interrupt the
    same call continues from there, on a machine that draws and computes with the same.
    """

    checkpoints: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar='CHECKPOINT...')]
    """One or more; the others are compared with the first."""
    to: Path | None = None
    """Directory for attempts, sim_evaluation.json and .html; default: in runs/sim_evaluation, another
    one for each other call."""
    task: str = 'insert the plug into the socket'
    """The robot's task."""
    contract: Path | None = None
    """Robot facts (YAML); default: config/contract_cell.yaml."""
    config: Path | None = None
    """Folder with policy.yaml and streamer.yaml; default: the installed ones."""
    measure_durations: bool = False
    """Measure the calls of each checkpoint on this machine, once, in place of --durations.*: results then
    depend on the machine."""
    videos: tuple[int, ...] = ()
    """Seeds of which a video is made."""
    card: Path | None = None
    """File for a card of the first checkpoint (Markdown): how it was made, what it does and cannot do."""
    data: tuple[Path, ...] = ()
    """Data sets that the first checkpoint was made with: the card then names the seeds of their scenes."""
    engine: Literal['here', 'ray'] = 'here'
    """Who simulates: this process, or the hosts of a Ray cluster, on a file system that all mount."""
    ray_address: str | None = None
    """HOST:PORT of a running cluster, or auto; default: this machine's cores."""
    workers: int | None = None
    """With ray on this machine: how many; default: one per core."""
    settings: Annotated[SimEvaluationConfig, tyro.conf.arg(name='')] = field(
        default_factory=SimEvaluationConfig
    )

    def run(self) -> int:
        """Evaluate, print successes, write the page."""
        from restac_ros.contract.load import load_contract
        from restac_ros.model.checkpoint.store import load_info
        from restac_ros.sim.evaluation import evaluate_cell
        from restac_ros.sim.evaluation.cell_card import known_use, shared_seeds, write_card
        from restac_ros.sim.evaluation.cell_page import write_page
        from restac_ros.sim.evaluation.deployment_files import read_deployment
        from restac_ros.sim.evaluation.measured_durations import with_measured_durations

        self._check()
        contract = load_contract(self.contract or config_file(CELL_CONTRACT))
        folder = self.config or config_file('policy.yaml').parent
        to = absolute(self.to or self.default_folder())
        planned = evaluate_cell.plan_attempts(
            self.checkpoints,
            contract,
            read_deployment(folder, contract, self.task),
            self.settings,
            self.task,
            to,
            self.videos,
        )
        info, shown = load_info(self.checkpoints[0], checksums=False), [_shown(root) for root in self.data]
        for one in shown:
            known_use(info, one)
            if shared := shared_seeds(self.settings, one):
                print_line(shared)
        _check_writable(to)
        if self.measure_durations:
            planned = with_measured_durations(planned, to, time.perf_counter)
        make: evaluate_cell.Make = evaluate_cell.make_here
        if self.engine == 'ray':
            make = evaluate_cell.make_on_hosts(partial(_spread, self.ray_address, self.workers))
        with counting('attempts') as advance:
            evaluate_cell.run_attempts(planned, make, advance)
        report = evaluate_cell.report_on(planned, contract, self.settings, self.task, self.command_line())
        for line in report.describe():
            print_line(line)
        page = write_page(report, to)
        if self.card is not None:
            write_card(report, info, shown, self.card)
            print_line(f'{self.card}: the card of {self.checkpoints[0]}')
        print_line(f'{page}: all figures; {page.with_suffix(".json").name} beside it')
        return 0

    def default_folder(self) -> Path:
        """Return where an evaluation goes: the same call to the same folder, another one to another."""
        asked = {
            'checkpoints': [str(absolute(path)) for path in self.checkpoints],
            'files': [str(absolute(path)) for path in (self.contract, self.config)],
            'task': self.task,
            'measured': self.measure_durations,
            **asdict(self.settings),
        }
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:6]
        name = absolute(self.checkpoints[0]).name
        scenes = f'{self.settings.first_seed}-{self.settings.seeds}'
        return Path('runs') / 'sim_evaluation' / f'{name}-{scenes}-{digest}'

    def command_line(self) -> str:
        """Return the call that makes the same attempts; what is left out is as by default."""
        settings, durations = self.settings, vars(self.settings.durations)
        words = ['restac-ros', 'sim', 'evaluate', *map(str, self.checkpoints)]
        words += ['--first-seed', f'{settings.first_seed}', '--seeds', f'{settings.seeds}']
        words += ['--limit-s', f'{settings.limit_s:.15g}']
        words += ['--conditions', *settings.conditions] if settings.conditions else []
        words += ['--config', str(self.config)] if self.config else []
        words += ['--contract', str(self.contract)] if self.contract else []
        words += ['--task', self.task] if self.task != SimEvaluate.task else []
        for name, value in vars(CallDurations()).items():
            if durations[name] != value:
                words += [f'--durations.{name.replace("_", "-")}', f'{durations[name]:.15g}']
        return shlex.join([*words, '--measure-durations'] if self.measure_durations else words)

    def _check(self) -> None:
        """Refuse options that contradict each other."""
        if not self.checkpoints:
            raise CellError('checkpoints: found none, expected one or more directories')
        if self.engine != 'ray' and (self.ray_address is not None or self.workers is not None):
            raise CellError('--ray-address and --workers are of the engine ray: add `--engine ray`')
        if self.data and self.card is None:
            raise CellError('--data is for the card: add `--card FILE`')
        if self.card is not None and (self.card.is_dir() or not self.card.absolute().parent.is_dir()):
            raise CellError(f'card: found {self.card}, expected a file in a directory that exists')
        if self.measure_durations and self.settings.durations != CallDurations():
            raise CellError('--measure-durations takes the place of --durations.*: leave one of them out')


def _check_writable(folder: Path) -> None:
    """Make the folder; CellError where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise CellError(
            f'to: found {folder}, which cannot be written ({error.strerror or error}); give another --to'
        ) from error


def _shown(root: Path) -> 'ShownData':
    from restac_ros.sim.evaluation.cell_card import ShownData
    from restac_ros.training.data.episodes import open_episodes

    episodes = open_episodes(root)
    return ShownData(episodes.identity, len(episodes.tables.spans), frozenset(recorded_seeds(root)))


def _spread(address: str | None, workers: int | None, function, items) -> Iterator[int]:  # type: ignore[no-untyped-def]
    from restac_ros.dataset.ray_engine import on_hosts

    return on_hosts(function, items, address, workers)
