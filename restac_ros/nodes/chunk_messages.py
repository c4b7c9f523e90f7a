"""Conversion between values and messages that policy and streamer exchange: ActionChunk and ChunkUse."""

import math
from typing import NamedTuple

from rclpy.qos import QoSProfile

from restac_ros.control.chunk import Chunk
from restac_ros.control.chunk_reading import CHUNKINGS, stamp_as_ns
from restac_ros.control.streaming import ChunkUse
from restac_ros.msg import ActionChunk, RunIdentity
from restac_ros.msg import ChunkUse as ChunkUseMessage
from restac_ros.nodes.fields import stamp, unsigned

CHUNK_USE_QOS = QoSProfile(depth=8)  # reliable, as each message shows the delay of a chunk


class PolicyOrigin(NamedTuple):
    """Run and checkpoint of a policy, as in RunIdentity.msg."""

    run_id: str
    checkpoint: str
    replan_threshold: float = math.nan
    replan_release: float = math.nan

    def message(self, prompt: str, prompt_revision: int) -> RunIdentity:
        """Return run, checkpoint and prompt as a message."""
        return RunIdentity(
            run_id=self.run_id,
            checkpoint=self.checkpoint,
            prompt=prompt,
            prompt_revision=prompt_revision,
        )


def named_run(run: RunIdentity) -> str:
    """Return the name of a run for operators."""
    return f"run {run.run_id} (checkpoint {run.checkpoint or 'unknown'}, prompt '{run.prompt}')"


def chunk_message(chunk: Chunk, origin: PolicyOrigin) -> ActionChunk:
    """Return a chunk as a message."""
    message, report = ActionChunk(), chunk.report
    message.header.stamp = stamp(chunk.stamp_ns)
    message.header.frame_id = chunk.frame_id
    message.run = origin.message(report.prompt, report.prompt_revision)
    message.chunk_id = unsigned(chunk.chunk_id)
    message.trigger = int(report.trigger)
    position, orientation = message.anchor_pose.position, message.anchor_pose.orientation
    position.x, position.y, position.z = chunk.anchor.position_m.tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = chunk.anchor.quaternion_xyzw.tolist()
    message.anchor_state = chunk.anchor_state
    message.anchor_gripper = chunk.anchor_opening_m
    message.rotation_convention = chunk.rule.convention
    message.delta_composition = chunk.rule.composition
    message.step_ns = unsigned(chunk.step_ns)
    message.horizon = chunk.horizon
    message.delta_pose = chunk.delta_pose.reshape(-1).tolist()
    message.gripper = chunk.opening_m.tolist()
    message.valid_until = stamp(chunk.valid_until_ns)
    message.gate = report.gate
    message.prefix_age_ns = unsigned(chunk.camera_age_ns)
    message.tactile_age_ns = unsigned(chunk.tactile_age_ns)
    message.inference_ns = unsigned(report.inference_ns)
    message.chunking = CHUNKINGS.index(report.chunking)
    message.continues = report.continued_delay_steps is not None
    message.continued_delay_steps = report.continued_delay_steps or 0
    return message


def chunk_use_message(use: ChunkUse, frame_id: str, run_id: str) -> ChunkUseMessage:
    """Return the executed chunk as the message for the policy."""
    message = ChunkUseMessage(run_id=run_id, moving=use.moving)
    message.header.stamp = stamp(use.since_ns)
    message.header.frame_id = frame_id
    message.chunk_stamp, message.joined = stamp(use.chunk_stamp_ns), stamp(use.joined_ns)
    return message


def chunk_use_of(message: ChunkUseMessage) -> ChunkUse:
    """Return the executed chunk from the streamer's message."""
    stamps = (message.header.stamp, message.chunk_stamp, message.joined)
    since_ns, chunk_stamp_ns, joined_ns = map(stamp_as_ns, stamps)
    return ChunkUse(since_ns, message.moving, chunk_stamp_ns, joined_ns)
