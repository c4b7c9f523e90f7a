"""Conversion between ChunkUse and its message."""

from rclpy.qos import QoSProfile
from rclpy.time import Time

from restac_ros.control.streaming import ChunkUse
from restac_ros.msg import ChunkUse as ChunkUseMessage

# Reliable, as each message shows the delay of a chunk.
CHUNK_USE_QOS = QoSProfile(depth=8)


def chunk_use_message(use: ChunkUse, frame_id: str, run_id: str) -> ChunkUseMessage:
    """Return the executed chunk as the message for the policy."""
    message = ChunkUseMessage(run_id=run_id, moving=use.moving)
    message.header.stamp = Time(nanoseconds=use.since_ns).to_msg()
    message.header.frame_id = frame_id
    message.chunk_stamp = Time(nanoseconds=use.chunk_stamp_ns).to_msg()
    message.joined = Time(nanoseconds=use.joined_ns).to_msg()
    return message


def chunk_use_of(message: ChunkUseMessage) -> ChunkUse:
    """Return the executed chunk from the streamer's message."""
    stamps = (message.header.stamp, message.chunk_stamp, message.joined)
    since_ns, chunk_stamp_ns, joined_ns = (Time.from_msg(stamp).nanoseconds for stamp in stamps)
    return ChunkUse(since_ns, message.moving, chunk_stamp_ns, joined_ns)
