"""Reads messages of the policy, live or recorded, as checked values."""

import math
from typing import Any, NamedTuple

import numpy as np

from restac_ros.geometry.conventions import POSE_DIM
from restac_ros.view.errors import ViewError

TRIGGER_GATE = 1  # of ActionChunk.trigger
SOURCE_OPERATOR = 1  # of Subtask.source
PLANNING = 'policy_node: planning'  # how the policy's own status on /diagnostics ends
_MAX_HORIZON = 4096  # beyond any policy's; a corrupt number must not fill the memory
MAX_RESIDUAL = 1 << 16  # positions of a residual map


class RunOrigin(NamedTuple):
    """Prompt and checkpoint of a policy; '' where an old recording has none."""

    prompt: str = ''
    checkpoint: str = ''


class GateSample(NamedTuple):
    """One GateState, of the tactile frame captured at `stamp_ns`. NaN stays, to be shown."""

    stamp_ns: int
    gate: float
    logvar: float
    logvar_standardised: float
    code_index: int
    residual_norm: float
    tactile_age_ns: int
    inference_ns: int
    saturated: bool
    origin: RunOrigin = RunOrigin()
    replan_threshold: float = math.nan
    replan_release: float = math.nan


class ChunkSample(NamedTuple):
    """One ActionChunk as a path.

    points_m: float64 [horizon + 1, 3], the anchor and then each step's target, in the base frame
    due_ns:   int64 [horizon + 1], when the tool is to be at each point
    triggered: planned at once, as the gate rose
    """

    stamp_ns: int
    chunk_id: int
    points_m: np.ndarray
    due_ns: np.ndarray
    gate: float
    prefix_age_ns: int
    tactile_age_ns: int
    inference_ns: int
    triggered: bool = False
    origin: RunOrigin = RunOrigin()


def gate_sample(message: Any) -> GateSample:
    """restac_ros/msg/GateState -> GateSample."""
    return GateSample(
        stamp_ns=stamp_ns(message),
        gate=float(message.gate),
        logvar=float(message.logvar),
        logvar_standardised=float(message.logvar_standardised),
        code_index=int(message.code_index),
        residual_norm=float(message.residual_norm),
        tactile_age_ns=int(message.tactile_age_ns),
        inference_ns=int(message.inference_ns),
        saturated=bool(message.saturated),
        origin=_origin(message),
        replan_threshold=float(getattr(message, 'replan_threshold', math.nan)),
        replan_release=float(getattr(message, 'replan_release', math.nan)),
    )


def chunk_sample(message: Any, base_frame: str) -> ChunkSample:
    """restac_ros/msg/ActionChunk -> ChunkSample.

    Positions compose alike in both of the message's delta compositions: anchor plus delta, in the base frame.

    Raises:
        ViewError: another frame than `base_frame`, lengths that disagree, or positions that are no numbers.
    """
    name, horizon = f'chunk {message.chunk_id}', int(message.horizon)
    if message.header.frame_id != base_frame:
        found = f'frame_id {message.header.frame_id!r}'
        raise ViewError(
            f'{name}: {found}; the contract has base_frame {base_frame!r}: use one contract for both'
        )
    if not 0 < horizon <= _MAX_HORIZON or len(message.delta_pose) != horizon * POSE_DIM:
        found = f'horizon {horizon} and {len(message.delta_pose)} numbers in delta_pose'
        raise ViewError(f'{name}: {found}; expected 1 to {_MAX_HORIZON} steps of {POSE_DIM} numbers each')
    position = message.anchor_pose.position
    anchor = np.array([[position.x, position.y, position.z]])
    steps = np.asarray(message.delta_pose, dtype=np.float64).reshape(horizon, POSE_DIM)[:, :3]
    points = np.concatenate([anchor, anchor + steps])
    if not np.isfinite(points).all():
        step = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise ViewError(f'{name}: point {step} is {points[step].tolist()} m; expected finite numbers')
    start_ns = stamp_ns(message)
    return ChunkSample(
        stamp_ns=start_ns,
        chunk_id=int(message.chunk_id),
        points_m=points,
        due_ns=start_ns + np.arange(horizon + 1, dtype=np.int64) * int(message.step_ns),
        gate=float(message.gate),
        prefix_age_ns=int(message.prefix_age_ns),
        tactile_age_ns=int(message.tactile_age_ns),
        inference_ns=int(message.inference_ns),
        triggered=int(message.trigger) == TRIGGER_GATE,
        origin=_origin(message),
    )


def subtask_words(message: Any) -> str:
    """restac_ros/msg/Subtask -> the subtask, and its source."""
    if message.source == SOURCE_OPERATOR:
        return f'{message.run.prompt} (operator)'
    return f'{message.run.prompt} (network, {math.exp(min(message.mean_log_probability, 0.0)):.0%} a token)'


def held_reason(message: Any) -> str | None:
    """Read from a DiagnosticArray why the policy holds; '' while it plans, None without its status."""
    for status in message.status:
        if status.name.endswith(PLANNING):
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            return str(status.message) if level else ''
    return None


def _origin(message: Any) -> RunOrigin:
    run = getattr(message, 'run', None)
    return RunOrigin() if run is None else RunOrigin(str(run.prompt), str(run.checkpoint))


def stamp_ns(message: Any) -> int:
    """Return the header's stamp, ns."""
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def residual_map(message: Any) -> np.ndarray:
    """sensor_msgs/Image in 32FC1, felt minus expected per latent position -> float32 [h, w].

    Raises:
        ViewError: another encoding, or sizes that disagree.
    """
    height, width, found = int(message.height), int(message.width), len(message.data)
    if message.encoding != '32FC1' or not 0 < height * width <= MAX_RESIDUAL or found != height * width * 4:
        text = f'residual {width}x{height} {message.encoding} of {found} bytes'
        raise ViewError(f'{text}; expected 32FC1, 4 bytes for each of at most {MAX_RESIDUAL} positions')
    order = '>f4' if message.is_bigendian else '<f4'
    values = np.frombuffer(memoryview(message.data).cast('B'), dtype=order)
    return values.reshape(height, width).astype(np.float32)
