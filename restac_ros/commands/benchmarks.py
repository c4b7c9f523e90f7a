"""`restac-ros bench`: figures to compare, with targets where there are some."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import subcommand

from restac_ros.commands.paths import absolute


@dataclass(frozen=True)
class NodeBench:
    """Loss, latency and CPU share of the policy node's ingest, with a bag at full rate."""

    bag: Path | None = None
    """Bag to play; default: the synthetic source."""
    checkpoint: Path = Path('runs/checkpoints/tiny')
    """Policy to run meanwhile."""
    json: Path | None = None
    """Also write the figures here."""

    def run(self) -> int:
        """Exit status: 1 when a target is missed."""
        from restac_ros.bench.node import main

        return main(bag=absolute(self.bag), checkpoint=absolute(self.checkpoint), json_file=self.json)


@dataclass(frozen=True)
class ModelBench:
    """Time of each call of a model preset, beside a matmul yardstick."""

    preset: str = 'mid'
    """Size: see restac_ros/model/presets.py."""
    runs: int = 5
    """Timed runs, after the warm-ups."""
    warmups: int = 2
    """Runs before."""
    json: Path | None = None
    """Also write the figures here."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.bench.model import main

        return main(self.preset, runs=self.runs, warmups=self.warmups, json_file=self.json)


@dataclass(frozen=True)
class Bench:
    """Benchmarks: figures to compare, with targets where there are some."""

    what: Annotated[NodeBench, subcommand('node')] | Annotated[ModelBench, subcommand('model')]

    def run(self) -> int:
        """Exit status."""
        return self.what.run()
