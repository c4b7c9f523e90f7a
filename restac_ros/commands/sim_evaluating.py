"""`restac-ros sim evaluate`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
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
from restac_ros.sim.evaluation.settings import SimEvaluationConfig

if TYPE_CHECKING:
    from restac_ros.sim.evaluation.cell_card import ShownData


@dataclass(frozen=True)
class SimEvaluate:
    """Let checkpoints try in closed loop, in the same scenes: success, ablations of touch, perturbations.

    The policy's loops run at their rates in simulated time, so that the machine's speed changes nothing; what
    the network's calls take there are parameters. Attempts that are done are kept: after an interrupt the
    same call continues from there.
    """

    checkpoints: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar='CHECKPOINT...')]
    """One or more; the others are compared with the first."""
    to: Path | None = None
    """Directory for attempts, sim_evaluation.json and .html; default: beside the first checkpoint."""
    task: str = 'insert the plug into the socket'
    """The robot's task."""
    contract: Path | None = None
    """Robot facts (YAML); default: config/contract_cell.yaml."""
    config: Path | None = None
    """Folder with policy.yaml and streamer.yaml; default: the installed ones."""
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

        if not self.checkpoints:
            raise CellError('checkpoints: found none, expected one or more directories')
        if self.engine != 'ray' and (self.ray_address is not None or self.workers is not None):
            raise CellError('--ray-address and --workers are of the engine ray: add `--engine ray`')
        if self.data and self.card is None:
            raise CellError('--data is for the card: add `--card FILE`')
        if self.card is not None and (self.card.is_dir() or not self.card.absolute().parent.is_dir()):
            raise CellError(f'card: found {self.card}, expected a file in a directory that exists')
        contract = load_contract(self.contract or config_file(CELL_CONTRACT))
        folder = self.config or config_file('policy.yaml').parent
        to = absolute(self.to or self.checkpoints[0].resolve().with_name('sim_evaluation'))
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
        make: evaluate_cell.Make = evaluate_cell.make_here
        if self.engine == 'ray':
            make = evaluate_cell.make_on_hosts(partial(_spread, self.ray_address, self.workers))
        with counting('attempts') as advance:
            evaluate_cell.run_attempts(planned, make, advance)
        report = evaluate_cell.report_on(planned, contract, self.settings, self.task)
        for line in report.describe():
            print_line(line)
        page = write_page(report, to)
        if self.card is not None:
            write_card(report, info, shown, self.card)
            print_line(f'{self.card}: the card of {self.checkpoints[0]}')
        print_line(f'{page}: all figures; {page.with_suffix(".json").name} beside it')
        return 0


def _shown(root: Path) -> 'ShownData':
    from restac_ros.sim.evaluation.cell_card import ShownData
    from restac_ros.training.data.episodes import open_episodes

    episodes = open_episodes(root)
    return ShownData(episodes.identity, len(episodes.tables.spans), frozenset(recorded_seeds(root)))


def _spread(address: str | None, workers: int | None, function, items) -> Iterator[int]:  # type: ignore[no-untyped-def]
    from restac_ros.dataset.ray_engine import on_hosts

    return on_hosts(function, items, address, workers)
