"""The loop: batches in, steps, numbers out; a run that stops at any moment goes on with the same batches."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from restac_ros.training.batch import Batch
from restac_ros.training.data.loader import batches, validation_batches
from restac_ros.training.distributed import is_true_anywhere, share_of
from restac_ros.training.finite import check_finite
from restac_ros.training.numbers import memory_gib, over_steps, report_numbers
from restac_ros.training.objective import means
from restac_ros.training.optimizer import schedule
from restac_ros.training.prepare import Prepared
from restac_ros.training.profile_window import ProfileWindow
from restac_ros.training.progress import Reporter, StepTimer
from restac_ros.training.run_store import RunStore
from restac_ros.training.step import NamedLeaves, TrainingState

PROFILE_FOLDER = 'profile'  # in the run's directory


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its state, the steps it has made, and whether it was interrupted."""

    state: TrainingState
    step: int
    interrupted: bool


class _Made(NamedTuple):
    """A step whose result may still be under way on the device."""

    step: int
    report: Mapping[str, Any]
    batch: Batch


class Trainer:
    """Runs a prepared training.

    Args:
        prepared: the run.
        store: state on disk.
        reporter: where numbers go.
        now_s: a clock that does not jump, s.
        stopping: asked after every step, or, of several processes, at every report; true ends the run, with
            its state saved.
    """

    def __init__(
        self,
        prepared: Prepared,
        store: RunStore,
        reporter: Reporter,
        now_s: Callable[[], float],
        stopping: Callable[[], bool],
    ) -> None:
        self._prepared, self._store, self._reporter = prepared, store, reporter
        self._now_s, self._stopping = now_s, stopping
        train, step, placement = prepared.train, prepared.step, prepared.placement
        self._placement = placement
        self._unreported: list[Mapping[str, Any]] = []  # of steps since the last line, on the device
        self._frozen = placement.put(prepared.frozen)
        shapes = jax.eval_shape(step.start, prepared.trained)
        shardings = placement.of_tree(shapes)
        self._planned: TrainingState = jax.tree.map(_placed, shapes, shardings)
        self._start = jax.jit(step.start, out_shardings=shardings)
        self._step = jax.jit(step.__call__, donate_argnums=0, out_shardings=(shardings, placement.everywhere))
        self._validate = jax.jit(step.validate, out_shardings=placement.everywhere)
        self._held_out = validation_batches(
            prepared.held_out, train.batch_size, train.validation_batches, share_of()
        )

    def begin(self, *, allow_changes: bool = False) -> TrainingState:
        """Return the state to go on from: the newest saved one, else the start."""
        if self._store.latest is None:
            return self._start(self._prepared.trained)
        return self._store.restore(self._planned, allow_changes=allow_changes)

    def run(self, state: TrainingState) -> Outcome:
        """Train to the last step.

        Raises:
            TrainingError: the loss is not finite, or a state cannot be saved; the last good one stays.
        """
        train, step = self._prepared.train, int(state['step'])
        stream, timer = self._batches(step), StepTimer(self._now_s)
        window = ProfileWindow(train.to / PROFILE_FOLDER, train.profile)
        before: _Made | None = None
        while step < train.steps:
            with timer.waiting():
                batch = next(stream)
            window.before(step + 1)
            state, report = self._step(state, self._frozen, self._placement.put_batch(batch))
            step += 1
            window.after(step, report)
            if before is not None:  # while the device is busy with this one
                self._check_finite(before)
            before = made = _Made(step, report, batch)
            self._unreported.append(report)
            last, stopping = step == train.steps, self._stops(made)
            if step % train.log_every == 0 or step == 1 or last:
                self._report(made, timer)
            if self._held_out and (step % train.validate_every == 0 or last):
                self._reporter.step(step, self.validate(state))
            if step % train.save_every == 0 or last or stopping:
                self._check_finite(made)
                self._store.save(step, state)
            if stopping and not last:
                break
        window.close()
        self._store.wait()
        return Outcome(state, step, interrupted=step < train.steps)

    def validate(self, state: TrainingState) -> dict[str, float]:
        """Return losses and action errors over the held-out batches, with the same noise at every call."""
        trained = deployable(state)
        sums: Any = None
        for number, batch in enumerate(self._held_out):
            part = self._validate(trained, self._frozen, self._placement.put_batch(batch), number)
            sums = part if sums is None else jax.tree.map(np.add, sums, part)
        return {f'validation_{name}': value for name, value in self._numbers(means(sums)).items()}

    def _stops(self, made: _Made) -> bool:
        """Several processes must end at the same step: they ask each other now and then.

        They do so when the step is done: of two exchanges at a time, each may wait for the other's half.
        """
        if jax.process_count() > 1:
            if made.step % self._prepared.train.log_every:
                return False
            jax.block_until_ready(made.report)
        return is_true_anywhere(self._stopping())

    def _batches(self, first: int) -> Iterator[Batch]:
        train, sources = self._prepared.train, self._prepared.sources
        return batches(
            sources, train.data.weights, train.batch_size, train.seed, first, train.loader, share_of()
        )

    def _report(self, made: _Made, timer: StepTimer) -> None:
        self._check_finite(made)
        train = self._prepared.train
        numbers = self._numbers(over_steps(self._unreported)) | timer.lap(made.step)
        self._unreported.clear()
        numbers['memory_gib'] = memory_gib()
        numbers['learning_rate'] = float(schedule(train.optimizer, train.steps)(made.step - 1))
        self._reporter.step(made.step, numbers)

    def _numbers(self, report: Mapping[str, Any]) -> dict[str, float]:
        names = [source.episodes.name for source in self._prepared.sources]
        return report_numbers(report, self._prepared.stats.actions, names)

    def _check_finite(self, made: _Made) -> None:
        source, place = made.batch.source, made.batch.place
        sources, store = self._prepared.sources, self._store
        check_finite(f'step {made.step}', made.report, source, place, sources, store)


def _placed(leaf: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def deployable(state: TrainingState) -> NamedLeaves:
    """The weights that are deployed: the moving average where there is one."""
    return state['trained'] if state['ema'] is None else state['ema']
