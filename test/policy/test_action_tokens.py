"""Actions as tokens: 256 bins, FAST, and where both lie in a language model's vocabulary."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct
from tokenizers import ByteLevelBPETokenizer
from tokenizers.trainers import BpeTrainer

from restac_ros.policy.action_sentences import ActionSentences
from restac_ros.policy.action_tokens import ActionCodec, ActionIds, ActionTokenError, BinCodec
from restac_ros.policy.demo_tokenizer import train_demo_tokenizer
from restac_ros.policy.errors import CALL_REFUSED
from restac_ros.policy.fast import (
    PROCESSOR_FILE,
    TOKENIZER_FILE,
    FastCodec,
    FastFileError,
    coefficients,
    fit_fast,
    read_fast,
)
from restac_ros.policy.tokenizer import PromptTokenizer

STEPS, DIMS, VOCABULARY = 16, 7, 400
PUBLISHED_MIN_TOKEN = -354


def motions(count: int, seed: int = 0, steps: int = STEPS) -> list[np.ndarray]:
    """Smooth courses within -1 and 1, as of an arm."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, steps)[:, None]
    made = []
    for _ in range(count):
        phase, speed = rng.uniform(0, 6, DIMS), rng.uniform(0.2, 2.5, DIMS)
        made.append(0.9 * rng.uniform(0, 1, DIMS) * np.sin(phase + speed * time))
    return made


@pytest.fixture(scope='module')
def fitted() -> FastCodec:
    return fit_fast(motions(200), STEPS, VOCABULARY)


def published(folder: Path, vocab_size: int, min_token: int = PUBLISHED_MIN_TOKEN) -> Path:
    """Files of the published layout: byte-level pieces, learned from random motion."""
    bpe = ByteLevelBPETokenizer()
    texts = [''.join(map(chr, (coefficients(chunk) - min_token).ravel())) for chunk in motions(60, seed=4)]
    alphabet = [chr(code) for code in range(800)]
    trainer = BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, show_progress=False, initial_alphabet=alphabet
    )
    bpe._tokenizer.train_from_iterator(texts, trainer=trainer)
    folder.mkdir(parents=True)
    bpe.save(str(folder / TOKENIZER_FILE))
    (folder / 'processing_action_tokenizer.py').write_text('raise SystemExit("this code must not run")')
    settings = {
        'auto_map': {'AutoProcessor': 'processing_action_tokenizer.UniversalActionProcessor'},
        'processor_class': 'UniversalActionProcessor',
        'scale': 10,
        'vocab_size': vocab_size,
        'min_token': min_token,
        'action_dim': None,
        'time_horizon': None,
    }
    (folder / PROCESSOR_FILE).write_text(json.dumps(settings))
    return folder


def test_bins_are_those_of_the_published_numbers() -> None:
    values = np.array([[0.60, -0.40, 1.00, 0.25, 1.00]])
    codes = BinCodec().encode(values)
    assert codes.tolist() == [205, 77, 255, 160, 255]
    assert np.abs(BinCodec().decode(codes, 1, 5) - values).max() <= 1 / 128
    assert BinCodec().encode(np.array([[-3.0, -1.0, 0.0, 3.0]])).tolist() == [0, 0, 128, 255]


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_bins_round_trip_within_half_a_bin(steps: int, dims: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-1, 127 / 128, (steps, dims))
    read = BinCodec().decode(BinCodec().encode(values), steps, dims)
    assert np.abs(read - values).max() <= 1 / 256 + 1e-12


def test_coefficients_are_those_of_the_definition() -> None:
    """Slow twin: the orthonormal DCT-II written out, and rounding half to even."""
    chunk = motions(1)[0]
    for dim in range(DIMS):
        for k in range(STEPS):
            norm = math.sqrt((1 if k == 0 else 2) / STEPS)
            terms = (chunk[n, dim] * math.cos(math.pi * k * (2 * n + 1) / (2 * STEPS)) for n in range(STEPS))
            assert coefficients(chunk)[k, dim] == round(10 * norm * sum(terms))


def test_fast_round_trips_to_its_coefficients(fitted: FastCodec) -> None:
    errors = []
    for chunk in motions(50, seed=1):
        codes = fitted.encode(chunk)
        read = fitted.decode(codes, STEPS, DIMS)
        np.testing.assert_array_equal(coefficients(read), coefficients(chunk))
        errors.append(read - chunk)
        assert len(codes) < STEPS * DIMS / 2, 'pieces stand for several values'
    assert np.sqrt(np.mean(np.square(errors))) < 0.1 / math.sqrt(12), 'what rounds to nothing was small'
    noise = np.random.default_rng(0).uniform(-1, 1, (200, STEPS, DIMS))
    errors = [fitted.decode(fitted.encode(chunk), STEPS, DIMS) - chunk for chunk in noise]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(0.1 / math.sqrt(12), rel=0.01)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_chunk_within_the_range_can_be_encoded(seed: int) -> None:
    """Also noise and steps, which no fitted motion holds; outside the range it is clipped."""
    codec = fit_fast(motions(20), STEPS, 400)
    rng = np.random.default_rng(seed)
    chunk = np.where(rng.random((STEPS, DIMS)) < 0.5, rng.uniform(-4, 4, (STEPS, DIMS)), 2.0)
    read = codec.decode(codec.encode(chunk), STEPS, DIMS)
    assert np.abs(read - np.clip(chunk, -2, 2)).max() <= 0.05 * math.sqrt(2 * STEPS)


def test_encoding_and_decoding_keep_nothing_between_calls(fitted: FastCodec) -> None:
    one, other = motions(2, seed=9)
    before = fitted.encode(one)
    shorter = fitted.encode(other[:4, :2])
    np.testing.assert_array_equal(fitted.encode(one), before)
    assert fitted.decode(shorter, 4, 2).shape == (4, 2)
    np.testing.assert_array_equal(coefficients(fitted.decode(before, STEPS, DIMS)), coefficients(one))


def test_fitting_gives_the_same_vocabulary_at_every_call_and_survives_its_files(
    fitted: FastCodec, tmp_path: Path
) -> None:
    fitted.save(tmp_path / 'one')
    fit_fast(motions(200), STEPS, VOCABULARY).save(tmp_path / 'two')
    for name in (TOKENIZER_FILE, PROCESSOR_FILE):
        assert (tmp_path / 'one' / name).read_text() == (tmp_path / 'two' / name).read_text()
    read = read_fast(tmp_path / 'one')
    assert (read.vocab_size, read.min_token, read.scale) == (VOCABULARY, fitted.min_token, 10.0)
    for chunk in motions(5, seed=3):
        np.testing.assert_array_equal(read.encode(chunk), fitted.encode(chunk))


@pytest.mark.parametrize('vocab_size', [1024, 2048])
def test_files_of_the_published_layout_are_read_without_their_code(vocab_size: int, tmp_path: Path) -> None:
    codec = read_fast(published(tmp_path / 'fast', vocab_size))
    assert codec.vocab_size <= vocab_size
    for chunk in motions(10, seed=4):
        expected = np.around(dct(chunk, axis=0, norm='ortho') * 10)
        codes = codec.encode(chunk)
        np.testing.assert_array_equal(coefficients(codec.decode(codes, STEPS, DIMS)), expected)


def test_a_stream_that_stands_for_no_chunk_is_an_error_and_never_actions(fitted: FastCodec) -> None:
    codes = fitted.encode(motions(1)[0])
    for codec, stream, fault in (
        (fitted, codes[:-1], r'found \d+ values in \d+ tokens, expected 16 steps of 7 values'),
        (fitted, [*codes, 0], r'found 113 values'),
        (fitted, codes[:0], 'found 0 values in 0 tokens'),
        (fitted, [*codes[:-1], 512], r'found 512 at place \d+, expected 0 to 399'),
        (fitted, [*codes[:-1], -1], r'found -1 at place'),
        (fitted, codes.astype(float), 'expected a list of whole numbers'),
        (fitted, [0] * STEPS * DIMS, r'found a normalised action of [\d.]+, expected at most 2\.28'),
        (BinCodec(), [0] * 6, 'found 6, expected 16 steps of 7 values'),
        (BinCodec(), [256] * STEPS * DIMS, 'found 256 at place 0, expected 0 to 255'),
    ):
        with pytest.raises(ActionTokenError, match=fault):
            codec.decode(np.asarray(stream, None if len(stream) else np.int64), STEPS, DIMS)
    assert issubclass(ActionTokenError, CALL_REFUSED), 'the loop that acts holds the robot on it'


def test_broken_characters_of_a_byte_vocabulary_are_an_error(tmp_path: Path) -> None:
    codec = read_fast(published(tmp_path / 'fast', 1024))
    codes = codec.encode(motions(1, seed=4)[0])
    lead = next(code for code in range(codec.vocab_size) if codec._tokenizer.id_to_token(code) == 'Å')
    with pytest.raises(ActionTokenError, match='found broken characters'):
        codec.decode(np.append(codes, lead), STEPS, DIMS)


@pytest.mark.parametrize('codec', [BinCodec(), fit_fast(motions(20), STEPS, 400)])
def test_actions_that_are_no_chunk_are_refused(codec: ActionCodec) -> None:
    chunk = motions(1)[0]
    with pytest.raises(ActionTokenError, match=r'actions: found shape \(7,\)'):
        codec.encode(chunk[0])
    chunk[3, 2] = np.nan
    with pytest.raises(ActionTokenError, match=r'actions\[3, 2\]: found nan, expected a finite number'):
        codec.encode(chunk)


def test_coefficients_outside_a_vocabulary_are_refused_not_clipped(fitted: FastCodec) -> None:
    long = 2 * np.ones((4 * STEPS, DIMS))
    with pytest.raises(ActionTokenError, match=r'fit one to chunks of this length'):
        fitted.encode(long)
    with pytest.raises(ActionTokenError, match=r'found coefficients from -160 to 0, expected at least -80'):
        fitted.encode(-long)


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(ActionTokenError, match='found 160 tokens, expected more than the 161 coefficients'):
        fit_fast(motions(5), STEPS, 160)
    with pytest.raises(ActionTokenError, match='found 16 steps, expected 15'):
        fit_fast(motions(5), STEPS - 1)


@pytest.mark.parametrize(
    ('name', 'content', 'fault'),
    [
        (TOKENIZER_FILE, None, 'no such file'),
        (TOKENIZER_FILE, '{}', r'tokenizer\.json: found no tokenizer'),
        (PROCESSOR_FILE, None, 'no such file'),
        (PROCESSOR_FILE, '[]', 'found a JSON list, expected an object'),
        (PROCESSOR_FILE, '{', 'not readable JSON'),
        (PROCESSOR_FILE, '{"scale": 0}', 'scale: found 0, expected a positive number'),
        (PROCESSOR_FILE, '{"scale": 10, "min_token": 1.5}', 'min_token: found 1.5, expected a whole number'),
        (
            PROCESSOR_FILE,
            '{"scale": 10, "min_token": -9, "vocab_size": 100}',
            r'found 400 tokens, expected at most 100 by processor_config\.json',
        ),
    ],
)
def test_damaged_files_are_refused_by_name(
    name: str, content: str | None, fault: str, fitted: FastCodec, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
    with pytest.raises(FastFileError, match=fault):
        read_fast(tmp_path)


def test_ids_are_openpis_and_do_not_collide_where_asked() -> None:
    codes = np.array([0, 1, 1023, 2047])
    assert ActionIds().ids(codes).tolist() == [257_023, 257_022, 256_000, 254_976]
    clear = ActionIds(skipped=1152)
    loc = range(256_000, 257_024)
    assert not set(clear.ids(np.arange(2048)).tolist()) & set(loc)
    for where in (ActionIds(), clear):
        np.testing.assert_array_equal(where.codes(where.ids(codes), 2048), codes)
    with pytest.raises(ActionTokenError, match='found id 257024 at place 1, expected 256000 to 257023'):
        ActionIds().codes(np.array([257_000, 257_024]), 1024)
    with pytest.raises(ActionTokenError, match='found 90 at place 0, expected 0 to 89'):
        ActionIds(vocab_size=100, skipped=10).ids(np.array([90]))


@pytest.fixture(scope='module')
def words() -> PromptTokenizer:
    return PromptTokenizer(train_demo_tokenizer(), 96, 'demo')


@pytest.mark.parametrize('ways', ['fast', 'bins'])
def test_a_sentence_of_actions_is_openpis_and_reads_back(
    ways: str, fitted: FastCodec, words: PromptTokenizer
) -> None:
    codec: ActionCodec = fitted if ways == 'fast' else BinCodec()
    sentences = ActionSentences.of(codec, ActionIds(vocab_size=2048), words, 200)
    chunk = motions(1, seed=2)[0]
    said = sentences.sentence(chunk)
    codes = codec.encode(chunk)
    opening, bar = words.pieces('Action: '), words.pieces('|')
    assert said.tolist() == [*opening, *(2048 - 1 - 128 - codes).tolist(), *bar, 1]
    np.testing.assert_array_equal(
        sentences.actions(said, STEPS, DIMS), codec.decode(codes, STEPS, DIMS), strict=True
    )
    sayable = sentences.sayable()
    assert sayable[said].all()
    assert sayable.sum() == codec.vocab_size + len({*opening, *bar, 1})


def test_what_was_said_otherwise_is_an_error_and_never_actions(
    fitted: FastCodec, words: PromptTokenizer
) -> None:
    sentences = ActionSentences.of(fitted, ActionIds(vocab_size=2048), words, 200)
    said = sentences.sentence(motions(1, seed=2)[0])
    first = len(words.pieces('Action: '))
    text = np.insert(said, first + 1, said[0])
    for broken in (said[:-1], said[:-2], said[1:], said[:0], said[: len(words.pieces('Action: '))]):
        with pytest.raises(ActionTokenError, match='the text was cut off, or is no chunk'):
            sentences.actions(broken, STEPS, DIMS)
    with pytest.raises(ActionTokenError, match=rf'found id {said[0]} at place 1, expected'):
        sentences.actions(text, STEPS, DIMS)
    with pytest.raises(ActionTokenError, match=r'values in \d+ tokens, expected 16 steps of 7 values'):
        sentences.actions(np.delete(said, first), STEPS, DIMS)


def test_a_sentence_without_room_is_refused_not_cut_off(fitted: FastCodec, words: PromptTokenizer) -> None:
    sentences = ActionSentences.of(fitted, ActionIds(vocab_size=2048), words, 12)
    with pytest.raises(ActionTokenError, match=r'found \d+ tokens, expected at most 12: shorten the chunk'):
        sentences.sentence(np.random.default_rng(0).uniform(-1, 1, (STEPS, DIMS)))
    with pytest.raises(
        ActionTokenError, match=r'as those below are text: the vocabulary of 600 has no room for 400'
    ):
        ActionSentences.of(fitted, ActionIds(vocab_size=600), words, 200)
