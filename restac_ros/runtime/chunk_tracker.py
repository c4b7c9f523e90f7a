"""Real-time chunking around the policy's act: the executed chunk, the delay of chunks, the decided actions.

A chunk continues the running one: the newest that was published, as long as the streamer reports that it
executes our chunks. Before the first one, and after every hold, chunks are planned freely from the measured
state, as the steps of an older chunk are then not executed.
"""

import numpy as np

from restac_ros.control.chunk import Chunk
from restac_ros.control.rtc import DelayEstimate, MaskKind, executed_steps, inpainting
from restac_ros.control.streaming import ChunkUse
from restac_ros.policy.chunking import ContinuationEncoder
from restac_ros.policy.products import Continuation

# The streamer may be this many chunks behind the newest: one is in transit, one is being accepted.
REMEMBERED = 3


class ChunkTracker:
    """Follows the chunks of one activation.

    `note_use` is called by the executor, the rest by the act loop's thread.

    Args:
        encoder: encodes continuations for the policy.
        overlap_steps: steps that are bound at most, the delay included.
        initial_delay_steps: delay assumed until one has been measured.
    """

    def __init__(self, encoder: ContinuationEncoder, overlap_steps: int, initial_delay_steps: int) -> None:
        self._encoder, self._overlap_steps = encoder, overlap_steps
        self._published: tuple[Chunk, ...] = ()  # replaced as a whole: the other thread reads it
        self._use = ChunkUse()
        self._delay = DelayEstimate(initial=initial_delay_steps)
        self._continued = self._free = self._beyond = 0

    def summary(self) -> dict[str, int]:
        """Counts of continued and freely planned chunks and of delays too long; expected delay in steps."""
        return {
            'continued': self._continued,
            'planned_freely': self._free,
            'delay_steps': self._delay.steps,
            'delays_too_long': self._beyond,
        }

    def published(self, chunk: Chunk) -> None:
        """Remember a chunk that the streamer may execute from now on."""
        self._published = (*self._published, chunk)[-REMEMBERED:]

    def note_use(self, use: ChunkUse) -> None:
        """Store which chunk the streamer executes, and measure the delay of one that joined another."""
        before, self._use = self._use, use
        chunk = self._executed()
        if chunk is None or not before.moving or use.chunk_stamp_ns == before.chunk_stamp_ns:
            return
        self._delay = self._delay.after(executed_steps(chunk.stamp_ns, use.joined_ns, chunk.step_ns))

    def next(self, observed_ns: int, state: np.ndarray, surprised: bool = False) -> Continuation | None:
        """Return the continuation for the next chunk; None: it is planned freely.

        Args:
            observed_ns: when its state was measured.
            state: [7], its deltas start there.
            surprised: touch contradicts the plan, of which only the unavoidable steps are kept.
        """
        continuation = self._continuation(observed_ns, state, 'hard' if surprised else 'exponential')
        self._continued += continuation is not None
        self._free += continuation is None
        return continuation

    def _executed(self) -> Chunk | None:
        """The chunk that the streamer reported last, if it is remembered."""
        if not self._use.moving:
            return None
        return next((c for c in self._published if c.stamp_ns == self._use.chunk_stamp_ns), None)

    def _continuation(self, observed_ns: int, state: np.ndarray, kind: MaskKind) -> Continuation | None:
        if self._executed() is None:
            return None
        delay, most = self._delay.steps, self._encoder.max_delay
        self._beyond += delay > most
        delay = min(delay, most)
        # The newest is executed next, if it isn't yet: it continues those before it.
        running, horizon = self._published[-1], self._encoder.horizon
        found = inpainting(
            running, observed_ns, state[:6], horizon, delay, kind, max_overlap=self._overlap_steps
        )
        if found is None:
            return None
        decided, weights = found
        return Continuation(decided.delta_pose, decided.opening_m, weights, delay)
