"""The order of samples is a function of seed and batch number, whoever reads them."""

import itertools
from collections.abc import Callable

import jax
import numpy as np
import pytest

from restac_ros.model.presets import PRESETS
from restac_ros.policy.demo_tokenizer import train_demo_tokenizer
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.tokenizer import PromptTokenizer
from restac_ros.training.config import DataConfig, LoaderConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.loader import (
    SampleSource,
    batches,
    longest_prompt,
    read_options,
    validation_batches,
)
from restac_ros.training.data.selection import selection_of
from restac_ros.training.errors import TrainingError
from restac_ros.training.norm_stats import measure_norm_stats

BATCH = 4
THREADS = LoaderConfig(threads=2)


@pytest.fixture(scope='session')
def preprocessor(episodes: Episodes) -> Preprocessor:
    config = PRESETS['tiny']
    stats = measure_norm_stats([episodes], [range(4)], config.action_horizon).stats
    words = PromptTokenizer(train_demo_tokenizer(), config.max_prompt_tokens, 'built in')
    return Preprocessor.from_contract(episodes.contract, config, stats, words)


@pytest.fixture
def source_of(episodes: Episodes, preprocessor: Preprocessor) -> Callable[..., SampleSource]:
    """source_of(numbers, number=0) -> samples of these episodes."""
    length = longest_prompt(preprocessor, [episodes])

    def make(numbers: range, number: int = 0) -> SampleSource:
        data = DataConfig(episodes=tuple(numbers), validation_share=0.0)
        places = selection_of(episodes, 16, data).trained
        return SampleSource(episodes, preprocessor, places, number, length)

    return make


def places(stream, count: int) -> list[list]:
    return [batch.place.tolist() for batch in itertools.islice(stream, count)]


def test_any_batch_can_be_the_first(source_of: Callable) -> None:
    source = source_of(range(4))
    whole = places(batches([source], [], BATCH, 7, 0, THREADS), 6)
    later = places(batches([source], [], BATCH, 7, 4, LoaderConfig(threads=1)), 2)
    assert later == whole[4:]


def test_another_seed_gives_another_order(source_of: Callable) -> None:
    source = source_of(range(4))
    assert places(batches([source], [], BATCH, 1, 0, THREADS), 2) != places(
        batches([source], [], BATCH, 2, 0, THREADS), 2
    )


def test_an_epoch_holds_every_frame_once(source_of: Callable) -> None:
    source = source_of(range(1))
    rows = len(source)
    seen = np.concatenate(places(batches([source], [], 1, 3, 0, THREADS), rows))
    assert len({tuple(place) for place in seen.tolist()}) == rows


def test_processes_share_a_batch_without_overlap(source_of: Callable) -> None:
    source = source_of(range(4))
    (whole,) = places(batches([source], [], BATCH, 7, 5, THREADS), 1)
    parts = [places(batches([source], [], BATCH, 7, 5, THREADS, (number, 2)), 1)[0] for number in range(2)]
    assert [place for part in parts for place in part] == whole, 'each reads one block of rows'


def test_a_mixture_keeps_its_proportions(source_of: Callable) -> None:
    sources = [source_of(range(2), 0), source_of(range(2, 4), 1)]
    stream = batches(sources, [3.0, 1.0], BATCH, 7, 0, THREADS)
    numbers = np.concatenate([batch.source for batch in itertools.islice(stream, 10)])
    assert np.mean(numbers == 0) == pytest.approx(0.75, abs=0.03)


def test_pixels_travel_as_bytes_and_nothing_is_missing(source_of: Callable) -> None:
    batch = next(batches([source_of(range(4))], [], BATCH, 7, 0, THREADS))
    observation = batch.observation
    assert {pixels.dtype for pixels in observation.images.values()} == {np.dtype('uint8')}
    assert observation.tactile.shape == (BATCH, 128, 160, 3)
    assert observation.action_prev.shape == (BATCH, 7)
    assert batch.actions.shape == (BATCH, 16, 32)


def test_validation_batches_are_always_the_same(source_of: Callable) -> None:
    source = source_of(range(2))
    first, second = (validation_batches([source], BATCH, 2) for _ in range(2))
    assert [batch.place.tolist() for batch in first] == [batch.place.tolist() for batch in second]
    assert len(first) == 2


def test_few_held_out_samples_fill_a_batch(source_of: Callable) -> None:
    source = source_of(range(1))
    few = SampleSource(source.episodes, source.preprocessor, source.places[:3], 0, source.prompt_length)
    (batch,) = validation_batches([few], BATCH, 5)
    assert sorted(set(map(tuple, batch.place.tolist()))) == [(0, 0), (0, 1), (0, 2)]
    halves = [validation_batches([few], BATCH, 5, (number, 2))[0] for number in range(2)]
    assert [place for half in halves for place in half.place.tolist()] == batch.place.tolist()
    assert validation_batches([], BATCH, 5) == []


def test_worker_processes_give_the_same_batches(source_of: Callable) -> None:
    source = source_of(range(4))
    here = itertools.islice(batches([source], [], BATCH, 7, 3, THREADS), 3)
    stream = batches([source], [], BATCH, 7, 3, LoaderConfig(threads=1, workers=2))
    for one, other in zip(here, itertools.islice(stream, 3), strict=True):
        for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(left, right)
    stream.close()


@pytest.mark.parametrize(
    ('loader', 'threads', 'ahead'),
    [
        (LoaderConfig(), 32, 32),
        (LoaderConfig(workers=4), 8, 8),
        (LoaderConfig(workers=4, prefetch=100), 8, 25),
        (LoaderConfig(workers=100), 1, 1),
        (LoaderConfig(workers=4, threads=3), 3, 3),
        (LoaderConfig(threads=1, prefetch=5), 1, 5),
    ],
)
def test_workers_share_threads_and_batches_ahead(
    loader: LoaderConfig, threads: int, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('os.sched_getaffinity', lambda _: set(range(16)))
    options = read_options(loader)
    assert (options.num_threads, options.prefetch_buffer_size) == (threads, ahead)


@pytest.mark.parametrize(
    ('own', 'loader', 'expected'),
    [(2, LoaderConfig(), 4), (128, LoaderConfig(), 32), (128, LoaderConfig(threads=100), 100)],
)
def test_threads_follow_the_cores_that_the_process_may_use(
    own: int, loader: LoaderConfig, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('os.cpu_count', lambda: 128)
    monkeypatch.setattr('os.sched_getaffinity', lambda _: set(range(own)))
    options = read_options(loader)
    assert (options.num_threads, options.prefetch_buffer_size) == (expected, expected)


def test_an_empty_data_set_is_refused(source_of: Callable) -> None:
    source = source_of(range(2))
    empty = SampleSource(source.episodes, source.preprocessor, source.places[:0], 0, source.prompt_length)
    with pytest.raises(TrainingError, match='found no sample in'):
        batches([empty], [], BATCH, 7, 0, THREADS)
