"""FAST: chunks of actions as few tokens, by a cosine transform and byte-pair encoding.

Pertsch et al. 2025, arXiv 2501.09747. Each dimension's course over time becomes coefficients of an
orthonormal DCT, times ten, rounded; written frequency first, one character a coefficient, they become tokens
of a byte-pair vocabulary. Nothing is cut off: the error is that of the rounding, 0.029 of a normalised value
on average.

The published files hold a vocabulary of 2048 for all robots (`tokenizer.json`, `processor_config.json`);
they are read as data, and the Python file beside them is not. `fit_fast` makes the same files for one robot.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int, Int32
from scipy.fft import dct, idct
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from restac_ros.policy.action_tokens import ActionTokenError, checked_chunk, checked_codes
from restac_ros.whole_files import read_bounded, read_bounded_json

TOKENIZER_FILE, PROCESSOR_FILE = 'tokenizer.json', 'processor_config.json'
SCALE = 10.0
FITTED_VOCABULARY = 1024
LIMIT = 2.0
"""Of normalised actions: 1 is the 99th percentile, and cutting there would lose every fast motion's peak."""
_SURROGATES = 0xD800  # from here on, whole numbers are no characters
_MAX_FILE_BYTES = 64 << 20
_LEAST_REPEATS = 2  # of what becomes a token
_REPLACED = '\N{REPLACEMENT CHARACTER}'  # of bytes that are no text


class FastFileError(ValueError):
    """Files that are no FAST tokenizer; the message names the file, what was found and what was expected."""


class FastCodec:
    """One vocabulary. Both ways are functions of their arguments: nothing is remembered between calls.

    Args:
        tokenizer: characters to tokens and back.
        min_token: coefficient that character 0 stands for.
        scale: factor on the coefficients before they are rounded.
        source: where it is from, for messages.
    """

    kind, limit = 'fast', LIMIT

    def __init__(self, tokenizer: Tokenizer, min_token: int, scale: float = SCALE, source: str = '') -> None:
        self._tokenizer = tokenizer
        self.min_token, self.scale, self.source = min_token, scale, source

    @property
    def vocab_size(self) -> int:
        """Number of codes."""
        return self._tokenizer.get_vocab_size()

    def encode(self, actions: Float[np.ndarray, 'T D']) -> Int32[np.ndarray, ' n']:
        """Return the codes of a chunk of normalised actions; values beyond -2 and 2 are clipped.

        Raises:
            ActionTokenError: no matrix of finite numbers, or a coefficient that the vocabulary lacks.
        """
        characters = coefficients(checked_chunk(actions, self.limit), self.scale) - self.min_token
        if characters.min() < 0 or characters.max() >= _SURROGATES:
            raise ActionTokenError(
                f'actions: found coefficients from {characters.min() + self.min_token} to '
                f'{characters.max() + self.min_token}, expected at least {self.min_token} by '
                f'{self.source or "the vocabulary"}: fit one to these actions'
            )
        text = ''.join(map(chr, characters.ravel().tolist()))
        codes = np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)
        if self._text(codes) != text:
            raise ActionTokenError(
                f'actions: found a coefficient between {characters.min() + self.min_token} and '
                f'{characters.max() + self.min_token} that {self.source or "the vocabulary"} has no token '
                'for: fit one to chunks of this length'
            )
        return codes

    def decode(self, codes: Int[np.ndarray, ' n'], steps: int, dims: int) -> Float64[np.ndarray, 'T D']:
        """Return the normalised actions that codes stand for.

        Raises:
            ActionTokenError: a code outside the vocabulary, codes of another number of values, or of actions
                further outside -2 to 2 than rounding can bring them.
        """
        text = self._text(checked_codes(codes, self.vocab_size))
        if _REPLACED in text or len(text) != steps * dims:
            broken = 'broken characters' if _REPLACED in text else f'{len(text)} values'
            raise ActionTokenError(
                f'action tokens: found {broken} in {len(codes)} tokens, expected {steps} steps of '
                f'{dims} values'
            )
        found = np.array(list(map(ord, text)), np.float64).reshape(steps, dims) + self.min_token
        actions: Float64[np.ndarray, 'T D'] = idct(found / self.scale, axis=0, norm='ortho')
        farthest = LIMIT + 0.5 / self.scale * math.sqrt(2 * steps)
        if (largest := float(np.abs(actions).max())) > farthest:
            raise ActionTokenError(
                f'action tokens: found a normalised action of {largest:.3g}, expected at most {farthest:.3g}'
            )
        return actions

    def save(self, folder: Path) -> None:
        """Write the two files that the published processor reads."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            'processor_class': 'UniversalActionProcessor',
            'scale': self.scale,
            'vocab_size': self.vocab_size,
            'min_token': self.min_token,
            'action_dim': None,
            'time_horizon': None,
        }
        (folder / TOKENIZER_FILE).write_text(self._tokenizer.to_str(pretty=True), encoding='utf-8')
        (folder / PROCESSOR_FILE).write_text(json.dumps(settings, indent=2) + '\n', encoding='utf-8')

    def _text(self, codes: Int[np.ndarray, ' n']) -> str:
        return self._tokenizer.decode(codes.tolist(), skip_special_tokens=False)


def coefficients(actions: Float64[np.ndarray, 'T D'], scale: float = SCALE) -> Int[np.ndarray, 'T D']:
    """Return the rounded coefficients of each dimension's course, lowest frequency first."""
    return np.around(dct(actions, axis=0, norm='ortho') * scale).astype(np.int64)


def read_fast(folder: Path) -> FastCodec:
    """Read a tokenizer's `tokenizer.json` and `processor_config.json`; no code beside them is run.

    Raises:
        FastFileError: a file is missing, too large, or not what it should be.
    """
    path = folder / PROCESSOR_FILE
    remedy = f'give a directory of FAST: {TOKENIZER_FILE} and {PROCESSOR_FILE}'
    settings = read_bounded_json(path, _MAX_FILE_BYTES, FastFileError, remedy=remedy)
    scale, min_token, stated = (settings.get(name) for name in ('scale', 'min_token', 'vocab_size'))
    if not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise FastFileError(f'{path}: scale: found {scale!r}, expected a positive number')
    if not isinstance(min_token, int):
        raise FastFileError(f'{path}: min_token: found {min_token!r}, expected a whole number')
    content = read_bounded(folder / TOKENIZER_FILE, _MAX_FILE_BYTES, FastFileError, remedy=remedy)
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # `tokenizers` raises no type of its own
        raise FastFileError(f'{folder / TOKENIZER_FILE}: found no tokenizer: {error}') from error
    if not isinstance(stated, int) or tokenizer.get_vocab_size() > stated:
        raise FastFileError(
            f'{folder / TOKENIZER_FILE}: found {tokenizer.get_vocab_size()} tokens, expected at most '
            f'{stated} by {PROCESSOR_FILE}: the files are of two tokenizers'
        )
    return FastCodec(tokenizer, min_token, float(scale), str(folder))


def fit_fast(
    chunks: Iterable[Float[np.ndarray, 'T D']],
    steps: int,
    vocab_size: int = FITTED_VOCABULARY,
    scale: float = SCALE,
) -> FastCodec:
    """Fit a vocabulary to chunks of normalised actions.

    Every coefficient that actions within -2 and 2 can have gets a token of its own, whether it occurs or not,
    so that any chunk of this length can be encoded.

    Args:
        chunks: what pieces are learned from, each [steps, D].
        steps: of every chunk.
        vocab_size: number of codes.
        scale: finer with a larger one, and longer.

    Raises:
        ActionTokenError: the vocabulary has no room, or a chunk is of another length or not finite.
    """
    # A constant has the largest coefficient: sqrt(steps) times it, by the transform's being orthonormal.
    largest = math.ceil(LIMIT * scale * math.sqrt(steps))
    alphabet = [chr(code) for code in range(2 * largest + 1)]
    if len(alphabet) >= vocab_size:
        raise ActionTokenError(
            f'vocabulary: found {vocab_size} tokens, expected more than the {len(alphabet)} coefficients of '
            f'{steps} steps at scale {scale:g}'
        )

    def texts() -> Iterable[str]:
        for chunk in chunks:
            checked = checked_chunk(chunk, LIMIT)
            if len(checked) != steps:
                raise ActionTokenError(f'actions: found {len(checked)} steps, expected {steps}')
            yield ''.join(map(chr, (coefficients(checked, scale) + largest).ravel().tolist()))

    tokenizer = Tokenizer(BPE())
    tokenizer.decoder = Fuse()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=_LEAST_REPEATS,
        special_tokens=[],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return FastCodec(tokenizer, -largest, scale, 'the fitted vocabulary')
