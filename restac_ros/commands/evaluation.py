"""`restac-ros evaluate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from restac_ros.commands.terminal import counting_parts
from restac_ros.training.evaluation.settings import EvaluationConfig


@dataclass(frozen=True)
class Evaluate:
    """Measure checkpoints on recorded episodes: action errors, whether touch is used, gate, inputs, flow.

    Attributes:
        checkpoints: one or more, then the LeRobot data set; others are compared with the first.
        to: directory for evaluation.json and evaluation.html; default: beside the first checkpoint.
        episodes: numbers; default: all that no checkpoint was trained on, as far as is known.
        validation_share: of the training of checkpoints that do not record their episodes.
        settings: sizes and seeds.
    """

    checkpoints: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar='CHECKPOINT... DATASET')]
    to: Path | None = None
    episodes: tuple[int, ...] = ()
    validation_share: float = 0.1
    settings: Annotated[EvaluationConfig, tyro.conf.arg(name='')] = field(default_factory=EvaluationConfig)

    def run(self) -> int:
        from restac_ros.training.errors import TrainingError
        from restac_ros.training.evaluation.evaluate import evaluate
        from restac_ros.training.evaluation.page import write_evaluation

        if len(self.checkpoints) < 2:
            raise TrainingError(
                f'evaluate: found {len(self.checkpoints)} paths, expected one or more checkpoints, then a '
                'data set'
            )
        *checkpoints, dataset = self.checkpoints
        with counting_parts() as tell:
            report = evaluate(
                checkpoints,
                dataset,
                self.settings,
                tell,
                numbers=self.episodes,
                validation_share=self.validation_share,
            )
        for line in report.describe():
            print(line)
        page = write_evaluation(report, self.to or checkpoints[0].resolve().with_name('evaluation'))
        print(f'{page}: all figures; {page.with_suffix(".json").name} beside it')
        return 0
