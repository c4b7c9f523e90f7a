"""Batches in an order that is a function of (seed, batch number) alone: any run resumes at any batch.

Samples are shuffled, repeated and mixed by grain. A batch's number is its whole position: nothing else is
saved, and threads, worker processes and hosts may be others after a resume.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import grain
import jax
import numpy as np
from jaxtyping import Int

from restac_ros.model.present import present
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.tokenizer import TokenizerError
from restac_ros.training.batch import Batch
from restac_ros.training.config import LoaderConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.lessons import Lessons
from restac_ros.training.errors import TrainingError

_MOST_THREADS = 32  # unless more are asked for: each has a batch in memory


class RowSource[Row](Protocol):
    """Samples of one data set at random, as batches of one that can be joined."""

    @property
    def episodes(self) -> Episodes:
        """The data set."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...

    def joined(self, rows: Sequence[Row]) -> Row:
        """Return one batch of several."""
        ...


@dataclass(frozen=True)
class SampleSource:
    """Frames of one data set as batches of one, by their place in `places`.

    Attributes:
        episodes: the data set.
        preprocessor: makes the network's inputs, the same as in deployment.
        places: episode and frame of each sample, [n, 2].
        number: of the data set in the mixture.
        prompt_length: tokens that every prompt is padded to.
        lessons: of hierarchical training; None: actions are learnt from the task alone.
    """

    episodes: Episodes
    preprocessor: Preprocessor
    places: Int[np.ndarray, 'n 2']
    number: int
    prompt_length: int
    lessons: Lessons | None = None

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Batch:
        episode, frame = self.places[index].tolist()
        config = self.preprocessor.config
        sample = self.episodes.sample(episode, frame, config.action_horizon)
        tactile, before = (sample.tactile, sample.action_prev) if config.uses_touch else (None, None)
        task, within, lesson = sample.task, None, None
        if self.lessons is not None:
            task = present(sample.subtask, 'subtask')
            within = self.lessons.within(sample.task)
            lesson = self.lessons.lesson(sample.task, task, sample.state)
        observation = self.preprocessor.observation(
            sample.images, sample.state, task, tactile, before, within
        )
        actions = self.preprocessor.actions(sample.actions, sample.state)
        tokens = None if self.lessons is None else self.lessons.tokens
        missing = self.prompt_length - observation.tokenized_prompt.shape[1]
        behind = ((0, 0), (0, missing))
        return Batch(
            observation=observation._replace(
                tokenized_prompt=np.pad(observation.tokenized_prompt, behind),
                tokenized_prompt_mask=np.pad(observation.tokenized_prompt_mask, behind),
            ),
            actions=actions[None],
            step_mask=sample.step_mask[None],
            source=np.array([self.number], np.int32),
            place=np.array([[episode, frame]], np.int32),
            subtask=lesson,
            codes=None if tokens is None else tokens.target(actions, sample.step_mask),
        )

    def joined(self, rows: Sequence[Batch]) -> Batch:
        """Return one batch of several."""
        batch: Batch = jax.tree.map(lambda *values: np.concatenate(values), *rows)
        return batch


def longest_prompt(preprocessor: Preprocessor, sources: Sequence[Episodes]) -> int:
    """Tokens of the longest prompt in the data, rounded up to a compiled length.

    Raises:
        TrainingError: a task is empty or longer than the network's prompt.
    """
    prompting = preprocessor.prompting
    lengths: list[int] = []
    for episodes, number in ((one, number) for one in sources for number in one.tables.tasks):
        task = episodes.tables.tasks[number]
        try:
            lengths += prompting.possible_lengths(prompting.task(task))
        except TokenizerError as error:
            raise TrainingError(f'{episodes.name}: task {number}, {task[:60]!r}: {error}') from error
    return max(lengths)


def reading_threads(loader: LoaderConfig) -> int:
    """Threads that read samples in one process: of the cores that it may use, not of all of the machine."""
    return loader.threads or min(2 * len(os.sched_getaffinity(0)), _MOST_THREADS)


def read_options(loader: LoaderConfig) -> grain.ReadOptions:
    """Threads and batches ahead of each worker, or of this process where there is none.

    Workers share what is not set for each: together they have as many threads, and hold as many batches, as
    one process would. A thread makes one batch at a time: fewer batches than threads would idle some.
    """
    workers = max(1, loader.workers)
    threads = loader.threads or max(1, reading_threads(loader) // workers)
    return grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=max(-(-loader.prefetch // workers), threads)
    )


def batches[Row](
    sources: Sequence[RowSource[Row]],
    weights: Sequence[float],
    batch_size: int,
    seed: int,
    first: int,
    loader: LoaderConfig,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Row]:
    """Yield batches without end, from number `first` on.

    Args:
        sources: data sets.
        weights: share of each; empty: by their number of samples.
        batch_size: over all processes.
        seed: of the order.
        first: number of the first batch.
        loader: threads and workers.
        part: (this process, number of processes): each reads its share of every batch, one block of rows.

    Raises:
        TrainingError: no sample, or sizes that do not divide.
    """
    process, processes = part
    if batch_size % processes:
        raise TrainingError(f'batch size: found {batch_size}, expected a multiple of {processes} processes')
    if empty := [source.episodes.name for source in sources if not len(source)]:
        raise TrainingError(f'found no sample in {", ".join(empty)}: all frames are filtered or held out')
    parts = [
        grain.MapDataset.source(source).seed(seed + number).shuffle().repeat()
        for number, source in enumerate(sources)
    ]
    shares = list(weights) or [float(len(source)) for source in sources]
    mixed = parts[0] if len(parts) == 1 else grain.MapDataset.mix(parts, shares)
    shares_of_batches = mixed[first * batch_size :].batch(
        batch_size // processes, drop_remainder=True, batch_fn=sources[0].joined
    )
    ready = shares_of_batches[process::processes]
    dataset = ready.to_iter_dataset(read_options(loader))
    if loader.workers:
        _let_grain_start_workers()
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=loader.workers), _leave_stops_to_the_trainer
        )
    return iter(dataset)


def validation_batches[Row](
    sources: Sequence[RowSource[Row]], batch_size: int, count: int, part: tuple[int, int] = (0, 1)
) -> list[Row]:
    """The same batches at every call: samples spread evenly over all held-out frames.

    Where there are too few to fill the last batch, some come twice. Without any held-out sample there is no
    batch.
    """
    process, processes = part
    total = sum(len(source) for source in sources)
    wanted = -(-min(total, batch_size * count) // batch_size) * batch_size
    chosen = np.linspace(0, max(total - 1, 0), wanted).round().astype(int)
    starts = np.cumsum([0, *(len(source) for source in sources)])
    own, made = batch_size // processes, []
    for begin in range(process * own, wanted, batch_size):
        rows = []
        for index in chosen[begin : begin + own]:
            number = int(np.searchsorted(starts, index, side='right')) - 1
            rows.append(sources[number][int(index - starts[number])])
        made.append(sources[0].joined(rows))
    return made


def _leave_stops_to_the_trainer(_number: int, _count: int) -> None:
    """Let a worker read on when its terminal is interrupted or closed: the step under way is saved."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _let_grain_start_workers() -> None:
    """grain reads absl's command-line flags, which are not parsed here."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
