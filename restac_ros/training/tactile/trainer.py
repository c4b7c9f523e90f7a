"""The loop over steps and over stages; a run that stops at any moment goes on to the same bits."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from restac_ros.training.data.loader import batches
from restac_ros.training.finite import check_finite
from restac_ros.training.optimizer import schedule, transformation
from restac_ros.training.progress import Reporter, StepTimer
from restac_ros.training.run_store import RunStore
from restac_ros.training.step import NamedLeaves, TrainingState
from restac_ros.training.tactile.config import StageName
from restac_ros.training.tactile.prepare import PreparedTactile
from restac_ros.training.tactile.samples import TouchBatch
from restac_ros.training.tactile.stage import FrameValues, StageStep, TouchStage


@dataclass(frozen=True)
class StageOutcome:
    """How a stage ended: all leaves after it, the steps it has made, its health if it is whole."""

    leaves: NamedLeaves
    step: int
    health: dict[str, float] | None

    @property
    def interrupted(self) -> bool:
        """Whether steps are missing."""
        return self.health is None


class StageTrainer:
    """Trains one stage.

    Args:
        prepared: the run.
        stage: of it.
        leaves: all leaves as the stages before left them.
        store: state on disk.
        reporter: where numbers go.
        now_s: a clock that does not jump, s.
        stopping: asked after every step; true ends the stage with its state saved.
    """

    def __init__(
        self,
        prepared: PreparedTactile,
        stage: TouchStage,
        leaves: NamedLeaves,
        store: RunStore,
        reporter: Reporter,
        now_s: Callable[[], float],
        stopping: Callable[[], bool],
    ) -> None:
        config = prepared.config
        self._config, self._stage, self._leaves, self._store = config, stage, leaves, store
        self._reporter, self._now_s, self._stopping = reporter, now_s, stopping
        self._steps = config.steps[stage.name]
        self._function = StageStep(
            stage, prepared.leaves, transformation(config.adam, self._steps), config.seed
        )
        self._frozen = self._function.frozen(leaves)
        self._step = jax.jit(self._function.__call__, donate_argnums=0)
        self._measure = jax.jit(self._function.measure)
        self._sources = prepared.sources(stage.reads_views)
        self._held_out = prepared.held_out(stage.reads_views)

    def run(self) -> StageOutcome:
        """Train from the newest saved state, or the start, to the last step.

        Raises:
            TrainingError: the loss is not finite, or a state cannot be saved or is of another run.
        """
        state = self._function.start(self._leaves)
        if self._store.latest is not None:
            state = self._store.restore(state, allow_changes=self._config.allow_changes)
        config, step = self._config, int(state['step'])
        stream, timer = self._batches(step), StepTimer(self._now_s)
        while step < self._steps:
            state['moving'] |= self._stage.before(step, partial(self._over_training, state, step))
            with timer.waiting():
                batch = next(stream)
            state, report = self._step(state, self._frozen, batch)
            step += 1
            stopping, last = self._stopping(), step == self._steps
            if step % config.log_every == 0 or step == 1 or last:
                self._report(step, report, batch, timer)
            if step % config.validate_every == 0 and not last:
                self._validate(step, state)
            if step % config.save_every == 0 or last or stopping:
                self._check_finite(step, report, batch)
                self._store.save(step, state)
            if stopping and not last:
                self._store.wait()
                return StageOutcome(self._all(state), step, None)
        self._store.wait()
        return StageOutcome(self._all(state), step, self._validate(step, state))

    def _all(self, state: TrainingState) -> NamedLeaves:
        return {**self._frozen, **state['moving'], **state['trained']}

    def _batches(self, first: int) -> Iterator[TouchBatch]:
        config = self._config
        return batches(self._sources, (), config.batch, config.seed, first, config.loader)

    def _over_training(self, state: TrainingState, first: int, count: int) -> FrameValues:
        """Values of `count` training frames or more, from the batches that come next."""
        rows = -(-count // self._config.batch)
        return self._measured(state, itertools.islice(self._batches(first), rows))

    def _measured(self, state: TrainingState, stream: Iterator[TouchBatch]) -> FrameValues:
        leaves = self._all(state)
        parts = [jax.device_get(self._measure(leaves, batch)) for batch in stream]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _validate(self, step: int, state: TrainingState) -> dict[str, float]:
        """Health over the held-out frames."""
        health = self._stage.health(self._measured(state, iter(self._held_out)))
        self._reporter.step(step, {f'validation_{name}': value for name, value in health.items()})
        return health

    def _report(self, step: int, report: Mapping[str, Any], batch: TouchBatch, timer: StepTimer) -> None:
        self._check_finite(step, report, batch)
        numbers = {name: float(value) for name, value in report.items() if name != 'finite'}
        numbers |= timer.lap(step)
        numbers['learning_rate'] = float(schedule(self._config.adam, self._steps)(step - 1))
        self._reporter.step(step, numbers)

    def _check_finite(self, step: int, report: Mapping[str, Any], batch: TouchBatch) -> None:
        name = f'{self._stage.name}, step {step}'
        check_finite(name, report, batch.source, batch.place, self._sources, self._store)


@dataclass(frozen=True)
class TactileOutcome:
    """How a run ended.

    Attributes:
        leaves: of the whole trainee.
        health: of each whole stage.
        stopped_in: stage that was interrupted, None when all are whole; and its steps.
        step: steps of the last stage that ran.
    """

    leaves: NamedLeaves
    health: Mapping[StageName, Mapping[str, float]]
    stopped_in: StageName | None
    step: int


def train_stages(
    prepared: PreparedTactile,
    reporter_of: Callable[[StageName], Reporter],
    now_s: Callable[[], float],
    stopping: Callable[[], bool],
    say: Callable[[str], None],
) -> TactileOutcome:
    """Train all stages, or what is missing of them.

    Args:
        prepared: the run.
        reporter_of: where the numbers of a stage go.
        now_s: a clock that does not jump, s.
        stopping: asked after every step; true ends the run with its state saved.
        say: prints a line.

    Raises:
        TrainingError: see `StageTrainer.run`.
    """
    config, leaves, step = prepared.config, prepared.leaves.initial(prepared.config.seed), 0
    health: dict[StageName, Mapping[str, float]] = {}
    for stage in prepared.stages:
        store = RunStore(config.to / stage.name, config.keep_every, prepared.identity(stage.name))
        trainer = StageTrainer(prepared, stage, leaves, store, reporter_of(stage.name), now_s, stopping)
        try:
            outcome = trainer.run()
        finally:
            store.close()
        leaves, step = outcome.leaves, outcome.step
        if outcome.health is None:
            return TactileOutcome(leaves, health, stage.name, step)
        health[stage.name] = outcome.health
        say(f'{stage.name}: {stage.describe(outcome.health)}')
    return TactileOutcome(leaves, health, None, step)
