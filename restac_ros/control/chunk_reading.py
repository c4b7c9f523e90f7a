"""Reads an ActionChunk, live or recorded, as a checked chunk; needs the message's fields only, no ROS."""

from typing import Any

from restac_ros.control.chunk import Chunk, ChunkError, ChunkReport, ReplanTrigger, build_chunk

# By number, as CHUNKING_* in ActionChunk.msg.
CHUNKINGS = ('receding_horizon', 'rtc_guided', 'rtc_trained')


def stamp_as_ns(time: Any) -> int:
    """builtin_interfaces/msg/Time -> ns since 1970."""
    return int(time.sec) * 10**9 + int(time.nanosec)


def chunk_of(message: Any) -> Chunk:
    """restac_ros/msg/ActionChunk -> its checked chunk; recordings without `run` have no prompt.

    Raises:
        ChunkError: the message contradicts itself.
    """
    position, orientation = message.anchor_pose.position, message.anchor_pose.orientation
    return build_chunk(
        chunk_id=message.chunk_id,
        stamp_ns=stamp_as_ns(message.header.stamp),
        frame_id=message.header.frame_id,
        anchor_position_m=(position.x, position.y, position.z),
        anchor_quaternion_xyzw=(orientation.x, orientation.y, orientation.z, orientation.w),
        anchor_state=message.anchor_state,
        anchor_opening_m=message.anchor_gripper,
        convention=message.rotation_convention,
        composition=message.delta_composition,
        step_ns=message.step_ns,
        horizon=message.horizon,
        delta_pose=message.delta_pose,
        opening_m=message.gripper,
        valid_until_ns=stamp_as_ns(message.valid_until),
        camera_age_ns=message.prefix_age_ns,
        tactile_age_ns=message.tactile_age_ns,
        report=_report(message),
    )


def _report(message: Any) -> ChunkReport:
    name, run = f'chunk {message.chunk_id}', getattr(message, 'run', None)
    if not 0 <= message.chunking < len(CHUNKINGS):
        raise ChunkError(f'{name}: chunking is {message.chunking}, expected one of CHUNKING_*')
    if message.trigger not in set(ReplanTrigger):
        raise ChunkError(f'{name}: trigger is {message.trigger}, expected one of TRIGGER_*')
    return ChunkReport(
        trigger=ReplanTrigger(message.trigger),
        gate=message.gate,
        inference_ns=message.inference_ns,
        chunking=CHUNKINGS[message.chunking],
        continued_delay_steps=message.continued_delay_steps if message.continues else None,
        prompt=run.prompt if run else '',
        prompt_revision=run.prompt_revision if run else 0,
    )
