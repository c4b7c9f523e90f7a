"""Messages that no driver publishes: a simulation's clock and forces, and what contradicts the contract."""

import numpy as np
from geometry_msgs.msg import Vector3, WrenchStamped
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

from restac_ros.contract.schema import Contract
from restac_ros.nodes.subscriptions import message_class

OTHER_ENCODING = '16UC1'  # a depth image on a colour topic


def clock_message(now_ns: int) -> bytes:
    """A simulated time."""
    return serialize_message(Clock(clock=Time(nanoseconds=now_ns).to_msg()))


def force_message(now_ns: int, frame: str, force_n: np.ndarray) -> bytes:
    """A force [3] in N, along the axes of `frame`."""
    message = WrenchStamped()
    message.header.stamp, message.header.frame_id = Time(nanoseconds=now_ns).to_msg(), frame
    message.wrench.force = Vector3(**dict(zip('xyz', force_n.tolist(), strict=True)))
    return serialize_message(message)


def re_encoded(contract: Contract, stream: str, cdr: bytes) -> bytes:
    """Change a message's content so that it contradicts the contract, as after a driver's reconfiguration."""
    message = deserialize_message(cdr, message_class(contract.streams[stream].type))
    if hasattr(message, 'encoding'):
        message.encoding = OTHER_ENCODING
    elif hasattr(message, 'format'):
        message.format, message.data = 'none', b''
    elif hasattr(message, 'name'):
        message.name = [f'other_{name}' for name in message.name]
    else:
        message.header.frame_id = 'elsewhere'
    return serialize_message(message)
