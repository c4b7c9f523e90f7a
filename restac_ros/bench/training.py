"""Time of a training step, beside forward, backward and AdamW alone; waiting for data; saving.

The trainer's step has more to do than the bare one: augmentation, masks, clipping, the moving average and the
metrics. Both run in turns, compiled, on the same batch. Then the real trainer runs on recorded videos.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from restac_ros.bench.model import network_of
from restac_ros.bench.processes import scratch
from restac_ros.bench.settings import TrainBench
from restac_ros.bench.table import Figure, finish, judged
from restac_ros.bench.training_data import MIN_RANGE, record_dataset
from restac_ros.bench.turns import in_turns
from restac_ros.contract.load import load_contract
from restac_ros.model import flow_matching
from restac_ros.model.flow_loss import compute_loss
from restac_ros.model.observation import pixels_to_float
from restac_ros.training.batch import Batch
from restac_ros.training.config import DataConfig, LoaderConfig, TrainConfig
from restac_ros.training.data.loader import batches
from restac_ros.training.prepare import Prepared, prepare
from restac_ros.training.run_store import RunStore
from restac_ros.training.trainer import Trainer

MAX_STEP_RATIO = 1.05
MAX_DATA_WAIT = 0.03
MAX_SAVE_SHARE = 0.02
STEPS_PER_SAVE = 200
_NEEDED_BYTES = 10 * 10**9


@dataclass(frozen=True)
class TrainingFigures:
    """Results: medians, s. `save_s` is how much longer steps took until one state was on disk."""

    step_s: float
    bare_s: float
    ratio: float
    ratios: tuple[float, ...]
    data_wait: float
    save_s: float
    save_blocked_s: float
    compile_s: float
    load_average: float

    @property
    def save_share(self) -> float:
        """Share of the time of a run that saves every 200 steps."""
        return self.save_s / (STEPS_PER_SAVE * self.step_s)

    @property
    def rows(self) -> list[Figure]:
        """The table."""
        every = f'saving every {STEPS_PER_SAVE} steps'
        return [
            Figure('a step of the trainer', f'{self.step_s:.2f} s'),
            Figure('forward, backward, AdamW alone', f'{self.bare_s:.2f} s'),
            judged('ratio of the two', self.ratio, '<=', MAX_STEP_RATIO, '{:.3f}'),
            Figure('  in all rounds', f'{min(self.ratios):.2f} to {max(self.ratios):.2f}'),
            judged('waiting for data', self.data_wait, '<=', MAX_DATA_WAIT, '{:.1%}'),
            Figure('one save, of which blocking', f'{self.save_s:.2f} s, {self.save_blocked_s:.2f} s'),
            judged(every, self.save_share, '<=', MAX_SAVE_SHARE, '{:.2%}'),
            Figure('first step, with compilation', f'{self.compile_s:.1f} s'),
            Figure('load average', f'{self.load_average:.1f}'),
        ]


class Reports:
    """Keeps the numbers of a run's last report."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Keep the numbers of a step."""
        self.last = dict(numbers)


def main(settings: TrainBench) -> int:
    """Measure, print, write JSON if asked; 1 when a target is missed. What was made is removed.

    Raises:
        PolicyError: no such preset.
        JournalError: too little free disk in `settings.directory`.
    """
    network_of(settings.preset)  # refuses an unknown one before a recording is made
    contract = load_contract(settings.contract_file)
    with scratch(settings.directory, _NEEDED_BYTES) as folder:
        root = record_dataset(folder, contract, settings.seconds, 1)
        figures = measure_training(root, folder / 'run', settings)
    title = f'training, preset {settings.preset}, batch {settings.batch_size}'
    return finish(title, figures.rows, settings.json, asdict(figures) | {'save_share': figures.save_share})


def measure_training(root: Path, to: Path, settings: TrainBench) -> TrainingFigures:
    """Steps in turns, then a run of the trainer, then a save."""
    prepared = prepare(
        TrainConfig(
            settings.preset,
            data=DataConfig(datasets=(root,), min_range=MIN_RANGE, validation_share=0.0),
            loader=LoaderConfig(workers=settings.workers),
            to=to,
            steps=settings.steps,
            batch_size=settings.batch_size,
            frozen_dtype='float32',
            log_every=settings.steps,
            save_every=settings.steps,
        )
    )
    step_s, bare_s, ratios, compile_s = _steps_in_turns(prepared, settings.rounds)
    data_wait = _waiting_share(prepared)
    save_s, blocked_s = _saving(prepared, step_s)
    return TrainingFigures(
        step_s=step_s,
        bare_s=bare_s,
        ratio=statistics.median(ratios),
        ratios=tuple(ratios),
        data_wait=data_wait,
        save_s=save_s,
        save_blocked_s=blocked_s,
        compile_s=compile_s,
        load_average=os.getloadavg()[0],
    )


def bare_step(prepared: Prepared) -> Callable[..., tuple[Any, jax.Array]]:
    """Forward, backward and AdamW of the same network, as short as it can be written.

    step((trained, optimiser's state), frozen, batch, key) -> the same after it, and the loss.
    """
    network, settings = prepared.step.model, prepared.train.optimizer
    adamw = optax.adamw(settings.peak, b1=settings.b1, b2=settings.b2, weight_decay=settings.weight_decay)

    def loss(trained: dict, frozen: dict, batch: Batch, key: jax.Array) -> jax.Array:
        model = network(trained, frozen)
        images = {slot: pixels_to_float(pixels) for slot, pixels in batch.observation.images.items()}
        observation = batch.observation._replace(images=images)
        actions = jnp.asarray(batch.actions)
        noise = jax.random.normal(key, actions.shape)
        time_ = flow_matching.sample_time(key, actions.shape[0])
        touch = model.observe_touch(observation)
        return jnp.mean(compute_loss(model, observation, actions, noise, time_, touch=touch))

    def step(state: tuple, frozen: dict, batch: Batch, key: jax.Array) -> tuple[Any, jax.Array]:
        trained, optimizer = state
        value, gradient = jax.value_and_grad(loss)(trained, frozen, batch, key)
        updates, optimizer = adamw.update(gradient, optimizer, trained)
        return (optax.apply_updates(trained, updates), optimizer), value

    return jax.jit(step, donate_argnums=0)


def _steps_in_turns(prepared: Prepared, rounds: int) -> tuple[float, float, list[float], float]:
    """Median seconds of our step and the bare one, their ratios, and the time of ours with compilation."""
    train, step = prepared.train, prepared.step
    batch = jax.device_put(
        next(batches(prepared.sources, [], train.batch_size, train.seed, 0, LoaderConfig(threads=1)))
    )
    frozen = jax.device_put(prepared.frozen)
    ours = jax.jit(step.__call__, donate_argnums=0)
    bare, key = bare_step(prepared), jax.random.key(0)
    state = jax.jit(step.start)(prepared.trained)
    trained = jax.device_put(prepared.trained)
    plain = (trained, optax.adamw(train.optimizer.peak).init(trained))

    def own_step() -> Any:
        nonlocal state
        state, report = ours(state, frozen, batch)
        return state, report

    def bare_one() -> Any:
        nonlocal plain
        plain, loss = bare(plain, frozen, batch, key)
        return plain, loss

    (compile_s, _), *counted = (
        (one.wall_s, other.wall_s) for one, other in in_turns((own_step, bare_one), 1 + rounds)
    )
    ratios = [one / other for one, other in counted]
    own, theirs = (statistics.median(column) for column in zip(*counted, strict=True))
    return own, theirs, ratios, compile_s


def _waiting_share(prepared: Prepared) -> float:
    """Share of the time that the trainer waits for its workers, from the second step on."""
    reports, train = Reports(), prepared.train
    store = RunStore(train.to, train.keep_every, prepared.identity)
    trainer = Trainer(prepared, store, reports, time.perf_counter, lambda: False)
    trainer.run(trainer.begin())
    store.close()
    return reports.last['data_wait']


def _saving(prepared: Prepared, step_s: float) -> tuple[float, float]:
    """Seconds that one save costs while steps go on, and how long it blocks."""
    train, step = prepared.train, prepared.step
    store = RunStore(train.to / 'saving', train.keep_every, prepared.identity)
    batch = next(batches(prepared.sources, [], train.batch_size, train.seed, 0, LoaderConfig(threads=1)))
    frozen = jax.device_put(prepared.frozen)
    ours = jax.jit(step.__call__, donate_argnums=0)
    state, _ = jax.block_until_ready(ours(jax.jit(step.start)(prepared.trained), frozen, batch))
    begun_s = time.perf_counter()
    store.save(1, state)
    blocked_s, made = time.perf_counter() - begun_s, 0
    while store.is_saving:
        state, _ = jax.block_until_ready(ours(state, frozen, batch))
        made += 1
    store.close()
    return max(time.perf_counter() - begun_s - made * step_s, blocked_s), blocked_s
