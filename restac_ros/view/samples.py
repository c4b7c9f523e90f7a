"""Reads messages of the policy, live or recorded, as checked values."""

import math
from typing import Any, NamedTuple

import numpy as np

from restac_ros.control.chunk import ChunkError, ReplanTrigger
from restac_ros.control.chunk_reading import chunk_of, stamp_as_ns
from restac_ros.view.errors import ViewError

PLANNING = 'policy_node: planning'  # how the policy's own status on /diagnostics ends
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
        stamp_ns=stamp_as_ns(message.header.stamp),
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

    Raises:
        ViewError: the chunk contradicts itself, or is in another frame than `base_frame`.
    """
    try:
        chunk = chunk_of(message)
    except ChunkError as error:
        raise ViewError(str(error)) from error
    if chunk.frame_id != base_frame:
        raise ViewError(
            f'chunk {chunk.chunk_id}: frame_id {chunk.frame_id!r}; the contract has base_frame '
            f'{base_frame!r}: use one contract for both'
        )
    return ChunkSample(
        stamp_ns=chunk.stamp_ns,
        chunk_id=chunk.chunk_id,
        points_m=chunk.positions_m,
        due_ns=chunk.stamp_ns + np.arange(chunk.horizon + 1, dtype=np.int64) * chunk.step_ns,
        gate=chunk.report.gate,
        prefix_age_ns=chunk.camera_age_ns,
        tactile_age_ns=chunk.tactile_age_ns,
        inference_ns=chunk.report.inference_ns,
        triggered=chunk.report.trigger is ReplanTrigger.GATE,
        origin=_origin(message),
    )


def subtask_words(message: Any) -> str:
    """restac_ros/msg/Subtask -> the subtask, and its source."""
    if message.source == message.SOURCE_OPERATOR:
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
