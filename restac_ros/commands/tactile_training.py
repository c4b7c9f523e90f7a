"""`restac-ros train-tactile` and `calibrate`: the encoder of touch, and the gate that its surprise opens."""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from restac_ros.training.tactile.config import StageName, TactileTrainConfig


@dataclass(frozen=True)
class TrainTactile:
    """Train Unit-Align on recorded episodes, stage by stage; Ctrl-C saves, and the same command goes on.

    Attributes:
        datasets: LeRobot data sets, mixed by their numbers of frames.
        config: of the run; every field is an option.
    """

    datasets: Annotated[list[Path], tyro.conf.Positional]
    config: Annotated[TactileTrainConfig, tyro.conf.arg(name='')]

    def run(self) -> int:
        return _train_tactile(self.config, self.datasets)


def _train_tactile(config: TactileTrainConfig, datasets: Sequence[Path]) -> int:
    from restac_ros.model.device import describe_device
    from restac_ros.training.progress import RunProgress
    from restac_ros.training.tactile.prepare import prepare_tactile
    from restac_ros.training.tactile.results import save_touch_picture, write_unit_align
    from restac_ros.training.tactile.trainer import train_stages

    prepared = prepare_tactile(config, datasets)
    for line in [*prepared.describe(), describe_device()]:
        print(line, flush=True)

    def say(line: str) -> None:
        print(line, flush=True)

    def progress_of(stage: StageName) -> RunProgress:
        return RunProgress(config.to / stage, config.steps[stage], lambda line: say(f'{stage}  {line}'))

    interrupts: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: interrupts.append(caught))
    outcome = train_stages(prepared, progress_of, time.monotonic, lambda: bool(interrupts), say)
    if outcome.stopped_in is not None:
        say(
            f'interrupted in stage {outcome.stopped_in} after step {outcome.step}, which is saved; the same '
            'command goes on'
        )
        return 130
    picture = save_touch_picture(prepared, outcome.leaves)
    own, published = write_unit_align(prepared, outcome)
    say(f'{picture}: what is felt, expected, and corrected by the code')
    say(f'{own}: ready for `restac-ros train --unit-align`; {published}: the same in the published layout')
    return 0
