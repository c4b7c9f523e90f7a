"""openpi's prompts through SentencePiece, and where the tokenizer file comes from."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from restac_ros.policy import tokenizer as tokenizer_module
from restac_ros.policy.demo_tokenizer import train_demo_tokenizer
from restac_ros.policy.prompts import state_prompt
from restac_ros.policy.tokenizer import (
    PALIGEMMA_SHA256,
    PromptTokenizer,
    TokenizerError,
    download_tokenizer,
    find_tokenizer,
    tokenizer_cache_path,
)


@pytest.fixture(scope='module')
def model() -> bytes:
    return train_demo_tokenizer()


@pytest.fixture(scope='module')
def processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


@pytest.fixture
def tokenizer(model: bytes) -> PromptTokenizer:
    return PromptTokenizer(model, 96, 'demo')


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('OPENPI_DATA_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'big_vision' / 'paligemma_tokenizer.model'


def test_a_task_is_framed_by_bos_and_a_line_feed_of_its_own(
    tokenizer: PromptTokenizer, processor: sentencepiece.SentencePieceProcessor
) -> None:
    prompt = tokenizer.encode(' insert_the plug ')
    words = processor.encode('insert the plug')
    assert prompt.tokens.tolist() == [processor.bos_id(), *words, *processor.encode('\n')]
    assert prompt.tokens.dtype == np.int32


def test_a_state_prompt_has_bos_and_no_more(
    tokenizer: PromptTokenizer, processor: sentencepiece.SentencePieceProcessor
) -> None:
    state = np.linspace(-1.1, 1.1, 7)
    prompt = tokenizer.encode('insert the plug', state)
    assert prompt.tokens[0] == processor.bos_id()
    assert processor.eos_id() not in prompt.tokens
    assert processor.decode(prompt.tokens.tolist()) == state_prompt('insert the plug', state)


def test_padding_is_on_the_right_and_masked(tokenizer: PromptTokenizer) -> None:
    prompt = tokenizer.encode('insert the plug')
    used = len(prompt.tokens)
    tokens, mask = prompt.padded(used + 3)
    assert tokens.shape == mask.shape == (1, used + 3)
    assert mask[0].tolist() == [True] * used + [False] * 3
    assert not tokens[0, used:].any()


def test_a_prompt_that_does_not_fit_is_refused_with_what_would_be_lost(model: bytes) -> None:
    tokenizer = PromptTokenizer(model, 5, 'test')
    with pytest.raises(TokenizerError, match=r'found \d+ tokens, expected at most 5: .*socket now'):
        tokenizer.encode('insert the plug into the socket now')


@pytest.mark.parametrize('task', ['', '  ', '_', '\n'])
def test_an_empty_task_is_refused(tokenizer: PromptTokenizer, task: str) -> None:
    with pytest.raises(TokenizerError, match='prompt: found an empty text'):
        tokenizer.encode(task)


def test_unknown_characters_survive(
    tokenizer: PromptTokenizer, processor: sentencepiece.SentencePieceProcessor
) -> None:
    tokens = tokenizer.encode('grasp the Ω-shaped 鍵').tokens.tolist()
    assert processor.unk_id() not in tokens
    assert processor.decode(tokens) == 'grasp the Ω-shaped 鍵\n'


def test_the_demo_tokenizer_is_the_same_at_every_call(model: bytes) -> None:
    assert train_demo_tokenizer() == model


def test_not_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r'x\.model: not a SentencePiece model'):
        PromptTokenizer(b'weights', 96, 'x.model')


def test_an_absent_file_says_how_to_get_it(cache: Path) -> None:
    assert tokenizer_cache_path() == cache
    with pytest.raises(TokenizerError, match=rf'{cache}: no such tokenizer file; fetch it with'):
        find_tokenizer()


def test_a_file_by_path_is_taken_as_it_is(tmp_path: Path, model: bytes) -> None:
    path = tmp_path / 'paligemma_tokenizer.model'
    path.write_bytes(model)
    assert find_tokenizer(path) == (model, str(path))
    assert find_tokenizer(tmp_path) == (model, str(path))
    with pytest.raises(TokenizerError, match='no such tokenizer file'):
        find_tokenizer(tmp_path / 'other.model')


def test_another_file_in_the_cache_is_refused(cache: Path, model: bytes) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(model)
    with pytest.raises(TokenizerError, match=r'expected 8986bb4f.* of the PaliGemma tokenizer'):
        find_tokenizer()


def test_download_checks_the_content_before_it_enters_the_cache(
    cache: Path, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / 'served.model'
    served.write_bytes(model)
    with pytest.raises(
        TokenizerError, match=f'sent {len(model)} bytes with SHA-256 .*, expected {PALIGEMMA_SHA256}'
    ):
        download_tokenizer(served.as_uri())
    assert not cache.exists()
    digest = hashlib.sha256(model).hexdigest()
    assert download_tokenizer(served.as_uri(), digest) == cache
    assert cache.read_bytes() == model
    served.unlink()
    assert download_tokenizer(served.as_uri(), digest) == cache  # already there: nothing is fetched
    monkeypatch.setattr(tokenizer_module, 'PALIGEMMA_SHA256', digest)
    assert find_tokenizer() == (model, str(cache))


def test_no_network_says_where_to_put_the_file(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=rf'cannot be fetched: .* copy the file to {cache}'):
        download_tokenizer((tmp_path / 'absent').as_uri())
