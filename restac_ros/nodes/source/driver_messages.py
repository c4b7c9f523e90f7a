"""Messages as drivers publish them, serialised, their stamps unset: images, joint states, poses."""

from array import array

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState

from restac_ros.contract.schema import (
    ArmJointsStream,
    CameraStream,
    Contract,
    GripperStream,
    PoseStream,
    TactileStream,
)
from restac_ros.framing.values import gripper_positions
from restac_ros.geometry.pose import Pose
from restac_ros.nodes.subscriptions import message_class

OTHER_ENCODING = '16UC1'  # a depth image on a colour topic

_FROM_RGB = {
    'bgr8': cv2.COLOR_RGB2BGR,
    'rgba8': cv2.COLOR_RGB2RGBA,
    'bgra8': cv2.COLOR_RGB2BGRA,
    'mono8': cv2.COLOR_RGB2GRAY,
}


def driver_message(contract: Contract, name: str, value: np.ndarray | Pose) -> bytes:
    """The message of stream `name` for what was measured.

    `value`: image uint8 [H, W, 3] RGB; arm: positions and speeds [2, 7] in rad and rad/s; gripper: opening []
    in m; pose of the tool in the base.
    """
    spec = contract.streams[name]
    match spec:
        case PoseStream():
            assert isinstance(value, Pose)
            return tool_pose(spec.frame_id or contract.robot.base_frame, value)
        case CameraStream() | TactileStream():
            assert isinstance(value, np.ndarray)
            return driver_image(spec, value, f'{name}_optical_frame')
        case ArmJointsStream():
            return joint_state(spec, np.asarray(value[0]), np.asarray(value[1]))
        case GripperStream():
            assert isinstance(value, np.ndarray)
            return joint_state(spec, gripper_positions(contract, spec, float(value)))


def driver_image(spec: CameraStream | TactileStream, rgb: np.ndarray, frame_id: str) -> bytes:
    """An image uint8 [H, W, 3] RGB in the contract's type and encoding."""
    encode = _compressed if spec.type == 'sensor_msgs/msg/CompressedImage' else _image
    return serialize_message(encode(spec, rgb, frame_id))


def _image(spec: CameraStream | TactileStream, rgb: np.ndarray, frame_id: str) -> Image:
    encoding = spec.encoding or 'rgb8'
    wanted = 'bgr8' if encoding in ('8UC3', 'passthrough') and spec.channel_order == 'bgr' else encoding
    pixels = cv2.cvtColor(rgb, _FROM_RGB[wanted]) if wanted in _FROM_RGB else rgb
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding=encoding, step=pixels.nbytes // height)
    message.header.frame_id = frame_id
    message.data = array('B', pixels.tobytes())  # of bytes, rclpy would check each
    return message


def _compressed(spec: CameraStream | TactileStream, rgb: np.ndarray, frame_id: str) -> CompressedImage:
    kind = spec.encoding or 'jpeg'
    pixels = rgb if spec.channel_order == 'bgr' else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode('.jpg' if kind == 'jpeg' else '.png', pixels)
    message = CompressedImage(format=kind, data=array('B', content.tobytes()))
    message.header.frame_id = frame_id
    return message


def joint_state(
    spec: ArmJointsStream | GripperStream, positions: np.ndarray, speeds: np.ndarray | None = None
) -> bytes:
    """A JointState of the contract's names; without `speeds` they are 0."""
    zeros = array('d', bytes(8 * len(positions)))
    velocity = zeros if speeds is None else array('d', speeds.tolist())
    message = JointState(
        name=list(spec.joints), position=array('d', positions.tolist()), velocity=velocity, effort=zeros
    )
    return serialize_message(message)


def tool_pose(frame_id: str, pose: Pose) -> bytes:
    """A PoseStamped."""
    message = PoseStamped()
    message.header.frame_id = frame_id
    position, orientation = message.pose.position, message.pose.orientation
    position.x, position.y, position.z = pose.position_m.tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = pose.quaternion_xyzw.tolist()
    return serialize_message(message)


def clock_message(now_ns: int) -> bytes:
    """A simulated time."""
    return serialize_message(Clock(clock=Time(nanoseconds=now_ns).to_msg()))


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
