"""One chunk of future tool targets: checked once, then a path through time.

Deltas are relative to the anchor, the tool's pose when the observation was made, never to the step before.
Step i (from 0) is due at `stamp_ns + (i + 1) * step_ns`; between two steps the path is straight in position
and turns at constant angular velocity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple, Self, cast, get_args

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.conventions import Composition, Convention
from restac_ros.geometry.delta import DeltaRule
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.geometry.rotation import quaternion_from_rotation

type Numbers = Sequence[float] | np.ndarray

MAX_HORIZON = 1000
MAX_DURATION_NS = 60 * 10**9
MAX_MAGNITUDE = 100.0  # no position in m, angle in rad or opening in m of a table-top arm is larger
# The anchor comes twice, as a pose and as the policy's float32 state: so far may rounding separate them.
ANCHOR_TOLERANCE_M = 1e-3
ANCHOR_TOLERANCE_RAD = 1e-2


class ReplanTrigger(IntEnum):
    """Why a chunk was planned when it was, as in ActionChunk.msg."""

    PERIOD = 0
    GATE = 1


class ChunkReport(NamedTuple):
    """How a chunk was made: for people and recordings; nothing here changes how it is executed.

    Attributes:
        gate: share of touch in it, 0 .. 1; NaN for a policy without touch.
        inference_ns: duration of the network's call.
        chunking: how the policy's chunks follow each other, as in ActionChunk.msg.
        continued_delay_steps: first steps assumed to be executed from the chunk before; None: planned freely.
        prompt, prompt_revision: what the robot was asked to do, and how often that had changed.
    """

    trigger: ReplanTrigger = ReplanTrigger.PERIOD
    gate: float = math.nan
    inference_ns: int = 0
    chunking: str = 'receding_horizon'
    continued_delay_steps: int | None = None
    prompt: str = ''
    prompt_revision: int = 0


NO_REPORT = ChunkReport()


class ChunkError(ValueError):
    """A chunk whose content contradicts itself or the contract: its publisher is faulty."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """A chunk of T steps. Made by `build_chunk`, which checks it; all arrays are float64.

    Attributes:
        stamp_ns: when the anchor was measured: steps and ages count from it.
        anchor: tool pose at `stamp_ns`.
        anchor_state: the same as the policy saw it, [6]: x y z in m, rotation in rad as the rule writes it.
        rule: how rotations are written and deltas are composed.
        delta_pose: [T, 6], m and rad, relative to the anchor.
        opening_m: [T], absolute gripper opening.
        valid_until_ns: must not be started later.
        camera_age_ns, tactile_age_ns: how much older than `stamp_ns` the oldest image used is.
        report: how it was made.
    """

    chunk_id: int
    stamp_ns: int
    frame_id: str
    anchor: Pose
    anchor_state: np.ndarray
    anchor_opening_m: float
    rule: DeltaRule
    step_ns: int
    delta_pose: np.ndarray
    opening_m: np.ndarray
    valid_until_ns: int
    camera_age_ns: int = 0
    tactile_age_ns: int = 0
    report: ChunkReport = NO_REPORT

    @property
    def continues_others(self) -> bool:
        """Whether its policy plans each chunk as the continuation of the running one."""
        return self.report.chunking != 'receding_horizon'

    @property
    def horizon(self) -> int:
        return len(self.delta_pose)

    @property
    def end_ns(self) -> int:
        """When the last step is due; the path is constant from then on."""
        return self.stamp_ns + self.horizon * self.step_ns

    @cached_property
    def positions_m(self) -> np.ndarray:
        """[T + 1, 3]: the anchor, then the targets."""
        return np.concatenate([self.anchor.position_m[None], self.anchor.position_m + self.delta_pose[:, :3]])

    @cached_property
    def quaternions(self) -> np.ndarray:
        """[T + 1, 4]: the anchor, then the targets."""
        anchor = self.anchor.quaternion_xyzw
        targets = self.rule.orientations(self.delta_pose, self.anchor_state)
        return quat.normalise(np.concatenate([anchor[None], targets]))

    @cached_property
    def openings_m(self) -> np.ndarray:
        """[T + 1]: at the anchor, then the targets."""
        return np.concatenate([[self.anchor_opening_m], self.opening_m])

    def place(self, time_ns: int) -> tuple[int, float]:
        """Index of the path point at or before `time_ns`, and the fraction of the way to the next one."""
        elapsed_ns = min(max(time_ns - self.stamp_ns, 0), self.horizon * self.step_ns)
        index = min(elapsed_ns // self.step_ns, self.horizon - 1)
        return index, (elapsed_ns - index * self.step_ns) / self.step_ns

    def pose_at(self, time_ns: int) -> Pose:
        """Target at any time: the anchor before the observation, the last target after the end."""
        index, fraction = self.place(time_ns)
        before, after = (Pose(self.positions_m[i], self.quaternions[i]) for i in (index, index + 1))
        return before.towards(after, fraction)

    def opening_at(self, time_ns: int) -> float:
        """Gripper opening at any time, m."""
        index, fraction = self.place(time_ns)
        before, after = self.openings_m[index : index + 2]
        return float(before + fraction * (after - before))


@dataclass(frozen=True)
class ChunkRules:
    """What every chunk must agree with: the contract's facts, and how far clocks may differ."""

    frame_id: str
    rule: DeltaRule
    step_ns: int
    max_skew_ns: int

    @classmethod
    def from_contract(cls, contract: Contract) -> Self:
        return cls(
            frame_id=contract.robot.base_frame,
            rule=DeltaRule(contract.rotation.convention, contract.action.delta),
            step_ns=contract.period_ns,
            max_skew_ns=contract.max_skew_ns,
        )

    def check(self, chunk: Chunk) -> None:
        """Compare a chunk with the contract.

        Raises:
            ChunkError: what differs, found and expected.
        """
        for name, found, expected in (
            ('frame_id', chunk.frame_id, self.frame_id),
            ('convention', chunk.rule.convention, self.rule.convention),
            ('composition', chunk.rule.composition, self.rule.composition),
        ):
            if found != expected:
                raise ChunkError(
                    f'chunk {chunk.chunk_id}: {name} is {found!r}, the contract says {expected!r}; '
                    'start policy and streamer with the same contract'
                )
        if abs(chunk.step_ns - self.step_ns) > 0.01 * self.step_ns:
            raise ChunkError(
                f'chunk {chunk.chunk_id}: step_ns is {chunk.step_ns}, the contract says {self.step_ns} (1 / '
                'fps); start policy and streamer with the same contract'
            )

    def untimely(self, chunk: Chunk, now_ns: int, last: Chunk | None) -> str | None:
        """Why a sound chunk must not be started now (old, from the future, out of order); None if it may.

        The stamps decide on the order: a policy that was restarted counts from 0 again, with newer stamps.
        Of two chunks with the same anchor the one with the higher number is newer.
        """
        name = f'chunk {chunk.chunk_id}'
        if chunk.stamp_ns > now_ns + self.max_skew_ns:
            ahead_ms = (chunk.stamp_ns - now_ns) / 1e6
            return f'{name} is from the future: stamped {ahead_ms:.1f} ms ahead of the clock'
        if now_ns > chunk.valid_until_ns:
            return f'{name} is too old: valid until {(now_ns - chunk.valid_until_ns) / 1e6:.1f} ms ago'
        if now_ns >= chunk.end_ns:
            return f'{name} is too old: its last step was due {(now_ns - chunk.end_ns) / 1e6:.1f} ms ago'
        if last is not None and (chunk.stamp_ns, chunk.chunk_id) <= (last.stamp_ns, last.chunk_id):
            behind_ms = (last.stamp_ns - chunk.stamp_ns) / 1e6
            return f'{name} is out of order: observed {behind_ms:.1f} ms before chunk {last.chunk_id}'
        return None


def build_chunk(
    *,
    chunk_id: int,
    stamp_ns: int,
    frame_id: str,
    anchor_position_m: Numbers,
    anchor_quaternion_xyzw: Numbers,
    anchor_state: Numbers,
    anchor_opening_m: float,
    convention: str,
    composition: str,
    step_ns: int,
    horizon: int,
    delta_pose: Numbers,
    opening_m: Numbers,
    valid_until_ns: int,
    camera_age_ns: int = 0,
    tactile_age_ns: int = 0,
    report: ChunkReport = NO_REPORT,
) -> Chunk:
    """Return a checked chunk of flat fields, as they stand in an ActionChunk message.

    Args:
        delta_pose: horizon * 6 numbers, row major.
        opening_m: horizon numbers.

    Raises:
        ChunkError: lengths, numbers, names or times that cannot be; the message names them.
    """
    name = f'chunk {chunk_id}'
    _check_times(name, horizon, step_ns, stamp_ns, valid_until_ns)
    anchor = Pose(
        _numbers(name, 'anchor position', anchor_position_m, 3),
        _unit(name, _numbers(name, 'anchor quaternion', anchor_quaternion_xyzw, 4)),
    )
    chunk = Chunk(
        chunk_id=chunk_id,
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        anchor=anchor,
        anchor_state=_numbers(name, 'anchor_state', anchor_state, 6),
        anchor_opening_m=float(_numbers(name, 'anchor_gripper', [anchor_opening_m], 1)[0]),
        rule=_rule(name, convention, composition),
        step_ns=step_ns,
        delta_pose=_numbers(name, 'delta_pose', delta_pose, 6 * horizon).reshape(horizon, 6),
        opening_m=_numbers(name, 'gripper', opening_m, horizon),
        valid_until_ns=valid_until_ns,
        camera_age_ns=camera_age_ns,
        tactile_age_ns=tactile_age_ns,
        report=report,
    )
    _check_anchor(chunk)
    return chunk


def _rule(name: str, convention: str, composition: str) -> DeltaRule:
    for field, found, known in (
        ('rotation_convention', convention, get_args(Convention)),
        ('delta_composition', composition, get_args(Composition)),
    ):
        if found not in known:
            raise ChunkError(f'{name}: {field} is {found!r}, expected {" or ".join(map(repr, known))}')
    return DeltaRule(cast(Convention, convention), cast(Composition, composition))


def _check_times(name: str, horizon: int, step_ns: int, stamp_ns: int, valid_until_ns: int) -> None:
    if not 1 <= horizon <= MAX_HORIZON:
        raise ChunkError(f'{name}: horizon is {horizon}, expected 1 to {MAX_HORIZON} steps')
    if not 0 < step_ns * horizon <= MAX_DURATION_NS:
        raise ChunkError(
            f'{name}: {horizon} steps of {step_ns} ns, '
            f'expected more than 0 and at most {MAX_DURATION_NS} ns in all'
        )
    if stamp_ns <= 0:
        raise ChunkError(f'{name}: stamp is {stamp_ns} ns, expected the time of the observation')
    if valid_until_ns < stamp_ns:
        raise ChunkError(
            f'{name}: valid_until lies {(stamp_ns - valid_until_ns) / 1e6:.1f} ms before its own stamp'
        )


def _numbers(name: str, field: str, values: Numbers, length: int) -> np.ndarray:
    if len(values) != length:
        raise ChunkError(f'{name}: {field} has {len(values)} numbers, expected {length}')
    numbers = np.array(values, dtype=np.float64)
    absurd = np.flatnonzero(~(np.abs(numbers) <= MAX_MAGNITUDE))  # true for NaN, too
    if absurd.size:
        index = int(absurd[0])
        limit = f'{MAX_MAGNITUDE:g}'
        raise ChunkError(
            f'{name}: {field}[{index}] is {numbers[index]:g}, expected a number in -{limit} .. {limit}'
        )
    numbers.setflags(write=False)
    return numbers


def _unit(name: str, quaternion: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(quaternion))
    if abs(length - 1) > 1e-3:
        raise ChunkError(f'{name}: anchor quaternion has length {length:.4g}, expected 1')
    return quat.normalise(quaternion)


def _check_anchor(chunk: Chunk) -> None:
    seen = quaternion_from_rotation(chunk.rule.convention, chunk.anchor_state[3:])
    gap = Offset.between(chunk.anchor, Pose(chunk.anchor_state[:3], seen))
    if gap.distance_m > ANCHOR_TOLERANCE_M or gap.angle_rad > ANCHOR_TOLERANCE_RAD:
        raise ChunkError(
            f'chunk {chunk.chunk_id}: anchor_pose and anchor_state differ by '
            f'{gap.distance_m * 1e3:.3g} mm and {gap.angle_rad:.3g} rad; expected the same pose twice, '
            f'anchor_state as {chunk.rule.convention!r}'
        )
