"""The gate against contact: does it open when, and only when, something is touched, and how fast."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from restac_ros.model.gate import SATURATED_ABOVE, SATURATED_BELOW
from restac_ros.training.evaluation.bootstrap import EpisodeBootstrap, Estimate

_AUROC_DRAWS = 400


@dataclass(frozen=True)
class RiseLatency:
    """How long after the first frame of a contact the gate has risen half-way.

    Attributes:
        half_way: gate value half-way between its means in free space and in contact.
        contacts: how many began.
        open_before: of these, with the gate above half-way in the frame before already.
        never: with the gate below all through.
        latencies_ms: of the others, one each; whole periods of the data.
    """

    half_way: float
    contacts: int
    open_before: int
    never: int
    latencies_ms: list[float]

    @property
    def median_ms(self) -> float | None:
        """Median; None where no gate rose."""
        return float(np.median(self.latencies_ms)) if self.latencies_ms else None


@dataclass(frozen=True)
class GateFigures:
    """The gate over all frames of the episodes.

    Attributes:
        auroc: probability that the gate of a frame in contact is above that of a free one; 0.5 is chance,
            1 separates them; None without both kinds of frames.
        auroc_logvar: the same of logvar, which the gate is made of.
        free, contact: mean gate.
        saturated_shut, saturated_open: share of frames with a gate below 0.02 or above 0.98.
        rise: latency.
        curve: false and true positive rates, for drawing.
    """

    auroc: Estimate | None
    auroc_logvar: Estimate | None
    free: float | None
    contact: float | None
    saturated_shut: float
    saturated_open: float
    rise: RiseLatency | None
    curve: list[tuple[float, float]]


def gate_figures(
    gates: Sequence[Float[np.ndarray, ' frames']],
    logvars: Sequence[Float[np.ndarray, ' frames']],
    contacts: Sequence[Bool[np.ndarray, ' frames']],
    times_s: Sequence[Float[np.ndarray, ' frames']],
    seed: int,
) -> GateFigures:
    """Compare gate and contact, one array per episode; `times_s` are those of the frames."""
    gate, logvar, contact = map(np.concatenate, (gates, logvars, contacts))
    episodes = np.repeat(np.arange(len(gates)), [len(one) for one in gates])
    both = bool(contact.any() and not contact.all())
    bootstrap = EpisodeBootstrap(episodes, seed, draws=_AUROC_DRAWS)
    free_gate, contact_gate = (float(gate[mask].mean()) if both else None for mask in (~contact, contact))
    rise = None
    if free_gate is not None and contact_gate is not None and contact_gate > free_gate:
        rise = rise_latency(gates, contacts, (free_gate + contact_gate) / 2, times_s)
    return GateFigures(
        auroc=auroc_estimate(gate, contact, bootstrap) if both else None,
        auroc_logvar=auroc_estimate(logvar, contact, bootstrap) if both else None,
        free=free_gate,
        contact=contact_gate,
        saturated_shut=float((gate < SATURATED_BELOW).mean()),
        saturated_open=float((gate > SATURATED_ABOVE).mean()),
        rise=rise,
        curve=roc_curve(gate, contact) if both else [],
    )


def auroc(
    scores: Float[np.ndarray, ' N'],
    positive: Bool[np.ndarray, ' N'],
    weights: Float[np.ndarray, 'R N'] | None = None,
) -> Float[np.ndarray, ' R']:
    """Return the area under the ROC curve for each row of weights; ties count half (Mann and Whitney 1947).

    NaN where a row has weight on one kind only.
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    order = np.argsort(scores, kind='stable')
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    above = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    below = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    smaller = np.cumsum(below, axis=1) - below
    pairs = above.sum(axis=1) * below.sum(axis=1)
    won = (above * (smaller + below / 2)).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def auroc_estimate(
    scores: Float[np.ndarray, ' N'], positive: Bool[np.ndarray, ' N'], bootstrap: EpisodeBootstrap
) -> Estimate:
    """Return the area with its interval over episodes, as many as the rarer kind of frames is of."""
    drawn = auroc(scores, positive, bootstrap.frame_weights())
    counted = min(bootstrap.episodes_among(positive), bootstrap.episodes_among(~positive))
    return bootstrap.interval(float(auroc(scores, positive)[0]), drawn[~np.isnan(drawn)], counted)


def roc_curve(scores: Float[np.ndarray, ' N'], positive: Bool[np.ndarray, ' N']) -> list[tuple[float, float]]:
    """Return false and true positive rates as the threshold falls, thinned to at most some 200 points."""
    order = np.argsort(-scores, kind='stable')
    last = np.flatnonzero(np.concatenate([scores[order][1:] != scores[order][:-1], [True]]))
    true = np.cumsum(positive[order])[last] / positive.sum()
    false = np.cumsum(~positive[order])[last] / (~positive).sum()
    kept = np.unique(np.linspace(0, len(last) - 1, min(len(last), 200)).round().astype(int))
    return [(0.0, 0.0), *zip(false[kept].tolist(), true[kept].tolist(), strict=True)]


def rise_latency(
    gates: Sequence[Float[np.ndarray, ' frames']],
    contacts: Sequence[Bool[np.ndarray, ' frames']],
    half_way: float,
    times_s: Sequence[Float[np.ndarray, ' frames']],
) -> RiseLatency:
    """Measure every contact that begins within an episode."""
    open_before = never = count = 0
    latencies = []
    for gate, contact, time_s in zip(gates, contacts, times_s, strict=True):
        for begun in (np.flatnonzero(contact[1:] & ~contact[:-1]) + 1).tolist():
            count += 1
            ended = begun + int(np.argmin(np.append(contact[begun:], False)))
            risen = np.flatnonzero(gate[begun:ended] >= half_way)
            if gate[begun - 1] >= half_way:
                open_before += 1
            elif not risen.size:
                never += 1
            else:
                latencies.append(float(time_s[begun + risen[0]] - time_s[begun]) * 1e3)
    return RiseLatency(half_way, count, open_before, never, latencies)
