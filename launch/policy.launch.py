"""The policy, with a recorder and a source where asked for.

    ros2 launch restac_ros policy.launch.py checkpoint:=DIR prompt:=TEXT

The processes and their parameters come from restac_ros.graph, as those of `restac-ros up` do.
"""

from launch.actions import OpaqueFunction

from launch import LaunchDescription
from restac_ros.graph import Source
from restac_ros.launching import LaunchArguments, actions, declared

ARGUMENTS = {
    'checkpoint': ('', 'directory of the policy checkpoint'),
    'prompt': ('', 'what the robot shall do'),
    'record': ('', 'LeRobot data set to record an episode into; empty: record nothing'),
    'source': (
        '',
        "who publishes the streams: 'none' (drivers), 'bag', 'synthetic', 'sim'; empty: 'bag' if given",
    ),
    'view': ('none', "also show gate, chunk and touch: 'rviz' (config/restac.rviz), 'rerun' (in a browser)"),
    'execute': ('false', 'true: also send set-points to the robot, which then moves'),
    'journals': ('', 'where raw recordings go; empty: beside the data set'),
    'seconds': ('', 'length of the synthetic source, or most of the simulated cell, s; empty: 10 or 30'),
    'seed': ('0', "of the simulated cell's scene, noise and delays"),
    'cameras': ('true', "draw the simulated cell's cameras, which needs OpenGL"),
    'expert': ('false', "true: the simulated cell's scripted expert moves its arm; a policy is only watched"),
    'log': ('', 'directory for a log of chunks, gates and diagnoses; empty: none'),
}


def _start(context) -> list:
    given = LaunchArguments(context, ARGUMENTS)
    source = given.text('source')
    run = given.run(
        checkpoint=given.path('checkpoint'),
        prompt=given.text('prompt'),
        record=given.path('record'),
        journals=given.path('journals'),
        view=given.choice('view', ('none', 'rviz', 'rerun')),
        execute=given.truth('execute'),
        seconds=given.number('seconds') if given.text('seconds') else None,
        seed=int(given.number('seed')),
        cameras=given.truth('cameras'),
        expert=given.truth('expert'),
        sessions=given.path('log'),
        **({'source': Source.named(source)} if source else {}),
    )
    return actions(run)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription([*declared(ARGUMENTS), OpaqueFunction(function=_start)])
