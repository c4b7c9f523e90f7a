"""`restac-ros train`, `norm-stats` and `make-touch-task`."""

import json
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from restac_ros.graph import config_file
from restac_ros.training.config import CONFIGS, TrainConfig


@dataclass(frozen=True)
class MeasureNormStats:
    """Measure normalisation statistics of recorded episodes: states and delta actions, exact quantiles.

    Attributes:
        datasets: LeRobot data sets; several are pooled.
        to: JSON file to write.
        horizon: steps of a chunk of the model to be trained.
        contract: of data sets that are not this package's.
        validation_share: of the episodes that training will hold out, and that are left out here, too.
        min_range: by dimension (ee_x ee_y ee_z ee_rot_x ee_rot_y ee_rot_z gripper), a range to widen to.
    """

    datasets: Annotated[list[Path], tyro.conf.Positional]
    to: Path
    horizon: int = 50
    contract: Path | None = None
    validation_share: float = 0.1
    min_range: dict[str, float] = field(default_factory=dict)

    def run(self) -> int:
        from restac_ros.contract.load import load_contract
        from restac_ros.training.data.episodes import chosen, open_episodes
        from restac_ros.training.data.selection import select
        from restac_ros.training.norm_stats import measure_norm_stats

        contract = load_contract(self.contract) if self.contract else None
        opened = [open_episodes(root, contract) for root in self.datasets]
        numbers = [
            select(
                one, chosen(one, None), self.horizon, self.validation_share, skip_idle=False
            ).trained_episodes
            for one in opened
        ]
        measured = measure_norm_stats(opened, numbers, self.horizon, widen=self.min_range)
        self.to.parent.mkdir(parents=True, exist_ok=True)
        self.to.write_text(json.dumps(measured.to_dict(), indent=1) + '\n', encoding='utf-8')
        print('\n'.join(measured.describe()))
        print(f'{self.to}: statistics of {measured.identity[:12]}')
        return 0


@dataclass(frozen=True)
class MakeTouchTask:
    """Write episodes in which only touch tells the right action: to prove that training uses touch.

    Attributes:
        to: LeRobot data set to make or to append to.
        episodes: how many.
        seed: of everything drawn.
        contract: of the robot; default is the installed one.
    """

    to: Path
    episodes: int = 40
    seed: int = 0
    contract: Path | None = None

    def run(self) -> int:
        from restac_ros.contract.load import load_contract
        from restac_ros.training.touch_task import make_touch_task

        contract = load_contract(self.contract or config_file('contract.yaml'))
        for number in make_touch_task(self.to, contract, self.episodes, self.seed):
            print(f'\r{self.to}: {number + 1} of {self.episodes} episodes', end='', flush=True)
        print()
        return 0


_CONFIGS = tyro.extras.subcommand_type_from_defaults(CONFIGS)


@dataclass(frozen=True)
class Train:
    """Train a policy on recorded episodes; Ctrl-C saves, and the same command goes on.

    Attributes:
        config: what to train; every field is an option.
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name='', constructor=_CONFIGS)]

    def run(self) -> int:
        return _train(self.config)


def _train(config: TrainConfig) -> int:
    from restac_ros.model.device import describe_device
    from restac_ros.training.data.loader import batches
    from restac_ros.training.deploy import write_checkpoint
    from restac_ros.training.picture import save_inputs
    from restac_ros.training.prepare import prepare
    from restac_ros.training.progress import RunProgress
    from restac_ros.training.run_store import RunStore
    from restac_ros.training.sharding import Placement
    from restac_ros.training.trainer import Trainer, deployable

    prepared = prepare(config)
    for line in [*prepared.describe(), describe_device()]:
        print(line)
    first = next(
        batches(prepared.sources, config.data.weights, config.batch_size, config.seed, 0, config.loader)
    )
    save_inputs(config.to / 'inputs.png', first, config.augmentation, config.seed)
    placement = Placement.over(config.fsdp, config.batch_size)
    store = RunStore(config.to, config.keep_every, prepared.identity)
    progress = RunProgress(config.to, config.steps, lambda line: print(line, flush=True))
    interrupts: list[int] = []
    trainer = Trainer(prepared, placement, store, progress, time.monotonic, lambda: bool(interrupts))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: interrupts.append(caught))
    outcome = trainer.run(trainer.begin(allow_changes=config.allow_changes))
    store.close()
    progress.close()
    path = write_checkpoint(prepared, deployable(outcome.state), outcome.step)
    if outcome.interrupted:
        print(
            f'interrupted after step {outcome.step}, which is saved; the same command goes on. So far: {path}'
        )
        return 130
    print(f'{path}: ready for `restac-ros up --checkpoint`')
    return 0
