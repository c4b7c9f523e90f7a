"""A training run inside a test: its numbers are kept, its clock counts questions."""

import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

import micro
from restac_ros.training.config import TrainConfig
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


def command_line(config: TrainConfig, to: Path) -> list[str]:
    """The short run as somebody types it."""
    options = {
        'data.validation-share': config.data.validation_share,
        'to': to,
        'steps': config.steps,
        'batch-size': config.batch_size,
        'log-every': config.log_every,
        'save-every': config.save_every,
        'validate-every': config.validate_every,
        'validation-batches': config.validation_batches,
    }
    words = ['--data.datasets', *map(str, config.data.datasets)]
    words += ['--data.weights', *map(str, config.data.weights)]
    words += [word for name, value in options.items() for word in (f'--{name}', str(value))]
    words.append('--augmentation.enabled' if config.augmentation.enabled else '--augmentation.no-enabled')
    return [sys.executable, micro.__file__, 'train', 'tiny', '--preset', micro.MICRO, *words]
