"""`restac-ros bench`: measured figures, with targets where there are some."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import subcommand

from restac_ros.bench.settings import (
    ArithmeticBench,
    CellBench,
    ConvertBench,
    FaultsBench,
    GpuBench,
    LoaderBench,
    ModelBench,
    NodeBench,
    PlannerBench,
    RecordBench,
    RuntimeBench,
    TouchBench,
    TrainBench,
)
from restac_ros.commands.paths import absolute


@dataclass(frozen=True)
class Bench:
    """Benchmarks: measured figures, with targets where there are some."""

    what: (
        Annotated[NodeBench, subcommand('node')]
        | Annotated[ModelBench, subcommand('model')]
        | Annotated[ArithmeticBench, subcommand('arithmetic')]
        | Annotated[GpuBench, subcommand('gpu')]
        | Annotated[RuntimeBench, subcommand('runtime')]
        | Annotated[FaultsBench, subcommand('faults')]
        | Annotated[RecordBench, subcommand('record')]
        | Annotated[ConvertBench, subcommand('convert')]
        | Annotated[LoaderBench, subcommand('loader')]
        | Annotated[TrainBench, subcommand('train')]
        | Annotated[TouchBench, subcommand('touch')]
        | Annotated[PlannerBench, subcommand('planner')]
        | Annotated[CellBench, subcommand('cell')]
    )

    def run(self) -> int:
        """Run with paths that hold in other processes, too; exit status 1 when a target is missed."""
        given = {field.name: getattr(self.what, field.name) for field in fields(self.what)}
        return replace(self.what, **{name: _resolved(value) for name, value in given.items()}).run()


def _resolved(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_resolved, value))
    return absolute(value) if isinstance(value, Path) else value
