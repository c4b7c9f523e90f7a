"""Chunks of actions as tokens of a language model: what every way of making tokens shares, and the plain one.

Values in a chunk are normalised: see `normalization`. A stream of tokens that stands for no chunk is an
error, never actions: who gets it holds the robot, as after any refused call of the policy.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float64, Int, Int32

from restac_ros.policy.errors import PolicyError

PALIGEMMA_VOCABULARY = 257_152
BINS = 256


class ActionTokenError(PolicyError):
    """Tokens that stand for no chunk of actions, or actions that no tokens can stand for."""


class ActionCodec(Protocol):
    """A reversible way from a chunk to codes 0 .. vocab_size - 1; nothing is kept between calls."""

    kind: str
    """What checkpoints call it."""
    limit: float
    """Normalised actions are clipped to this on either side before they become codes."""

    @property
    def vocab_size(self) -> int:
        """Number of codes."""
        ...

    def encode(self, actions: Float[np.ndarray, 'T D']) -> Int32[np.ndarray, ' n']:
        """Return the codes of a chunk of normalised actions.

        Raises:
            ActionTokenError: the chunk is no matrix of finite numbers.
        """
        ...

    def decode(self, codes: Int[np.ndarray, ' n'], steps: int, dims: int) -> Float64[np.ndarray, 'T D']:
        """Return the normalised actions that codes stand for.

        Raises:
            ActionTokenError: they stand for no chunk of this shape.
        """
        ...


class BinCodec:
    """256 equal bins a value, step by step: RT-1 (Brohan et al. 2022, arXiv 2212.06817), OpenVLA."""

    kind, limit, vocab_size = 'bins', 1.0, BINS

    def encode(self, actions: Float[np.ndarray, 'T D']) -> Int32[np.ndarray, ' n']:
        """Return min(255, round((x + 1) / 2 * 256)) of each value, one step after another.

        Raises:
            ActionTokenError: the chunk is no matrix of finite numbers.
        """
        scaled = np.rint((checked_chunk(actions, self.limit) + 1) / 2 * BINS)
        return np.minimum(scaled, BINS - 1).astype(np.int32).ravel()

    def decode(self, codes: Int[np.ndarray, ' n'], steps: int, dims: int) -> Float64[np.ndarray, 'T D']:
        """Return code / 256 * 2 - 1 of each; 1/256 off at most, 1/128 at the upper end.

        Raises:
            ActionTokenError: another number of codes, or one that is not 0 to 255.
        """
        checked = checked_codes(codes, self.vocab_size)
        if len(checked) != steps * dims:
            raise ActionTokenError(
                f'action tokens: found {len(checked)}, expected {steps} steps of {dims} values'
            )
        return checked.reshape(steps, dims) / BINS * 2.0 - 1.0


@dataclass(frozen=True)
class ActionIds:
    """Where codes lie in a language model's vocabulary: counted down from its end, as in openpi and LeRobot.

    Attributes:
        vocab_size: of the language model.
        skipped: ids at the end that are left out. 128 is openpi's and LeRobot's: PaliGemma's `<seg>` ids;
            the codes then lie on its `<loc>` ids. 1152 leaves these out, too.
    """

    vocab_size: int = PALIGEMMA_VOCABULARY
    skipped: int = 128

    def ids(self, codes: Int[np.ndarray, ' n']) -> Int32[np.ndarray, ' n']:
        """Return the language model's ids of codes.

        Raises:
            ActionTokenError: a code that the vocabulary has no room for.
        """
        return (self._last - checked_codes(codes, self._last + 1)).astype(np.int32)

    def codes(self, ids: Int[np.ndarray, ' n'], codec_size: int) -> Int32[np.ndarray, ' n']:
        """Return the codes of the language model's ids; `codec_size` is the number of codes that there are.

        Raises:
            ActionTokenError: an id that is no action token.
        """
        codes = self._last - np.asarray(ids, np.int64)
        if (outside := (codes < 0) | (codes >= codec_size)).any():
            place = int(np.argmax(outside))
            raise ActionTokenError(
                f'action tokens: found id {int(ids[place])} at place {place}, expected '
                f'{self._last - codec_size + 1} to {self._last}'
            )
        return codes.astype(np.int32)

    @property
    def _last(self) -> int:
        return self.vocab_size - 1 - self.skipped


def checked_chunk(actions: Float[np.ndarray, 'T D'], limit: float) -> Float64[np.ndarray, 'T D']:
    """Return a chunk in float64, clipped to `limit` on either side.

    Raises:
        ActionTokenError: it is no matrix of finite numbers.
    """
    values = np.asarray(actions, np.float64)
    if values.ndim != 2 or not values.size:
        raise ActionTokenError(f'actions: found shape {values.shape}, expected steps and dimensions')
    if not np.isfinite(values).all():
        step, dim = np.argwhere(~np.isfinite(values))[0].tolist()
        raise ActionTokenError(f'actions[{step}, {dim}]: found {values[step, dim]}, expected a finite number')
    return np.clip(values, -limit, limit)


def checked_codes(codes: Int[np.ndarray, ' n'], vocab_size: int) -> Int[np.ndarray, ' n']:
    """Return codes as a vector of whole numbers.

    Raises:
        ActionTokenError: they are none, or one is outside the vocabulary.
    """
    values = np.asarray(codes)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ActionTokenError(
            f'action tokens: found {values.dtype} {list(values.shape)}, expected a list of whole numbers'
        )
    if (outside := (values < 0) | (values >= vocab_size)).any():
        place = int(np.argmax(outside))
        raise ActionTokenError(
            f'action tokens: found {int(values[place])} at place {place}, expected 0 to {vocab_size - 1}'
        )
    return values.astype(np.int64)
