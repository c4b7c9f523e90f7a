"""Lists the processes of a run with their parameters, for `restac-ros up` and `ros2 launch` alike.

Nothing is started here. `restac_ros.supervise` turns the list into plain processes, the files in `launch/`
turn the same list into launch actions.
"""

import difflib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from restac_ros.installation import GraphError, config_file
from restac_ros.parameter_file import ParameterFileError, check_parameter_file, known_parameters
from restac_ros.process import ParameterValue, Process, checked_remaps, full_namespace

CELL_CONTRACT = 'contract_cell.yaml'
SIM_LONGEST_S = 86_400.0  # simulated time that the cell runs at most
RECORDED_SEED = 2_000_000  # of the first scene that is recorded live: evaluations use small seeds

# What the streamer must know of the simulated robot.
SIM_ROBOT: dict[str, ParameterValue] = {
    'gripper_type': 'std_msgs/msg/Float64',
    'gripper_name': 'gripper/command',
    'robot_state_topic': 'sim_node/robot_mode',
    'robot_state_type': 'std_msgs/msg/UInt8',
    'robot_mode_field': 'data',
}

ViewKind = Literal['none', 'rviz', 'rerun']
VIEW_NODES: dict[ViewKind, str] = {'rviz': 'gate_view_node', 'rerun': 'rerun_view_node'}


class Source(StrEnum):
    """What publishes the streams."""

    DRIVERS = 'none'  # no process of this run
    BAG = 'bag'
    SYNTHETIC = 'synthetic'
    SIM = 'sim'  # the simulated cell

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the source of this name.

        Raises:
            GraphError: there is none.
        """
        try:
            return cls(name)
        except ValueError:
            near = difflib.get_close_matches(name, list(cls), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ''
            raise GraphError(f'source is {name!r}, allowed: {", ".join(cls)}{hint}') from None

    @property
    def closes_loop(self) -> bool:
        """Return whether set-points move what the streams show; only then can a policy be executed."""
        return self in (Source.DRIVERS, Source.SIM)


@dataclass(frozen=True)
class Run:
    """Description of a run. Paths that are None are not used.

    Attributes:
        contract: robot facts; None takes the installed `config/contract.yaml`, or with the simulated cell its
            own, `config/contract_cell.yaml`.
        checkpoint: policy to run; None starts no policy.
        prompt: the robot's task; also the task text of a recorded episode.
        record: LeRobot data set to record an episode into; None records nothing.
        journals: where raw recordings (bags) go; None puts them beside the data set.
        sessions: where the policy's chunks and gates, and all diagnostics, are logged; None logs nothing.
        source: what publishes the streams.
        bag: rosbag2 directory or file to play, for source 'bag'.
        rate: playing speed of the bag, or highest of the simulated cell; 1 is real time.
        seconds: length of the synthetic source, or most of the simulated cell, s; None: by their defaults.
        seed: of the simulated cell's scene, noise and delays.
        cameras: the simulated cell draws its cameras, which needs OpenGL.
        window: the simulated cell is also shown in MuJoCo's own viewer, where there is a display.
        expert: the scripted expert moves the simulated cell's arm; a policy is only watched.
        view: draw gate, chunk and touch: for rviz, or in a browser (Rerun).
        execute: send set-points to the robot, which then moves; otherwise chunks are only published.
        teleoperate: a person moves the arm of the simulated cell, which then runs until it is ended.
        autostart_recording: start recording at once and save at the end, instead of waiting for `~/start`.
        parameter_file: ROS parameter file for tuning the nodes (replan_hz and the like).
        run_id: identifies the nodes of the run to each other.
        namespace: of all nodes, such as `left`: two robots in one domain have two.
        remaps: ROS remappings of all nodes, each `from:=to`.
        use_sim_time: the nodes follow `/clock`. A played bag publishes it. Beside the simulated cell they
            always do.
        directory: where the processes put their summaries, in a folder per namespace.
    """

    directory: Path
    contract: Path | None = None
    checkpoint: Path | None = None
    prompt: str = ''
    record: Path | None = None
    journals: Path | None = None
    sessions: Path | None = None
    source: Source = Source.DRIVERS
    bag: Path | None = None
    rate: float = 1.0
    seconds: float | None = None
    seed: int = 0
    cameras: bool = True
    window: bool = False
    expert: bool = False
    execute: bool = False
    teleoperate: bool = False
    view: ViewKind = 'none'
    autostart_recording: bool = True
    parameter_file: Path | None = None
    run_id: str = field(default_factory=lambda: secrets.token_hex(4))
    namespace: str = ''
    remaps: tuple[str, ...] = ()
    use_sim_time: bool = False


def processes(run: Run) -> list[Process]:
    """Return the processes of a run, subscribers before the source.

    Raises:
        GraphError: contradictory or missing arguments, named with the remedy.
    """
    _check(run)
    listeners = []
    if run.checkpoint is not None:
        listeners.append(_policy(run))
    if run.record is not None:
        listeners.append(_recorder(run, run.record))
    awaited = [process.executable for process in listeners]  # by a source, before it plays
    if run.sessions is not None:
        parameters = {'log_dir': str(run.sessions), 'task': run.prompt}
        log = _process(run, 'session_log_node', parameters, vital=False)
        listeners.insert(0, log)  # stops last, so that it receives the others' last messages
    if run.view != 'none':
        listeners.append(_process(run, VIEW_NODES[run.view], {}, vital=False))
    if run.execute:
        listeners.append(_process(run, 'streamer_node', SIM_ROBOT if run.source is Source.SIM else {}))
    if run.teleoperate:
        listeners.append(_process(run, 'teleop_node', {}))
    if run.source is not Source.DRIVERS:
        listeners.append(_source(run, awaited))
    return listeners


def console(run: Run, others: Sequence[Process], terminal: Literal['keys', 'display']) -> Process:
    """Return the process that reads the keyboard in a run of the given processes."""
    nodes = [process.executable for process in others]
    return Process(
        'console_node',
        {'nodes': nodes, 'task': run.prompt, 'run_id': run.run_id},
        namespace=full_namespace(run.namespace),
        terminal=terminal,
        vital=terminal == 'display',
        patience_s=max(process.patience_s for process in others),
    )


def _check_who_moves(run: Run) -> None:
    """Refuse two that would move the arm, and who would move one that is not there."""
    movers = {name for name in ('execute', 'expert', 'teleoperate') if getattr(run, name)}
    if len(movers) > 1:
        raise GraphError(f'{" and ".join(sorted(movers))} each move the arm: give one of them')
    if run.execute and (run.checkpoint is None or not run.source.closes_loop):
        raise GraphError(
            'execute sends set-points to a robot: it needs a checkpoint, and streams that show the motion of '
            'the robot: live drivers (source none) or the simulated cell (sim); source is '
            f'{str(run.source)!r}'
        )
    if movers - {'execute'} and run.source is not Source.SIM:
        raise GraphError(
            f'{movers.pop()} moves the arm of the simulated cell: it needs source sim; source is '
            f'{str(run.source)!r}'
        )


def _check(run: Run) -> None:
    if (run.source is Source.BAG) != (run.bag is not None):
        raise GraphError(
            f'source is {str(run.source)!r} and bag is {str(run.bag)!r}: '
            'a bag is played with source "bag" and only then'
        )
    if run.bag is not None and not run.bag.exists():
        raise GraphError(f'no bag at {run.bag}: name a rosbag2 directory or an .mcap/.db3 file')
    _check_who_moves(run)
    if run.checkpoint is None and run.record is None and run.view == 'none' and not run.teleoperate:
        raise GraphError('nothing to do: give a checkpoint to run, a data set to record into, or view')
    if run.checkpoint is not None and not run.prompt.strip():
        raise GraphError('the policy needs a prompt: describe the task of the robot')
    if run.record is not None and run.autostart_recording and not run.prompt.strip():
        raise GraphError('recording needs a task text: describe the task of the robot by prompt')
    if run.parameter_file is not None:
        _check_parameter_file(run.parameter_file, full_namespace(run.namespace))
    if run.rate <= 0:
        raise GraphError(f'rate is {run.rate:g}, expected a number above 0 (1 is real time)')
    if run.checkpoint is not None and not run.checkpoint.is_dir():
        raise GraphError(
            f'no checkpoint at {run.checkpoint}: `restac-ros init-checkpoint` makes one with random weights'
        )


def _check_parameter_file(path: Path, namespace: str) -> None:
    known = known_parameters(config_file(''))
    try:
        check_parameter_file(path, [f'{namespace}/{node}' for node in known], known)
    except ParameterFileError as error:
        raise GraphError(str(error)) from error


def _process(run: Run, executable: str, parameters: Mapping[str, ParameterValue], **options: Any) -> Process:
    namespace = full_namespace(run.namespace)
    facts = CELL_CONTRACT if run.source is Source.SIM else 'contract.yaml'
    shared: dict[str, ParameterValue] = {
        'contract': str(run.contract or config_file(facts)),
        'summary_file': str(run.directory / namespace.strip('/') / f'{executable}.json'),
        'run_id': run.run_id,
        'exit_on_refusal': True,  # no operator is there to correct it
    }
    if run.use_sim_time or run.source is Source.SIM:
        shared['use_sim_time'] = True
    return Process(
        executable,
        {**shared, **parameters},
        run.parameter_file,
        namespace=namespace,
        remaps=checked_remaps(run.remaps),
        **options,
    )


def _policy(run: Run) -> Process:
    return _process(run, 'policy_node', {'checkpoint': str(run.checkpoint), 'prompt': run.prompt})


def _recorder(run: Run, dataset: Path) -> Process:
    journals = run.journals or dataset.with_name(dataset.name + '.journals')
    parameters: dict[str, ParameterValue] = {
        'dataset': str(dataset),
        'journal_dir': str(journals),
        'task': run.prompt,
        'autostart_recording': run.autostart_recording,
        'save_on_shutdown': run.autostart_recording,
    }
    if run.checkpoint is not None:
        parameters['start_after'] = 'policy_node'
    if run.source is not Source.DRIVERS:
        # A played bag is no demonstration: a busy machine may lose frames of it.
        parameters['on_gap'] = 'longest_run'
    return _process(run, 'recorder_node', parameters, patience_s=1800.0)


def _source(run: Run, awaited: Sequence[str]) -> Process:
    parameters: dict[str, ParameterValue]
    if run.source is Source.BAG:
        parameters = {
            'bag': str(run.bag),
            'rate': run.rate,
            'wait_nodes': list(awaited) or [''],
            'any_topics': not awaited,  # for the view alone a session log is enough
        }
        if run.use_sim_time:  # the bag's own time, which this node publishes and so cannot follow
            parameters |= {'stamps': 'keep', 'publish_clock': True, 'use_sim_time': False}
        return _process(run, 'replay_node', parameters, ends_run=True)
    parameters = {'wait_nodes': list(awaited) or ['']}
    if run.seconds is not None:
        parameters['seconds'] = run.seconds
    if run.source is Source.SIM:  # it publishes the clock, which it cannot follow
        parameters |= {'seed': run.seed, 'cameras': run.cameras, 'window': run.window, 'rate': run.rate}
        parameters |= {'expert': run.expert, 'use_sim_time': False}
        if run.teleoperate:  # insertion after insertion, as long as the person likes
            parameters |= {'end_when_inserted': False, 'seconds': SIM_LONGEST_S}
        return _process(run, 'sim_node', parameters, ends_run=True)
    return _process(run, 'synthetic_node', parameters, ends_run=True)
