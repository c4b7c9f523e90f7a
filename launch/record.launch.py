"""The recorder alone; its services ~/start, ~/save and ~/discard make the episodes.

ros2 launch restac_ros record.launch.py record:=DIR task:=TEXT
"""

from launch.actions import OpaqueFunction

from launch import LaunchDescription
from restac_ros.installation import GraphError
from restac_ros.launching import LaunchArguments, actions, declared

ARGUMENTS = {
    'record': ('', 'LeRobot data set to add episodes to; made if absent'),
    'task': ('', 'task text of the episodes'),
    'journals': ('', 'where raw recordings go; empty: beside the data set'),
    'autostart': ('false', 'start recording at once, save on shutdown; else ~/start and ~/save do'),
}


def _start(context) -> list:
    given = LaunchArguments(context, ARGUMENTS)
    if given.path('record') is None:
        raise GraphError('record is empty; expected the data set to add episodes to: record:=DIR')
    run = given.run(
        record=given.path('record'),
        journals=given.path('journals'),
        prompt=given.text('task'),
        autostart_recording=given.truth('autostart') or given.path('bag') is not None,
    )
    return actions(run)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription([*declared(ARGUMENTS), OpaqueFunction(function=_start)])
