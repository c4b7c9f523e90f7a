"""From one chunk to the next without a jump: which chunks set the target, and how a switch is smoothed.

Two modes. Receding horizon (the default): the newest chunk alone. Temporal ensembling (Zhao et al. 2023,
arXiv 2304.13705): the weighted mean of all chunks that cover the requested time; it averages samples drawn
with fresh noise, so it blends modes. In both, the target stays continuous where a chunk joins: the
difference to the target before is kept as an offset and faded out.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np

from restac_ros.control.chunk import Chunk
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Offset, Pose

Mode = Literal['receding_horizon', 'temporal_ensembling']
WeightOrder = Literal['oldest_first', 'newest_first']


@dataclass(frozen=True)
class ContinuityConfig:
    """How chunks follow each other.

    Attributes:
        mode: which chunks set the target where several overlap.
        fade_ns: time in which the offset of a switch goes to zero; 0 leaves the jump to the limiter.
        ensemble_decay: m of the weights exp(-m i).
        ensemble_order: which prediction has i = 0, the largest weight. ACT and LeRobot: the oldest.
        ensemble_size: at most so many chunks are averaged.
    """

    mode: Mode = 'receding_horizon'
    fade_ns: int = 100_000_000
    ensemble_decay: float = 0.01
    ensemble_order: WeightOrder = 'oldest_first'
    ensemble_size: int = 8


def ensemble_weights(count: int, decay: float, order: WeightOrder) -> np.ndarray:
    """Weights [count], summing to 1, of predictions sorted from oldest to newest: exp(-decay * i).

    i counts from 0 at the oldest ('oldest_first') or at the newest ('newest_first').
    """
    weights = np.exp(-decay * np.arange(count))
    if order == 'newest_first':
        weights = weights[::-1]
    return weights / weights.sum()


def fade(fraction: float) -> float:
    """Smoothstep from 1 at 0 to 0 at 1 with zero slope, speed and acceleration at both ends."""
    x = min(max(fraction, 0.0), 1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x * x)


@dataclass(frozen=True, eq=False)
class Plan:
    """Target of the arm as a function of time.

    Attributes:
        chunks: from oldest to newest; one in receding horizon.
        joined_ns: when the newest chunk joined.
        offset: from the chunks' path to the target before, at `joined_ns`.
    """

    config: ContinuityConfig
    chunks: tuple[Chunk, ...]
    joined_ns: int
    offset: Offset = field(default_factory=lambda: Offset(np.zeros(3), np.zeros(3)))

    @classmethod
    def start(cls, config: ContinuityConfig, chunk: Chunk, now_ns: int, asked: Pose) -> Self:
        """Begin with one chunk at `now_ns`, when the target is `asked`."""
        return cls(config, (chunk,), now_ns)._bridged(asked)

    def join(self, chunk: Chunk, now_ns: int, asked: Pose) -> Self:
        """Switch to a newer chunk at `now_ns`, when the target is `asked`."""
        size = self.config.ensemble_size if self.config.mode == 'temporal_ensembling' else 1
        lasting = (old for old in self.chunks if old.end_ns >= now_ns)
        return type(self)(self.config, (*lasting, chunk)[-size:], now_ns)._bridged(asked)

    @property
    def newest(self) -> Chunk:
        return self.chunks[-1]

    @property
    def end_ns(self) -> int:
        return self.newest.end_ns

    def pose_at(self, time_ns: int) -> Pose:
        """Target pose at `time_ns`, continuous over switches."""
        if not self.config.fade_ns:
            return self.path_at(time_ns)
        share = fade((time_ns - self.joined_ns) / self.config.fade_ns)
        return self.offset.apply(self.path_at(time_ns), share)

    def opening_at(self, time_ns: int) -> float:
        """Target opening of the gripper at `time_ns`, m."""
        active, weights = self._active(time_ns)
        return float(np.dot(weights, [chunk.opening_at(time_ns) for chunk in active]))

    def _bridged(self, asked: Pose) -> Self:
        return replace(self, offset=Offset.between(self.path_at(self.joined_ns), asked))

    def _active(self, time_ns: int) -> tuple[list[Chunk], np.ndarray]:
        if len(self.chunks) == 1:
            return [self.newest], np.ones(1)
        active = [chunk for chunk in self.chunks[:-1] if time_ns <= chunk.end_ns] + [self.newest]
        return active, ensemble_weights(len(active), self.config.ensemble_decay, self.config.ensemble_order)

    def path_at(self, time_ns: int) -> Pose:
        """Return the chunks' own target at `time_ns`, without the offset of the last switch."""
        active, weights = self._active(time_ns)
        if len(active) == 1:
            return self.newest.pose_at(time_ns)
        poses = [chunk.pose_at(time_ns) for chunk in active]
        return Pose(
            weights @ np.array([pose.position_m for pose in poses]),
            quat.mean(np.array([pose.quaternion_xyzw for pose in poses]), weights),
        )
