"""Gate, chunk and touch in rviz: live, or from a bag that holds the policy's topics too.

ros2 launch restac_ros gate_view.launch.py
ros2 launch restac_ros gate_view.launch.py bag:=DIR rviz:=false
"""

from launch.actions import LogInfo, OpaqueFunction
from launch_ros.actions import Node

from launch import LaunchDescription
from restac_ros.contract.load import load_contract
from restac_ros.graph import Run
from restac_ros.installation import config_file, find_package
from restac_ros.launching import LaunchArguments, actions, declared
from restac_ros.process import full_namespace

ARGUMENTS = {'rviz': ('true', 'true: also start rviz2, where it is installed')}


def _start(context) -> list:
    given = LaunchArguments(context, ARGUMENTS)
    run = given.run(view='rviz')
    return [*actions(run), *(_rviz(run) if given.truth('rviz') else [])]


def _rviz(run: Run) -> list:
    """rviz2 with our displays; with the robot's base, the markers' frame, as fixed frame."""
    if find_package('rviz2') is None:
        return [LogInfo(msg='rviz2 is not installed: sudo apt install ros-jazzy-rviz2, or pass rviz:=false')]
    base_frame = load_contract(run.contract or config_file('contract.yaml')).robot.base_frame
    topics = [f'/gate_view_node/{name}' for name in ('markers', 'tactile', 'chart')]
    namespaced = [(topic, full_namespace(run.namespace) + topic) for topic in topics]
    displays = ['-d', str(config_file('restac.rviz')), '-f', base_frame]
    return [
        Node(package='rviz2', executable='rviz2', arguments=displays, remappings=namespaced, output='screen')
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription([*declared(ARGUMENTS), OpaqueFunction(function=_start)])
