"""The loop: batches in, steps, numbers out; a run that stops at any moment goes on with the same batches."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from restac_ros.framing.values import STATE_DIM
from restac_ros.training.batch import Batch
from restac_ros.training.data.loader import batches
from restac_ros.training.errors import TrainingError
from restac_ros.training.optimizer import schedule
from restac_ros.training.prepare import Prepared
from restac_ros.training.progress import Reporter, StepTimer
from restac_ros.training.run_store import RunStore
from restac_ros.training.sharding import Placement
from restac_ros.training.step import NamedLeaves, TrainingState, means


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its state, the steps it has made, and whether it was interrupted."""

    state: TrainingState
    step: int
    interrupted: bool


class Trainer:
    """Runs a prepared training.

    Args:
        prepared: the run.
        placement: devices.
        store: state on disk.
        reporter: where numbers go.
        now_s: a clock that does not jump, s.
        stopping: asked after every step; true ends the run with its state saved.
        part: (this process, number of processes).
    """

    def __init__(
        self,
        prepared: Prepared,
        placement: Placement,
        store: RunStore,
        reporter: Reporter,
        now_s: Callable[[], float],
        stopping: Callable[[], bool],
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._prepared, self._placement, self._store = prepared, placement, store
        self._reporter, self._now_s, self._stopping, self._part = reporter, now_s, stopping, part
        step = prepared.step
        self._frozen = placement.put(prepared.frozen)
        shapes = jax.eval_shape(step.start, prepared.trained)
        shardings = placement.of_tree(shapes)
        self._start = jax.jit(step.start, out_shardings=shardings)
        self._step = jax.jit(step.__call__, donate_argnums=0, out_shardings=(shardings, None))
        self._validate = jax.jit(step.validate)

    def begin(self, *, allow_changes: bool = False) -> TrainingState:
        """Return the state to go on from: the newest saved one, else the start."""
        state = self._start(self._prepared.trained)
        if self._store.latest is None:
            return state
        return self._store.restore(state, allow_changes=allow_changes)

    def run(self, state: TrainingState) -> Outcome:
        """Train to the last step.

        Raises:
            TrainingError: the loss is not finite, or a state cannot be saved; the last good one stays.
        """
        train, step = self._prepared.train, int(state['step'])
        stream = self._batches(step)
        timer = StepTimer(self._now_s)
        while step < train.steps:
            with timer.waiting():
                batch = next(stream)
            state, report = self._step(state, self._frozen, self._placement.put_batch(batch))
            step += 1
            stopping = self._stopping()
            last = step == train.steps
            if step % train.log_every == 0 or step == 1 or last:
                self._report(step, report, batch, timer)
            if self._prepared.validation and (step % train.validate_every == 0 or last):
                self._reporter.step(step, self.validate(state))
            if step % train.save_every == 0 or last or stopping:
                self._check_finite(step, report, batch)
                self._store.save(step, state)
            if stopping and not last:
                self._store.wait()
                return Outcome(state, step, interrupted=True)
        self._store.wait()
        return Outcome(state, step, interrupted=False)

    def validate(self, state: TrainingState) -> dict[str, float]:
        """Return the loss over the held-out batches, with the same noise and times at every call."""
        trained = deployable(state)
        sums: Any = None
        for number, batch in enumerate(self._prepared.validation):
            part = self._validate(trained, self._frozen, self._placement.put_batch(batch), number)
            sums = part if sums is None else jax.tree.map(np.add, sums, part)
        found = means(sums)
        return {f'validation_{name}': value for name, value in _scalars(found, self._prepared).items()}

    def _batches(self, first: int) -> Iterator[Batch]:
        train, sources = self._prepared.train, self._prepared.sources
        return batches(
            sources, train.data.weights, train.batch_size, train.seed, first, train.loader, self._part
        )

    def _report(self, step: int, report: Mapping[str, Any], batch: Batch, timer: StepTimer) -> None:
        self._check_finite(step, report, batch)
        train = self._prepared.train
        numbers = _scalars(report, self._prepared)
        numbers |= timer.lap(step)
        numbers['learning_rate'] = float(schedule(train.optimizer, train.steps)(step - 1))
        self._reporter.step(step, numbers)

    def _check_finite(self, step: int, report: Mapping[str, Any], batch: Batch) -> None:
        if not bool(report['finite']):
            places = ', '.join(
                f'{self._prepared.sources[source].episodes.name} episode {episode} frame {frame}'
                for source, (episode, frame) in zip(batch.source.tolist(), batch.place.tolist(), strict=True)
            )
            kept = self._store.latest
            raise TrainingError(
                f'step {step}: found loss {float(report["loss"])} and gradient norm '
                f'{float(report["gradient_norm"])}, expected finite numbers; the batch holds {places}. The '
                f'last good state, of step {kept}, stays; look at these samples, or lower the learning rate'
            )


def deployable(state: TrainingState) -> NamedLeaves:
    """The weights that are deployed: the moving average where there is one."""
    return state['trained'] if state['ema'] is None else state['ema']


def _scalars(report: Mapping[str, Any], prepared: Prepared) -> dict[str, float]:
    """Numbers by name; vectors are taken apart, and errors told in units, too."""
    host = jax.device_get(dict(report))
    by_dim = host.pop('flow_loss_by_dim')
    by_source = host.pop('source_loss')
    numbers = {name: float(value) for name, value in host.items() if name not in ('finite', 'valid')}
    if len(by_source) > 1:
        numbers |= {f'flow_loss_of/{number}': float(value) for number, value in enumerate(by_source)}
    actions = prepared.stats.actions
    spread = (np.subtract(actions.q99, actions.q01) / 2)[:STATE_DIM]
    in_units = np.sqrt(by_dim[:STATE_DIM]) * spread
    numbers['position_m'] = float(np.sqrt(np.sum(in_units[:3] ** 2)))
    numbers['rotation_rad'] = float(np.sqrt(np.sum(in_units[3:6] ** 2)))
    numbers['gripper_mm'] = float(in_units[6] * 1e3)
    return numbers
