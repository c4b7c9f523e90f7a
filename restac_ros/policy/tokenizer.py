"""The task text as token ids: PaliGemma's SentencePiece model and openpi's exact prompts.

The tokenizer file is searched, never downloaded implicitly: `download_tokenizer` is a command of its own.
"""

import hashlib
import os
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
from jaxtyping import Bool, Float, Int32

from restac_ros.model.checkpoint.store import CheckpointInfo
from restac_ros.policy.prompts import StateBins, clean, state_prompt
from restac_ros.whole_files import read_bounded, replaced

PALIGEMMA_URL = 'https://storage.googleapis.com/big_vision/paligemma_tokenizer.model'
PALIGEMMA_SHA256 = '8986bb4f423f07f8c7f70d0dbe3526fb2316056c17bae71b1ea975e77a168fc6'
"""Digest that several independent projects publish for openpi's tokenizer file; it is also the
tokenizer.model of google/paligemma-3b-pt-224."""

CACHE_VARIABLE = 'OPENPI_DATA_HOME'
_MAX_FILE_BYTES = 64 << 20

_DOWNLOAD_TIMEOUT_S = 60.0
_NO_TEXT = ('<loc', '<seg', '<unused')


class TokenizerError(ValueError):
    """A tokenizer file that is absent, damaged or of another model; the message names it and a remedy."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """One tokenised prompt; `tokens` has the valid length."""

    text: str
    tokens: Int32[np.ndarray, ' T']

    def padded(self, length: int) -> tuple[Int32[np.ndarray, '1 L'], Bool[np.ndarray, '1 L']]:
        """Tokens and mask with a batch axis, padded on the right with id 0 and False."""
        tokens = np.zeros((1, length), np.int32)
        tokens[0, : len(self.tokens)] = self.tokens
        return tokens, np.arange(length)[None] < len(self.tokens)


class PromptTokenizer:
    """openpi's prompts through one SentencePiece model.

    Args:
        model: serialised SentencePiece model.
        max_tokens: longest prompt of the network.
        source: where the model came from, for messages.

    Raises:
        TokenizerError: not a SentencePiece model, or one without a beginning-of-sentence token.
    """

    def __init__(self, model: bytes, max_tokens: int, source: str) -> None:
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise TokenizerError(f'{source}: not a SentencePiece model: {error}') from error
        if self._processor.bos_id() < 0:
            raise TokenizerError(
                f'{source}: has no beginning-of-sentence token, which every prompt starts with'
            )
        self.max_tokens = max_tokens
        self.source = source

    @property
    def vocab_size(self) -> int:
        """Number of pieces; token ids are below it."""
        return self._processor.vocab_size()

    def pieces(self, text: str, *, ended: bool = False) -> tuple[int, ...]:
        """Return the ids of a text as it is, `ended` with the end-of-sequence token behind it.

        Raises:
            TokenizerError: there is no such token.
        """
        if ended and self._processor.eos_id() < 0:
            raise TokenizerError(f'{self.source}: has no end-of-sequence token, which the text ends with')
        return tuple(self._processor.encode(text, add_eos=ended))

    def encode(
        self, task: str, state: Float[np.ndarray, ' D'] | None = None, bins: StateBins = 'openpi'
    ) -> Prompt:
        """Tokenise a task.

        Args:
            task: what to do, in words.
            state: normalised, unpadded state; given, it becomes part of the prompt (pi0.5's discretised
                state), else the prompt is the task and a line feed.
            bins: rule by which it becomes whole numbers.

        Raises:
            TokenizerError: an empty task, or one that is too long for the network.
        """
        if not clean(task).strip():
            raise TokenizerError('prompt: found an empty text, expected a task such as "insert the plug"')
        if state is None:
            text = clean(task)
            # The line feed is encoded apart, so that it stays one token whatever precedes it.
            ids = self._processor.encode(text, add_bos=True) + self._processor.encode('\n')
            return self._prompt(text, ids)
        return self.tokenized(state_prompt(task, state, bins))

    def tokenized(self, text: str) -> Prompt:
        """Return a text of `prompts` behind the beginning-of-sentence token, without an end.

        Raises:
            TokenizerError: it is too long for the network.
        """
        return self._prompt(text, self._processor.encode(text, add_bos=True))

    def answer(self, text: str) -> Prompt:
        """Return a text that a prompt is to be continued with, its end-of-sequence token last.

        Raises:
            TokenizerError: an empty text, or a tokenizer that has no such token.
        """
        words = clean(text)
        if not words:
            raise TokenizerError('answer: found an empty text, expected words such as "grasp the plug"')
        return Prompt(words, np.array([*self._processor.encode(words), self.end], np.int32))

    @property
    def end(self) -> int:
        """The end-of-sequence token.

        Raises:
            TokenizerError: there is none.
        """
        if (end := self._processor.eos_id()) < 0:
            raise TokenizerError(f'{self.source}: has no end-of-sequence token, which every answer ends with')
        return end

    def sayable(self, vocab_size: int) -> Bool[np.ndarray, ' V']:
        """Return which of a network's tokens may stand in an answer: text, and the end.

        Control tokens, those of places and segments in images, and rows without a piece may not: action
        tokens lie on the last two.
        """
        kept = np.zeros(vocab_size, bool)
        for token in range(self.vocab_size):
            piece = self._processor.id_to_piece(token)
            special = self._processor.is_control(token) or self._processor.is_unknown(token)
            kept[token] = not special and not piece.startswith(_NO_TEXT)
        kept[self.end] = True
        return kept

    def text(self, tokens: Sequence[int]) -> str:
        """Return an answer in words, its end left out."""
        end = self.end
        return clean(self._processor.decode([token for token in tokens if token != end]))

    def _prompt(self, text: str, ids: list[int]) -> Prompt:
        if len(ids) > self.max_tokens:
            raise TokenizerError(
                f'prompt: found {len(ids)} tokens, expected at most {self.max_tokens}: '
                f'{self._processor.decode(ids[self.max_tokens :])!r} at the end does not fit; '
                'shorten the task text'
            )
        return Prompt(text, np.array(ids, np.int32))


def tokenizer_cache_path() -> Path:
    """Where openpi keeps its tokenizer: under $OPENPI_DATA_HOME, by default ~/.cache/openpi."""
    root = Path(os.environ.get(CACHE_VARIABLE) or '~/.cache/openpi').expanduser()
    return root / 'big_vision' / 'paligemma_tokenizer.model'


def find_tokenizer(path: Path | None = None) -> tuple[bytes, str]:
    """Read the tokenizer at `path`, or PaliGemma's from the cache; returns content and source.

    A file given by path is used as it is. The cached one must have the known digest.

    Raises:
        TokenizerError: absent, too large, or the cached file is not PaliGemma's.
    """
    if path is not None:
        path = Path(path).expanduser()
        if path.is_dir():
            path = path / 'paligemma_tokenizer.model'
        return _read(path, 'give the path of a SentencePiece model'), str(path)
    path = tokenizer_cache_path()
    content = _read(path, "fetch it with 'restac-ros download-tokenizer', or give a file by path")
    if (digest := hashlib.sha256(content).hexdigest()) != PALIGEMMA_SHA256:
        raise TokenizerError(
            f'{path}: found SHA-256 {digest}, expected {PALIGEMMA_SHA256} of the PaliGemma tokenizer; remove '
            'the file and fetch it again, or give another tokenizer by path'
        )
    return content, str(path)


def tokenizer_of(info: CheckpointInfo, path: Path, given: Path | None = None) -> PromptTokenizer:
    """Return the tokenizer given, else the checkpoint's own, else PaliGemma's from the cache.

    Raises:
        TokenizerError: none is found, or it is damaged.
    """
    if given is None and info.tokenizer is not None:
        return PromptTokenizer(info.tokenizer, info.config.max_prompt_tokens, f'{path}/tokenizer.model')
    content, source = find_tokenizer(given)
    return PromptTokenizer(content, info.config.max_prompt_tokens, source)


def download_tokenizer(url: str = PALIGEMMA_URL, sha256: str = PALIGEMMA_SHA256) -> Path:
    """Fetch PaliGemma's tokenizer into the cache, if it is not there; returns its path.

    Args:
        url: another place for the same file, for example an internal mirror.
        sha256: digest that the content must have.

    Raises:
        TokenizerError: the server cannot be reached, or sent something else; the cache is then unchanged.
    """
    path = tokenizer_cache_path()
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return path
    try:
        with urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as response:
            content = response.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise TokenizerError(
            f'{url}: cannot be fetched: {error}. Where there is no network, copy the file to {path}'
        ) from error
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise TokenizerError(f'{url}: sent {len(content)} bytes with SHA-256 {digest}, expected {sha256}')
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as partial:
        partial.write_bytes(content)
    return path


def _read(path: Path, remedy: str) -> bytes:
    return read_bounded(path, _MAX_FILE_BYTES, TokenizerError, what='tokenizer file', remedy=remedy)
