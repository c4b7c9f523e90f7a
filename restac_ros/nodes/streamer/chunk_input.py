"""ActionChunk messages -> checked chunks."""

from builtin_interfaces.msg import Time

from restac_ros.control.chunk import Chunk, build_chunk
from restac_ros.msg import ActionChunk, RunIdentity


def chunk_of(message: ActionChunk) -> Chunk:
    """Return a checked chunk.

    Raises:
        ChunkError: the message contradicts itself; says where.
    """
    position, orientation = message.anchor_pose.position, message.anchor_pose.orientation
    return build_chunk(
        chunk_id=message.chunk_id,
        stamp_ns=_nanoseconds(message.header.stamp),
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
        valid_until_ns=_nanoseconds(message.valid_until),
        camera_age_ns=message.prefix_age_ns,
        tactile_age_ns=message.tactile_age_ns,
        continues_others=message.chunking != ActionChunk.CHUNKING_RECEDING_HORIZON,
    )


def named_run(run: RunIdentity) -> str:
    """Return what an operator knows a run by."""
    return f"run {run.run_id} (checkpoint {run.checkpoint or 'unknown'}, prompt '{run.prompt}')"


def _nanoseconds(time: Time) -> int:
    return time.sec * 10**9 + time.nanosec
