"""Figures of a checkpoint under a condition, over all seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from restac_ros.sim.cell.intervals import PairedDifference, paired_difference, wilson_interval
from restac_ros.sim.cell.parameters import SocketParameters
from restac_ros.sim.evaluation.attempt_record import AttemptRecord
from restac_ros.training.evaluation.bootstrap import LEAST_EPISODES, Estimate
from restac_ros.training.evaluation.gate_figures import GateFigures, RiseLatency, gate_figures
from restac_ros.training.evaluation.surprise import SurpriseCalibration, surprise_calibration

ALIGNED_M = SocketParameters().funnel_m
"""An attempt is aligned whose first contact is no farther from the hole: within the funnel, on average."""


@dataclass(frozen=True)
class Middle:
    """Median and largest of a quantity over the attempts that have it, and how many those are."""

    count: int
    median: float | None
    largest: float | None


@dataclass(frozen=True)
class CellFigures:
    """Results of a checkpoint under a condition. Shares have Wilson's 95 % intervals.

    Attributes:
        checkpoint, condition: names.
        attempts: how many.
        success: share of attempts with the plug in for a second.
        aligned: share with a first contact within `ALIGNED_M` of the hole.
        inserted_if_aligned: of these, share of successes; None where there is none.
        alignment_s: to the first contact.
        interaction_s: from there to the insertion, successes only.
        insertion_s: to the insertion, successes only.
        peak_n, mean_n: contact force; the mean over the time in contact.
        halted, dropped: attempts that ended halted, or without the plug.
        held_share: of all replans, those without a chunk.
        against_first: success less that of the first checkpoint; None for itself.
        against_as_it_is: success less that of the same checkpoint with nothing changed; None for that.
        contact_to_gate: from the first contact until a gate is known that is half-way open, of the attempts
            with a contact; None where the gate is not more open in contact than in free space.
        gate: against true contact; None without touch.
        surprise: logvar against residual; None for encoders without a prior.
    """

    checkpoint: str
    condition: str
    attempts: int
    success: Estimate
    aligned: Estimate
    inserted_if_aligned: Estimate | None
    alignment_s: Middle
    interaction_s: Middle
    insertion_s: Middle
    peak_n: Middle
    mean_n: Middle
    halted: int
    dropped: int
    held_share: float
    contact_to_gate: RiseLatency | None
    against_first: PairedDifference | None
    against_as_it_is: PairedDifference | None
    gate: GateFigures | None
    surprise: SurpriseCalibration | None


def cell_figures(
    names: tuple[str, str],
    records: Sequence[AttemptRecord],
    first: Sequence[AttemptRecord] | None,
    as_it_is: Sequence[AttemptRecord] | None,
    seed: int,
) -> CellFigures:
    """Return the figures of attempts.

    Args:
        names: of checkpoint and condition.
        records: one for each seed, in order of seeds, as in all others.
        first: of the first checkpoint under the same condition; None where that is this one.
        as_it_is: of this checkpoint with nothing changed; None where that is this condition.
        seed: of bootstraps.
    """
    succeeded, aligned = [r for r in records if r.success], [r for r in records if is_aligned(r)]
    replans = sum(record.chunks + record.held for record in records)
    touching = [record for record in records if record.felt.gate]
    enough = len(touching) >= LEAST_EPISODES
    gate = _gate(touching, seed) if enough else None
    rise = gate.rise if gate else None
    return CellFigures(
        *names,
        attempts=len(records),
        success=_share(len(succeeded), len(records)),
        aligned=_share(len(aligned), len(records)),
        inserted_if_aligned=_share(sum(r.success for r in aligned), len(aligned)) if aligned else None,
        alignment_s=_middle(records, lambda record: record.touched_s),
        interaction_s=_middle(records, lambda record: record.interaction_s),
        insertion_s=_middle(succeeded, lambda record: record.inserted_s),
        peak_n=_middle(records, lambda record: record.peak_n),
        mean_n=_middle(records, lambda record: record.mean_n),
        halted=sum(bool(record.halted) for record in records),
        dropped=sum(record.dropped for record in records),
        held_share=sum(record.held for record in records) / max(replans, 1),
        contact_to_gate=contact_to_gate(touching, rise.half_way) if rise else None,
        against_first=_difference(first, records),
        against_as_it_is=_difference(as_it_is, records),
        gate=gate,
        surprise=_surprise(touching) if enough else None,
    )


def contact_to_gate(records: Sequence[AttemptRecord], half_way: float) -> RiseLatency:
    """Measure the first contact of each attempt."""
    touched = [record for record in records if record.touched_s is not None]
    shut = [record for record in touched if not is_open_before(record, half_way)]
    latencies_ms = [ms for record in shut if (ms := contact_to_gate_ms(record, half_way)) is not None]
    return RiseLatency(
        half_way, len(touched), len(touched) - len(shut), len(shut) - len(latencies_ms), latencies_ms
    )


def is_open_before(record: AttemptRecord, half_way: float) -> bool:
    """Whether the gate of the last frame before the first contact is `half_way` open at least."""
    touched_s, felt = record.touched_s, record.felt
    before = [gate for taken, gate in zip(felt.time_s, felt.gate, strict=True) if taken < (touched_s or 0)]
    return bool(before) and before[-1] >= half_way


def contact_to_gate_ms(record: AttemptRecord, half_way: float) -> float | None:
    """Return how long after the first contact a gate of `half_way` at least was known.

    None if never, without contact, and where the gate was open in the last frame before.
    """
    felt, touched_s = record.felt, record.touched_s
    if touched_s is None or is_open_before(record, half_way):
        return None
    known_s = (
        known
        for taken, known, gate in zip(felt.time_s, felt.known_s, felt.gate, strict=True)
        if taken >= touched_s and gate >= half_way
    )
    risen_s = next(known_s, None)
    return None if risen_s is None else 1e3 * (risen_s - touched_s)


def is_aligned(record: AttemptRecord) -> bool:
    """Whether the first contact was near the hole."""
    return record.touch_miss_m is not None and record.touch_miss_m <= ALIGNED_M


def _share(successes: int, trials: int) -> Estimate:
    return Estimate(successes / trials, *wilson_interval(successes, trials))


def _middle(records: Sequence[AttemptRecord], value: Callable[[AttemptRecord], float | None]) -> Middle:
    values = [found for record in records if (found := value(record)) is not None]
    if not values:
        return Middle(0, None, None)
    return Middle(len(values), float(np.median(values)), max(values))


def _difference(
    before: Sequence[AttemptRecord] | None, records: Sequence[AttemptRecord]
) -> PairedDifference | None:
    if before is None:
        return None
    return paired_difference([r.success for r in before], [r.success for r in records])


def _gate(touching: Sequence[AttemptRecord], seed: int) -> GateFigures:
    felt = [record.felt for record in touching]
    return gate_figures(
        [np.array(one.gate) for one in felt],
        [np.array(one.logvar) for one in felt],
        [np.array(one.contact) for one in felt],
        [np.array(one.time_s) for one in felt],
        seed,
    )


def _surprise(touching: Sequence[AttemptRecord]) -> SurpriseCalibration | None:
    if not all(record.felt.squared_residual for record in touching):
        return None
    logvar, squared = (
        np.concatenate([getattr(record.felt, name) for record in touching])
        for name in ('logvar', 'squared_residual')
    )
    return surprise_calibration(logvar, squared)
