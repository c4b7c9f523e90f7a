"""Fits FAST to recorded episodes, and measures what tokens cost and lose on held-out episodes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from restac_ros.framing.values import STATE_DIM
from restac_ros.policy.action_tokens import ActionCodec, ActionTokenError, BinCodec
from restac_ros.policy.fast import FITTED_VOCABULARY, SCALE, FastCodec, fit_fast, read_fast
from restac_ros.policy.normalization import NormStats
from restac_ros.training.config import DataConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.data.selection import selection_of
from restac_ros.training.errors import TrainingError
from restac_ros.training.norm_stats import delta_rule, measure_norm_stats

KINDS = {'position': slice(0, 3), 'rotation': slice(3, 6), 'gripper': slice(6, 7)}


@dataclass(frozen=True)
class FastRequest:
    """What to fit.

    Attributes:
        dataset: LeRobot data set of this package.
        horizon: steps of a chunk.
        vocab_size: number of tokens.
        scale: of the coefficients.
        stride: frames from one chunk that is learned from to the next.
        data: episodes, hold-out and narrow ranges, as training is given them.
        beside: directories of other tokenizers to measure beside it.
    """

    dataset: Path
    horizon: int
    vocab_size: int = FITTED_VOCABULARY
    scale: float = SCALE
    stride: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    beside: tuple[Path, ...] = ()


@dataclass(frozen=True)
class TokenFigures:
    """What one way of making tokens costs and loses.

    Attributes:
        name: of the way.
        vocab_size: number of its codes.
        chunks: how many were encoded.
        refused: how many it has no tokens for.
        clipped: share of the values that are beyond its limit.
        mean, longest: tokens of a chunk.
        per_s: tokens for a second of motion.
        rms: error of normalised values, clipping included.
        rms_units, largest_units: error of position m, rotation rad and gripper m, likewise.
    """

    name: str
    vocab_size: int
    chunks: int
    refused: int
    clipped: float
    mean: float
    longest: int
    per_s: float
    rms: float
    rms_units: tuple[float, ...]
    largest_units: tuple[float, ...]


@dataclass(frozen=True)
class FittedFast:
    """A fitted tokenizer and figures on it, on 256 bins, and on the tokenizers beside it.

    Attributes:
        codec: the tokenizer.
        stats: what actions were normalised with.
        fitted_on: chunks that it learned from.
        held_out: whether the figures are of episodes that it did not learn from.
        figures: its own first.
    """

    codec: FastCodec
    stats: NormStats
    fitted_on: int
    held_out: bool
    figures: tuple[TokenFigures, ...]


def fit_to_dataset(request: FastRequest) -> FittedFast:
    """Fit a tokenizer to the chunks of a data set, as training normalises them.

    Raises:
        TrainingError: no episode is as long as a chunk, or the data cannot be trained on.
        ActionTokenError: the vocabulary has no room.
        FastFileError: a tokenizer to measure beside it cannot be read.
    """
    others = [(str(folder), read_fast(folder)) for folder in request.beside]
    episodes = open_episodes(request.dataset, None)
    selection = selection_of(episodes, request.horizon, request.data)
    trained = selection.trained_episodes
    widen = request.data.min_range
    stats = measure_norm_stats([episodes], [trained], request.horizon, widen=widen).stats
    learned = list(_chunks(episodes, trained, stats, request.horizon, request.stride))
    if not learned:
        raise TrainingError(
            f'{episodes.name}: found no episode of {request.horizon} frames or more, expected some: a chunk '
            'is that long; give a smaller --horizon'
        )
    codec = fit_fast(learned, request.horizon, request.vocab_size, request.scale)
    unseen = sorted(set(selection.validated[:, 0].tolist()))
    measured = list(_chunks(episodes, unseen, stats, request.horizon, request.stride))
    ways: list[tuple[str, ActionCodec]] = [('fitted', codec), *others, ('256 bins a value', BinCodec())]
    seconds = request.horizon / episodes.tables.fps
    shown = measured or learned
    return FittedFast(
        codec,
        stats,
        len(learned),
        bool(measured),
        tuple(measure_tokens(name, way, shown, stats, seconds) for name, way in ways),
    )


def measure_tokens(
    name: str,
    codec: ActionCodec,
    chunks: Sequence[Float64[np.ndarray, 'T 7']],
    stats: NormStats,
    chunk_s: float,
) -> TokenFigures:
    """Encode and decode chunks of normalised actions, each of `chunk_s` seconds."""
    lengths, errors, refused = [], [], 0
    for chunk in chunks:
        try:
            codes = codec.encode(chunk)
        except ActionTokenError:
            refused += 1
            continue
        lengths.append(len(codes))
        errors.append(codec.decode(codes, *chunk.shape) - chunk)
    if not errors:
        nothing = (np.nan,) * len(KINDS)
        return TokenFigures(
            name, codec.vocab_size, 0, refused, np.nan, np.nan, 0, np.nan, np.nan, nothing, nothing
        )
    error = np.stack(errors)
    # Half a range is 1 in normalised values; an error has no offset.
    units = error * (np.subtract(stats.actions.q99, stats.actions.q01) / 2)
    return TokenFigures(
        name=name,
        vocab_size=codec.vocab_size,
        chunks=len(lengths),
        refused=refused,
        clipped=float(np.mean(np.abs(np.stack(chunks)) > codec.limit)),
        mean=float(np.mean(lengths)),
        longest=max(lengths),
        per_s=float(np.mean(lengths)) / chunk_s,
        rms=float(np.sqrt(np.mean(np.square(error)))),
        rms_units=tuple(float(np.sqrt(np.mean(np.square(units[..., dims])))) for dims in KINDS.values()),
        largest_units=tuple(float(np.abs(units[..., dims]).max()) for dims in KINDS.values()),
    )


def _chunks(
    episodes: Episodes, numbers: Sequence[int], stats: NormStats, horizon: int, stride: int
) -> Iterator[Float64[np.ndarray, 'T 7']]:
    """Yield normalised delta actions from every `stride`-th frame that a whole chunk follows."""
    rule = delta_rule(episodes.contract)
    for number in numbers:
        span = episodes.tables.spans[number]
        for frame in range(0, span.length - horizon + 1, stride):
            row = span.first + frame
            deltas = rule.deltas(episodes.actions[row : row + horizon], episodes.state[row])
            yield stats.actions.normalize(deltas.reshape(horizon, STATE_DIM))
