"""The recorder alone; its services ~/start, ~/save and ~/discard make the episodes.

ros2 launch restac_ros record.launch.py record:=DIR task:=TEXT
"""

from launch.actions import OpaqueFunction

from launch import LaunchDescription
from restac_ros.launching import actions, arguments, given, path_of, run_of

ARGUMENTS = {
    'record': ('', 'LeRobot data set to add episodes to; made if absent'),
    'task': ('', 'task text of the episodes'),
    'journals': ('', 'where raw recordings go; empty: beside the data set'),
    'autostart': ('false', 'start recording at once, save on shutdown; else ~/start and ~/save do'),
}


def _start(context) -> list:
    value = given(context, ARGUMENTS)
    run = run_of(
        value,
        record=path_of(value['record']),
        journals=path_of(value['journals']),
        prompt=value['task'],
        autostart_recording=value['autostart'].lower() == 'true' or bool(value['bag']),
    )
    return actions(run)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription([*arguments(ARGUMENTS), OpaqueFunction(function=_start)])
