"""Options of the touch benchmark."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TouchBench:
    """Whether training uses touch: small policies with and without it are trained and compared.

    Takes about ten minutes on two cores and 3 GB of disk. What is in the directory stays and is not made
    again: an interrupted benchmark goes on.
    """

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
    json: Path | None = None
    """Also write the figures here."""

    def steps_of(self, config: str) -> int:
        """Steps of a training configuration."""
        from restac_ros.training.config import CONFIGS

        return self.steps or CONFIGS[config].steps

    def run(self) -> int:
        """Run the benchmark; exit status 1 when a target is missed."""
        from restac_ros.bench.touch import main

        return main(self)
