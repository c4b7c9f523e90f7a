"""The recorder alone; its services ~/start, ~/save and ~/discard make the episodes.

ros2 launch restac_ros record.launch.py record:=DIR task:=TEXT
"""

from pathlib import Path

from launch.actions import OpaqueFunction

from launch import LaunchDescription
from restac_ros.graph import Run
from restac_ros.launching import actions, arguments, given

ARGUMENTS = {
    'record': ('', 'LeRobot data set to add episodes to; made if absent'),
    'task': ('', 'task text of the episodes'),
    'contract': ('', 'robot facts (YAML); empty: the installed config/contract.yaml'),
    'journals': ('', 'where raw recordings go; empty: beside the data set'),
    'bag': ('', 'rosbag2 to play instead of live drivers'),
    'autostart': ('false', 'start recording at once, save on shutdown; else ~/start and ~/save do'),
    'params': ('', 'ROS parameter file for tuning the nodes; the defaults are in config/'),
    'run_dir': ('runs/launch', 'where the node puts its summary'),
}


def _start(context) -> list:
    value = given(context, ARGUMENTS)
    run = Run(
        directory=Path(value['run_dir']).absolute(),
        parameter_file=Path(value['params']).absolute() if value['params'] else None,
        contract=Path(value['contract']).absolute() if value['contract'] else None,
        record=Path(value['record']).absolute() if value['record'] else None,
        journals=Path(value['journals']).absolute() if value['journals'] else None,
        prompt=value['task'],
        bag=Path(value['bag']).absolute() if value['bag'] else None,
        source='bag' if value['bag'] else 'none',
        autostart_recording=value['autostart'].lower() == 'true' or bool(value['bag']),
    )
    return actions(run)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription([*arguments(ARGUMENTS), OpaqueFunction(function=_start)])
