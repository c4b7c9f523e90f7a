"""Real-time chunking: what the next chunk must agree with, counted in executed steps.

Black, Galliker and Levine 2025 (arXiv 2506.07339): while a new chunk is computed the robot goes on with the
old one, so the first d steps of the new chunk are already decided; the sampler inpaints the rest. Here are
the parts that need no network: how many steps d are, which actions are decided, and how strongly each binds.
The sampler's parts are in `restac_ros.model.real_time_chunking`.
"""

from typing import Literal, NamedTuple, Self

import numpy as np

from restac_ros.control.chunk import MAX_HORIZON, Chunk

MaskKind = Literal['exponential', 'hard']

DELAY_WINDOW = 10
WARM_UP_DELAYS = 2


def executed_steps(observed_ns: int, started_ns: int, step_ns: int) -> int:
    """Steps of a chunk that had begun when it replaced another: they were executed from the other.

    Step i is due at observed_ns + (i + 1) * step_ns, and begins when the one before it is due: the path
    between the two depends on both. A chunk that starts while the arm holds has no such steps: the caller
    doesn't count it.
    """
    return max(0, -((observed_ns - started_ns) // step_ns))


class DelayEstimate(NamedTuple):
    """How many steps the next chunk will come late: the largest of the last DELAY_WINDOW delays.

    It forgets: one slow call counts for that many chunks, not for ever. The first WARM_UP_DELAYS
    (compilation, caches) never count.

    Attributes:
        initial: estimate before any delay counts.
        delays: the last delays that count, in steps, oldest first.
        seen: all delays observed so far.
    """

    initial: int
    delays: tuple[int, ...] = ()
    seen: int = 0

    def after(self, steps: int) -> Self:
        """The estimate with one more delay, in executed steps."""
        counted = () if self.seen < WARM_UP_DELAYS else (steps,)
        return self._replace(delays=(*self.delays, *counted)[-DELAY_WINDOW:], seen=self.seen + 1)

    @property
    def steps(self) -> int:
        """The estimate."""
        return max(self.delays, default=self.initial)


def prefix_weights(
    horizon: int, delay: int, execution_horizon: int, kind: MaskKind = 'exponential'
) -> np.ndarray:
    """How strongly each step of the new chunk is held to the old one: W [horizon] (paper, equation 5).

    1 for the `delay` steps that will have been executed, 0 for the last `execution_horizon`, which the old
    chunk doesn't reach, and in between 0 for 'hard', or c (e^c - 1) / (e - 1) with c falling linearly.

    Raises:
        ValueError: the old chunk ends before the new one can start (delay > horizon - execution_horizon).
    """
    if not (delay >= 0 and 1 <= execution_horizon <= horizon):
        raise ValueError(
            f'delay {delay}, execution horizon {execution_horizon}: expected delay >= 0 and an execution '
            f'horizon in 1 .. {horizon}'
        )
    overlap = horizon - execution_horizon
    if delay > overlap:
        raise ValueError(
            f'a delay of {delay} steps is longer than the {overlap} that the old chunk still covers '
            f'({horizon} steps, {execution_horizon} executed): replan sooner, or use a longer horizon'
        )
    step = np.arange(horizon)
    ramp = np.clip((overlap - step) / (overlap - delay + 1), 0.0, 1.0)
    decay = ramp * np.expm1(ramp) / np.expm1(1.0) if kind == 'exponential' else np.zeros(horizon)
    return np.where(step < delay, 1.0, np.where(step < overlap, decay, 0.0))


class Decided(NamedTuple):
    """The running chunk's targets for the steps of the next one, relative to the next anchor.

    Attributes:
        delta_pose: [T, 6] m and rad, relative to the next chunk's anchor.
        opening_m: [T].
        known: [T] bool, True up to the running chunk's end. Later rows repeat the last one and must not be
            used.
    """

    delta_pose: np.ndarray
    opening_m: np.ndarray
    known: np.ndarray

    def bind(self, weights: np.ndarray) -> np.ndarray:
        """Weights [T], zero for steps that are not known."""
        return np.where(self.known, weights, 0.0)


def decided_actions(running: Chunk, observed_ns: int, anchor_state: np.ndarray, horizon: int) -> Decided:
    """Express the running chunk's targets as deltas from a new observation.

    Args:
        running: the chunk being executed.
        observed_ns: stamp of the new observation, from which its steps are counted.
        anchor_state: [6] tool pose then, x y z in m and rotation in rad by the running chunk's convention.
        horizon: steps of the next chunk.
    """
    due_ns = observed_ns + running.step_ns * np.arange(1, horizon + 1)
    place = np.clip((due_ns - running.stamp_ns) / running.step_ns, 0.0, running.horizon)
    path = np.concatenate([np.zeros((1, 6)), running.delta_pose])
    delta = _interpolate(place, path)
    opening = _interpolate(place, running.openings_m[:, None])[:, 0]
    if running.rule.composition == 'so3':
        targets = np.array([running.pose_at(int(time_ns)).quaternion_xyzw for time_ns in due_ns])
        position = running.anchor.position_m + delta[:, :3] - anchor_state[:3]
        delta = np.concatenate([position, running.rule.turns(targets, anchor_state)], axis=-1)
    else:
        delta = running.rule.deltas(running.anchor_state + delta, anchor_state)
    return Decided(delta, opening, due_ns <= running.end_ns)


def inpainting(
    running: Chunk,
    observed_ns: int,
    anchor_state: np.ndarray,
    horizon: int,
    delay: int,
    kind: MaskKind = 'exponential',
    max_overlap: int = MAX_HORIZON,
) -> tuple[Decided, np.ndarray] | None:
    """Return the decided actions and their weights [T] for the sampler.

    None where the running chunk ends before the new one starts, `delay` steps late: nothing is decided
    then, and the arm holds in between.

    Args:
        running, observed_ns, anchor_state, horizon: as in `decided_actions`.
        delay: steps that will have been executed from the running chunk.
        kind: how the weights fall after those.
        max_overlap: steps that are bound at most, the delay included, however far the running chunk reaches:
            a policy that replans often must stay free to change its mind.
    """
    decided = decided_actions(running, observed_ns, anchor_state, horizon)
    overlap = int(decided.known.sum())
    if overlap == 0 or delay > overlap:
        return None
    overlap = min(overlap, max(max_overlap, delay))
    # A running chunk that outlasts the new one still leaves its last step free.
    weights = prefix_weights(horizon, min(delay, horizon - 1), max(horizon - overlap, 1), kind)
    return decided, decided.bind(weights)


def _interpolate(place: np.ndarray, rows: np.ndarray) -> np.ndarray:
    before = np.minimum(place.astype(np.int64), len(rows) - 2)
    share = (place - before)[:, None]
    return (1 - share) * rows[before] + share * rows[before + 1]
