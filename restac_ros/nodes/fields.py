"""Conversion of values to message fields, clipped to the range of the field; how latched ones are sent."""

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy, QoSProfile

from restac_ros.geometry.pose import Pose

LAST_NS = (2**31 - 1) * 10**9 + 999_999_999  # the largest stamp that a message can hold
LAST_UNSIGNED = 2**64 - 1

# Reliable; a late subscriber receives the last one.
LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def stamp(time_ns: int) -> Time:
    """Return a stamp in ns since 1970 as a message, the nearest one that a message can hold."""
    seconds, nanoseconds = divmod(min(max(time_ns, 0), LAST_NS), 10**9)
    return Time(sec=seconds, nanosec=nanoseconds)


def pose_message(pose: Pose, stamp_ns: int, frame_id: str) -> PoseStamped:
    """Return a pose in the frame `frame_id` as a message."""
    message = PoseStamped()
    message.header.stamp, message.header.frame_id = stamp(stamp_ns), frame_id
    position, orientation = message.pose.position, message.pose.orientation
    position.x, position.y, position.z = pose.position_m.tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = pose.quaternion_xyzw.tolist()
    return message


def unsigned(value: int) -> int:
    """Return the nearest number that a uint64 field can hold: for counts, ages and durations."""
    return min(max(int(value), 0), LAST_UNSIGNED)
