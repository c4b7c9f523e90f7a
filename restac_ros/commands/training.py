"""`restac-ros train`, `norm-stats`, `make-touch-task` and `make-subtask-task`."""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from restac_ros.commands.terminal import counted, counting, print_line
from restac_ros.installation import config_file
from restac_ros.stopping import noting_stops
from restac_ros.training.config import CONFIGS, DataConfig, LeastVerdict, LoaderConfig, TrainConfig

if TYPE_CHECKING:
    import numpy as np

    from restac_ros.training.prepare import Prepared
    from restac_ros.training.trainer import Outcome


@dataclass(frozen=True)
class MeasureNormStats:
    """Measure normalisation statistics of recorded episodes: states and delta actions, exact quantiles.

    Attributes:
        datasets: LeRobot data sets; several are pooled.
        to: JSON file to write.
        horizon: steps of a chunk of the model to be trained.
        contract: of data sets that are not this package's.
        validation_share, episodes, verdict: as training will be given them: its episodes are measured.
        min_range: by dimension (ee_x ee_y ee_z ee_rot_x ee_rot_y ee_rot_z gripper), a range to widen to, in m
            or rad: --min-range gripper 0.01 ee_z 0.02.
    """

    datasets: Annotated[list[Path], tyro.conf.Positional]
    to: Path
    horizon: int = 50
    contract: Path | None = None
    validation_share: float = 0.1
    episodes: tuple[int, ...] = ()
    verdict: LeastVerdict = 'any'
    min_range: dict[str, float] = field(default_factory=dict)

    def run(self) -> int:
        from restac_ros.contract.load import load_contract
        from restac_ros.training.data.episodes import open_episodes
        from restac_ros.training.data.selection import selection_of
        from restac_ros.training.norm_stats import measure_norm_stats

        contract = load_contract(self.contract) if self.contract else None
        opened = [open_episodes(root, contract) for root in self.datasets]
        data = DataConfig(
            validation_share=self.validation_share, episodes=self.episodes, verdict=self.verdict
        )
        numbers = [selection_of(one, self.horizon, data).trained_episodes for one in opened]
        measured = measure_norm_stats(opened, numbers, self.horizon, widen=self.min_range)
        self.to.parent.mkdir(parents=True, exist_ok=True)
        self.to.write_text(json.dumps(measured.to_dict(), indent=1) + '\n', encoding='utf-8')
        print('\n'.join(measured.describe()))
        print(f'{self.to}: statistics of {measured.identity[:12]}')
        return 0


@dataclass(frozen=True)
class MakeTouchTask:
    """Write episodes in which only touch determines the right action: to prove that training uses touch.

    Attributes:
        to: LeRobot data set to make or to append to.
        episodes: how many.
        seed: of everything drawn; episodes that are appended continue its series.
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
        with counting('writing') as on_episode:
            for done, _ in enumerate(make_touch_task(self.to, contract, self.episodes, self.seed), start=1):
                on_episode(done, self.episodes)
        print_line(f'{self.to}: {counted(self.episodes, "episode")} more')
        return 0


@dataclass(frozen=True)
class MakeSubtaskTask:
    """Write episodes of three tasks in three subtasks each, whose pictures show the stage: to train planners.

    Attributes:
        to: LeRobot data set to make.
        episodes: how many; the tasks take turns.
        seed: of everything drawn.
        contract: of the robot; default is the installed one.
    """

    to: Path
    episodes: int = 30
    seed: int = 0
    contract: Path | None = None

    def run(self) -> int:
        from restac_ros.contract.load import load_contract
        from restac_ros.training.subtask_task import make_subtask_task

        contract = load_contract(self.contract or config_file('contract.yaml'))
        with counting('writing') as on_episode:
            for done, _ in enumerate(make_subtask_task(self.to, contract, self.episodes, self.seed), start=1):
                on_episode(done, self.episodes)
        print_line(f'{self.to}: {counted(self.episodes, "episode")}')
        return 0


_CONFIGS = tyro.extras.subcommand_type_from_defaults(CONFIGS)


@dataclass(frozen=True)
class Train:
    """Train a policy on recorded episodes; Ctrl-C saves, and the same command continues.

    Attributes:
        config: what to train; every field is an option.
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name='', constructor=_CONFIGS)]

    def run(self) -> int:
        return run_training(self.config)


def run_training(config: TrainConfig) -> int:
    """Prepare and run a training, and write its checkpoint; exit status."""
    from restac_ros.commands.converting import INTERRUPTED
    from restac_ros.training.allocator import keep_freed_memory
    from restac_ros.training.distributed import is_leader, join_processes, on_host
    from restac_ros.training.prepare import prepare
    from restac_ros.training.trainer import deployable

    join_processes(config.distributed, os.environ)
    keep_freed_memory()
    prepared = prepare(config, show=_show)
    with noting_stops() as stops:
        outcome = _run(prepared, lambda: bool(stops))
    weights = on_host(deployable(outcome.state))
    if is_leader():
        _finish(prepared, weights, outcome)
    return INTERRUPTED if outcome.interrupted else 0


def _run(prepared: 'Prepared', stopping: Callable[[], bool]) -> 'Outcome':
    """Train to the last step or to an interrupt; process 0 prints and draws."""
    from restac_ros.training.distributed import is_leader
    from restac_ros.training.progress import RunProgress, SilentProgress, WandbNumbers
    from restac_ros.training.run_store import RunStore
    from restac_ros.training.trainer import Trainer

    train = prepared.train
    with ExitStack() as stack:  # also after a refusal: writers have threads of their own
        store = stack.enter_context(closing(RunStore(train.to, train.keep_every, prepared.identity)))
        progress: RunProgress | SilentProgress = SilentProgress()
        if is_leader():
            project = train.wandb
            wandb = WandbNumbers(project, train.to, prepared.identity) if project else None
            progress = RunProgress(train.to, train.steps, _show, time.time, wandb)
            stack.enter_context(closing(progress))
            _introduce(prepared, store.latest)
        trainer = Trainer(prepared, store, progress, time.monotonic, stopping)
        return trainer.run(trainer.begin(allow_changes=train.allow_changes))


def _show(line: str) -> None:
    print(line, flush=True)


def _introduce(prepared: 'Prepared', saved: int | None) -> None:
    """Print what is about to happen, and draw what the model will be shown."""
    from restac_ros.model.device import describe_device
    from restac_ros.training.data.loader import batches
    from restac_ros.training.picture import save_inputs

    train = prepared.train
    first, *lines = prepared.describe()
    begin = first if saved is None else f'resumes after step {saved}, saved in {train.to}'
    for line in [begin, *lines, describe_device()]:
        _show(line)
    train.to.mkdir(parents=True, exist_ok=True)
    (train.to / 'leaves.txt').write_text('\n'.join(prepared.leaf_lines()) + '\n', encoding='utf-8')
    batch = next(
        batches(prepared.sources, train.data.weights, train.batch_size, train.seed, 0, LoaderConfig())
    )
    save_inputs(train.to / 'inputs.png', batch, train.augmentation, train.seed)
    _show(f'compiling: step {(saved or 0) + 1} follows in seconds with a small network, in minutes with pi05')


def _finish(prepared: 'Prepared', weights: Mapping[str, 'np.ndarray'], outcome: 'Outcome') -> None:
    from restac_ros.training.deploy import write_checkpoint

    path = write_checkpoint(prepared, weights, outcome.step)
    if outcome.interrupted:
        print(
            f'interrupted after step {outcome.step}, which is saved; the same command goes on. So far: {path}'
        )
    else:
        print(f'{path}: ready for `restac-ros up --checkpoint`')
