"""`restac-ros train-tactile` and `calibrate`: the encoder of touch, and the gate that its surprise opens."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from restac_ros.stopping import noting_stops
from restac_ros.training.gate_goal import GateGoal
from restac_ros.training.tactile.config import StageName, TactileTrainConfig


@dataclass(frozen=True)
class TrainTactile:
    """Train Unit-Align on recorded episodes, stage by stage; Ctrl-C saves, and the same command continues.

    Attributes:
        datasets: LeRobot data sets, mixed by their numbers of frames.
        config: of the run; every field is an option.
    """

    datasets: Annotated[list[Path], tyro.conf.Positional]
    config: Annotated[TactileTrainConfig, tyro.conf.arg(name='')]

    def run(self) -> int:
        return _train_tactile(self.config, self.datasets)


def _train_tactile(config: TactileTrainConfig, datasets: Sequence[Path]) -> int:
    from restac_ros.commands.converting import INTERRUPTED
    from restac_ros.model.device import describe_device
    from restac_ros.training.allocator import keep_freed_memory
    from restac_ros.training.progress import RunProgress
    from restac_ros.training.tactile.prepare import prepare_tactile
    from restac_ros.training.tactile.results import save_touch_picture, write_unit_align
    from restac_ros.training.tactile.trainer import train_stages

    def say(line: str) -> None:
        print(line, flush=True)

    keep_freed_memory()
    prepared = prepare_tactile(config, datasets, say)
    for line in [*prepared.describe(), describe_device()]:
        say(line)

    with ExitStack() as stack, noting_stops() as stops:

        def progress_of(stage: StageName) -> RunProgress:
            steps, show = config.steps[stage], lambda line: say(f'{stage}  {line}')
            own = RunProgress(config.to / stage, steps, show, time.time)
            return stack.enter_context(closing(own))

        outcome = train_stages(prepared, progress_of, time.monotonic, lambda: bool(stops), say)
    if outcome.stopped_in is not None:
        say(
            f'interrupted in stage {outcome.stopped_in} after step {outcome.step}, which is saved; the same '
            'command goes on'
        )
        return INTERRUPTED
    picture = save_touch_picture(prepared, outcome.leaves)
    own, published = write_unit_align(prepared, outcome)
    say(f'{picture}: what is felt, expected, and corrected by the code')
    say(f'{own}: ready for `restac-ros train --unit-align`; {published}: the same in the published layout')
    return 0


@dataclass(frozen=True)
class Calibrate:
    """Set the gate of a checkpoint by recorded touch: shut in free space, open in contact.

    Attributes:
        checkpoint: a policy with touch; it is replaced, unless --to names another place.
        dataset: LeRobot data set with contact and without; best one that was not trained on.
        goal: gate values that frames are to lie below and above.
        contact_column: column that labels contact with 0 and 1; default measures the tactile images.
        contract: of data that are not this package's.
        most_frames: frames that are read, evenly.
        to: directory for the calibrated checkpoint.
        picture: PNG to write; default is beside the checkpoint.
    """

    checkpoint: Annotated[Path, tyro.conf.Positional]
    dataset: Annotated[Path, tyro.conf.Positional]
    goal: Annotated[GateGoal, tyro.conf.arg(name='')] = field(default_factory=GateGoal)
    contact_column: str | None = None
    contract: Path | None = None
    most_frames: int = 2_000
    to: Path | None = None
    picture: Path | None = None

    def run(self) -> int:
        from restac_ros.training.calibration import calibrate
        from restac_ros.training.calibration_figure import calibration_png

        report = calibrate(
            self.checkpoint,
            self.dataset,
            goal=self.goal,
            contact_column=self.contact_column,
            contract=self.contract,
            most_frames=self.most_frames,
            to=self.to,
        )
        path = (self.to or self.checkpoint).resolve()
        picture = self.picture or path.with_name(f'{path.name}-calibration.png')
        picture.write_bytes(calibration_png(report, f'{path.name} on {self.dataset.name}'))
        print('\n'.join(report.describe()))
        print(f'{path}: gate calibrated; {picture}: histogram')
        return 0
