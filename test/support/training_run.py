"""A training run inside a test: its numbers are kept, its clock counts questions."""

from collections.abc import Mapping

import jax
import numpy as np

from restac_ros.training.prepare import Prepared
from restac_ros.training.run_store import RunStore
from restac_ros.training.trainer import Outcome, Trainer


class Numbers:
    """Keeps what a run reports, by step."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, float]] = {}

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        self.steps.setdefault(step, {}).update(numbers)


def train(prepared: Prepared, stop_after: int | None = None) -> tuple[Outcome, Numbers]:
    """Run to the end, or until it is asked to stop after a step."""
    config, numbers = prepared.train, Numbers()
    store = RunStore(config.to, config.keep_every, prepared.identity)
    trainer = Trainer(
        prepared,
        store,
        numbers,
        now_s=iter(range(100_000)).__next__,
        stopping=lambda: stop_after is not None and max(numbers.steps, default=0) + 1 >= stop_after,
    )
    outcome = trainer.run(trainer.begin(allow_changes=config.allow_changes))
    store.close()
    return outcome, numbers


def equal(one: dict, other: dict) -> bool:
    """Whether two trees hold the same bits."""
    return jax.tree.all(jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), one, other))
