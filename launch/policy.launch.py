"""The policy, with a recorder and a source where asked for.

    ros2 launch restac_ros policy.launch.py checkpoint:=DIR prompt:=TEXT

The processes and their parameters come from restac_ros.graph, as those of `restac-ros up` do.
"""

from launch.actions import OpaqueFunction

from launch import LaunchDescription
from restac_ros.launching import actions, arguments, given, path_of, run_of

ARGUMENTS = {
    'checkpoint': ('', 'directory of the policy checkpoint'),
    'prompt': ('', 'what the robot shall do'),
    'record': ('', 'LeRobot data set to record an episode into; empty: record nothing'),
    'source': (
        '',
        "who publishes the streams: 'none' (drivers), 'bag', 'synthetic'; empty: 'bag' if one is given",
    ),
    'view': ('false', 'true: also publish gate, chunk and touch for rviz (config/restac.rviz)'),
    'execute': ('false', 'true: also send set-points to the robot, which then moves'),
    'log': ('', 'directory for a log of chunks, gates and diagnoses; empty: none'),
}


def _start(context) -> list:
    value = given(context, ARGUMENTS)
    run = run_of(
        value,
        checkpoint=path_of(value['checkpoint']),
        prompt=value['prompt'],
        record=path_of(value['record']),
        view=value['view'].lower() == 'true',
        execute=value['execute'].lower() == 'true',
        sessions=path_of(value['log']),
        **({'source': value['source']} if value['source'] else {}),
    )
    return actions(run)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription([*arguments(ARGUMENTS), OpaqueFunction(function=_start)])
