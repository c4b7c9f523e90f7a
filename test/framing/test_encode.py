"""Messages made without ROS: what the decoder reads from them is what was measured."""

import numpy as np
import pytest

from restac_ros.framing.decode import decode_image, decode_joints, decode_pose, load_types
from restac_ros.framing.encode import driver_message, joint_state
from restac_ros.framing.stamp import read_stamp_ns, with_stamp
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Pose

RGB = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8'])
def test_raw_images_come_back_to_the_bit(edited_contract, encoding):
    contract = edited_contract({'streams.main.encoding': encoding})
    message = driver_message(contract, 'main', RGB)
    np.testing.assert_array_equal(decode_image(contract.stream('main'), message), RGB)


def test_compressed_images_come_back(edited_contract):
    contract = edited_contract(
        {'streams.main.type': 'sensor_msgs/msg/CompressedImage', 'streams.main.encoding': 'png'}
    )
    message = driver_message(contract, 'main', RGB)
    np.testing.assert_array_equal(decode_image(contract.stream('main'), message), RGB)


def test_joints_openings_and_stamps_come_back(edited_contract):
    contract = edited_contract({})
    measured = np.linspace(-1, 1, 14).reshape(2, 7)
    message = with_stamp(driver_message(contract, 'joints', measured), 12_345_678_901)
    np.testing.assert_array_equal(decode_joints(contract.stream('joints'), message), measured[0])
    assert read_stamp_ns(message) == 12_345_678_901
    message = driver_message(contract, 'gripper', np.array(0.03))
    np.testing.assert_allclose(decode_joints(contract.stream('gripper'), message), [0.015, 0.015])


def test_poses_come_back(edited_contract):
    stream = {
        'topic': '/commanded',
        'type': 'geometry_msgs/msg/PoseStamped',
        'role': 'target_pose',
        'rate_hz': 100,
        'max_age_ms': 100,
    }
    contract = edited_contract({'streams.commanded': stream})
    pose = Pose(np.array([0.5, -0.1, 0.2]), quat.from_rotvec(np.array([3.0, 0.2, -0.1])))
    found = decode_pose(contract.stream('commanded'), driver_message(contract, 'commanded', pose))
    np.testing.assert_array_equal(found[:3, 3], pose.position_m)
    np.testing.assert_allclose(found[:3, :3], quat.to_matrix(pose.quaternion_xyzw), atol=1e-12)


def test_joint_states_are_those_of_the_slow_way_to_the_byte() -> None:
    store, random = load_types(), np.random.default_rng(0)
    for names in (['fr3_joint1', 'fr3_joint2', 'fr3_joint3'], ['a'], ['left_finger', 'right_finger']):
        for speeds in (None, *random.standard_normal((2, len(names)))):
            positions = random.standard_normal(len(names))
            stamp = store.types['builtin_interfaces/msg/Time'](sec=0, nanosec=0)
            message = store.types['sensor_msgs/msg/JointState'](
                header=store.types['std_msgs/msg/Header'](stamp=stamp, frame_id=''),
                name=names,
                position=positions,
                velocity=np.zeros(0) if speeds is None else speeds,
                effort=np.zeros(0),
            )
            slow = bytes(store.serialize_cdr(message, 'sensor_msgs/msg/JointState'))
            assert joint_state(names, positions, speeds) == slow
    with pytest.raises(ValueError, match='2 joints'):
        joint_state(['a', 'b'], np.zeros(3))
