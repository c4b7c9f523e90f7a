"""The policy, with a recorder and a source where asked for.

    ros2 launch restac_ros policy.launch.py checkpoint:=DIR prompt:=TEXT

The processes and their parameters come from restac_ros.graph, as those of `restac-ros up` do.
"""

from pathlib import Path

from launch.actions import OpaqueFunction

from launch import LaunchDescription
from restac_ros.graph import Run
from restac_ros.launching import actions, arguments, given

ARGUMENTS = {
    'contract': ('', 'robot facts (YAML); empty: the installed config/contract.yaml'),
    'checkpoint': ('', 'directory of the policy checkpoint'),
    'prompt': ('', 'what the robot shall do'),
    'record': ('', 'LeRobot data set to record an episode into; empty: record nothing'),
    'bag': ('', 'rosbag2 to play instead of live drivers'),
    'source': (
        '',
        "who publishes the streams: 'none' (drivers), 'bag', 'synthetic'; empty: 'bag' if one is given",
    ),
    'view': ('false', 'true: also publish gate, chunk and touch for rviz (config/restac.rviz)'),
    'execute': ('false', 'true: also send set-points to the robot, which then moves'),
    'log': ('', 'directory for a log of chunks, gates and diagnoses; empty: none'),
    'rate': ('1.0', 'playing speed of the bag'),
    'params': ('', 'ROS parameter file for tuning the nodes; the defaults are in config/'),
    'run_dir': ('runs/launch', 'where the nodes put their summaries'),
}


def _start(context) -> list:
    value = given(context, ARGUMENTS)
    run = Run(
        directory=Path(value['run_dir']).absolute(),
        parameter_file=Path(value['params']).absolute() if value['params'] else None,
        contract=Path(value['contract']).absolute() if value['contract'] else None,
        checkpoint=Path(value['checkpoint']).absolute() if value['checkpoint'] else None,
        prompt=value['prompt'],
        record=Path(value['record']).absolute() if value['record'] else None,
        bag=Path(value['bag']).absolute() if value['bag'] else None,
        source=value['source'] or ('bag' if value['bag'] else 'none'),
        view=value['view'].lower() == 'true',
        execute=value['execute'].lower() == 'true',
        sessions=Path(value['log']).absolute() if value['log'] else None,
        rate=float(value['rate']),
    )
    return actions(run)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription([*arguments(ARGUMENTS), OpaqueFunction(function=_start)])
