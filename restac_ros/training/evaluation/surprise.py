"""The tactile encoder's uncertainty against its errors, and the use of its codebook."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

_BINS = 10


@dataclass(frozen=True)
class SurpriseCalibration:
    """Expected against found squared residual of the prior, per latent number.

    Attributes:
        rank_correlation: Spearman's, of logvar and squared residual: 1 orders frames rightly.
        mean_ratio: mean of squared residual over expected variance; 1 is calibrated.
        nll: mean negative log likelihood of a residual number, nats, with the variances of the prior.
        nll_constant: the same with one variance for all, the best one: what the prior has to be below.
        reliability: expected and found mean squares of frames binned by the expected one.
    """

    rank_correlation: float
    mean_ratio: float
    nll: float
    nll_constant: float
    reliability: list[tuple[float, float]]


@dataclass(frozen=True)
class CodebookUse:
    """Which rows of the codebook occur, and their information about contact.

    Attributes:
        size: rows.
        used: rows that occur at all.
        perplexity: exp of the entropy of their shares: the number of rows in effect.
        contact_bits: mutual information of row and contact, bits; None without both kinds of frames.
        contact_entropy_bits: the most that it can be: the entropy of contact.
        shares: of each row in free space and in contact, most frequent first, rows that occur only.
    """

    size: int
    used: int
    perplexity: float
    contact_bits: float | None
    contact_entropy_bits: float | None
    shares: list[tuple[int, float, float]]


def surprise_calibration(
    logvar: Float[np.ndarray, ' N'], squared: Float[np.ndarray, ' N']
) -> SurpriseCalibration:
    """Compare the prior's variance exp(logvar) with the mean squared residual of each frame."""
    logvar, squared = np.asarray(logvar, np.float64), np.asarray(squared, np.float64)
    variance = np.exp(logvar)
    constant = float(squared.mean()) + float(np.finfo(np.float64).tiny)
    groups = np.array_split(np.argsort(variance, kind='stable'), min(_BINS, len(variance)))
    return SurpriseCalibration(
        rank_correlation=rank_correlation(logvar, squared),
        mean_ratio=float((squared / variance).mean()),
        nll=float((0.5 * (np.log(2 * np.pi) + logvar + squared / variance)).mean()),
        nll_constant=float(0.5 * (np.log(2 * np.pi * constant) + 1)),
        reliability=[(float(variance[rows].mean()), float(squared[rows].mean())) for rows in groups],
    )


def rank_correlation(one: Float[np.ndarray, ' N'], other: Float[np.ndarray, ' N']) -> float:
    """Return Spearman's rank correlation; ties share their mean rank; 0 where one of them is constant."""
    ranks = [_ranks(values) for values in (one, other)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def codebook_use(index: Int[np.ndarray, ' N'], contact: Bool[np.ndarray, ' N'], size: int) -> CodebookUse:
    """Count the rows of the codebook that frames fell into."""
    counts = np.stack([np.bincount(index[mask], minlength=size) for mask in (~contact, contact)])
    shares = counts / counts.sum()
    of_row, of_contact = shares.sum(axis=0), shares.sum(axis=1)
    both = bool((of_contact > 0).all())
    entropy = _entropy_bits(of_contact)
    order = [row for row in np.argsort(-of_row, kind='stable').tolist() if of_row[row] > 0]
    return CodebookUse(
        size=size,
        used=len(order),
        perplexity=float(2 ** _entropy_bits(of_row)),
        contact_bits=_entropy_bits(of_row) + entropy - _entropy_bits(shares.ravel()) if both else None,
        contact_entropy_bits=entropy if both else None,
        shares=[(row, float(shares[0, row]), float(shares[1, row])) for row in order],
    )


def _ranks(values: Sequence[float] | np.ndarray) -> Float[np.ndarray, ' N']:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _entropy_bits(shares: Float[np.ndarray, ' n']) -> float:
    kept = shares[shares > 0]
    return float(-(kept * np.log2(kept)).sum())
