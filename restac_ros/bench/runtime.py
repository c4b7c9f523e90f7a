"""The whole graph at full rate: latencies of touch, replanning and set-points, and the CPU of each process.

A bag is played twice. From the first pass come the gate's percentiles, which depend on the checkpoint; the
second is measured, with a threshold that this gate does rise through. Set-points go to a topic of a ROS
domain where no robot listens. A session log subscribes to everything that the view draws, as rviz would.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from restac_ros.bench.processes import Watch, cpu_share, ended_in_order, scratch, started, summary_of
from restac_ros.bench.runtime_figures import RuntimeFigures
from restac_ros.bench.settings import RuntimeBench
from restac_ros.bench.table import finish
from restac_ros.contract.load import load_contract
from restac_ros.graph import Run, Source, processes
from restac_ros.installation import GraphError, config_file
from restac_ros.policy.init_checkpoint import init_checkpoint
from restac_ros.process import ParameterValue, Process

CALIBRATION_S = 8.0  # longest first pass
START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 30.0
SETTLE_S = 1.0  # of the measured pass's beginning, not counted as CPU
_POLL_S = 0.05
SCRATCH_BYTES = 2 << 30
DRY_TARGET = '/bench/target_pose'
SHOWN = {
    '/gate_view_node/markers': 'visualization_msgs/msg/MarkerArray',
    '/gate_view_node/tactile': 'sensor_msgs/msg/Image',
    '/gate_view_node/chart': 'sensor_msgs/msg/Image',
    '/policy_node/action_chunk': 'restac_ros/msg/ActionChunk',
    '/policy_node/gate_state': 'restac_ros/msg/GateState',
    DRY_TARGET: 'geometry_msgs/msg/PoseStamped',
}


def main(settings: RuntimeBench) -> int:
    """Run, print a table, write JSON if asked; 1 when a target is missed.

    Raises:
        GraphError: a node that did not do its part, or a gate that is the same all the time.
    """
    figures = _measure(settings)
    load = f'preset {figures.preset}, {figures.seconds:.0f} s, {os.cpu_count()} cores'
    title = f'whole graph, {load}; triggers: the gate above {figures.gate_threshold:.4f}'
    described = asdict(figures) | {'prefix_replan_hz': figures.prefix_replan_hz}
    return finish(title, figures.rows, settings.json, described)


def _measure(settings: RuntimeBench) -> RuntimeFigures:
    """Make both passes, in a folder that is removed afterwards; checkpoints are kept."""
    checkpoint = settings.directory / 'checkpoints' / settings.preset
    if not checkpoint.is_dir():
        init_checkpoint(settings.preset, load_contract(config_file('contract.yaml')), checkpoint)
    with scratch(settings.directory, SCRATCH_BYTES) as folder:
        run = Run(
            directory=folder,
            checkpoint=checkpoint,
            prompt='insert the plug',
            source=Source.BAG if settings.bag else Source.SYNTHETIC,
            bag=settings.bag,
            seconds=settings.seconds,
        )
        threshold, release = _levels(settings, run)
        policy = {
            'replan_hz': settings.rate_hz,
            'replan_gate_threshold': threshold,
            'replan_gate_release': release,
        }
        play = _play(_whole_graph(run, policy), settings.seconds)
    policy_left = play.left['policy_node']
    counts = {name: value for name, value in policy_left.items() if isinstance(value, int | float)}
    source = play.left[play.source]['streams']
    received = {name: tally['received'] for name, tally in policy_left['streams'].items()}
    return RuntimeFigures(
        preset=settings.preset,
        seconds=play.seconds,
        replan_hz=settings.rate_hz,
        gate_threshold=threshold,
        load_average=os.getloadavg()[0],
        policy_ms=policy_left['latency_ms'],
        streamer_ms=play.left['streamer_node']['latency_ms'],
        lost={name: count - received[name] for name, count in source.items()},
        cpu_shares=play.cpu_shares,
        counts=counts | {'hold_reasons': policy_left['hold_reasons']},
    )


@dataclass(frozen=True)
class _Play:
    """One pass: each node's summary, and its CPU share while messages arrived."""

    source: str
    seconds: float
    left: Mapping[str, Mapping[str, Any]]
    cpu_shares: Mapping[str, float]


def _levels(settings: RuntimeBench, run: Run) -> tuple[float, float]:
    """Threshold and release level: as given, or so that the gate rises through it now and then."""
    if settings.gate_threshold is not None:
        return settings.gate_threshold, settings.gate_threshold / 2
    play = _play(processes(run), min(CALIBRATION_S, settings.seconds))
    gate = play.left['policy_node']['gate']
    if 'p60' not in gate or not gate['p40'] < gate['p60'] < 1:
        raise GraphError(f'this gate does not rise: {gate}; give --gate-threshold')
    return gate['p60'], gate['p40']


def _whole_graph(run: Run, policy: Mapping[str, float]) -> list[Process]:
    """Everything that runs with a robot, but that set-points go nowhere."""
    topics = run.directory / 'topics.yaml'
    logged = [f'{topic} {kind}' for topic, kind in SHOWN.items()]
    topics.write_text(yaml.safe_dump({'/**': {'ros__parameters': {'topics': logged}}}), encoding='utf-8')
    log, *listeners, source = processes(replace(run, view='rviz', sessions=run.directory / 'sessions'))
    listeners = [
        replace(process, parameters={**process.parameters, **policy})
        if process.executable == 'policy_node'
        else process
        for process in listeners
    ]
    dry: dict[str, ParameterValue] = {
        'summary_file': str(run.directory / 'streamer_node.json'),
        'exit_on_refusal': True,
        'target_topic': DRY_TARGET,
        # The arm of a recording goes its own way.
        'following_m': 10.0,
        'following_rad': 10.0,
    }
    return [replace(log, parameter_file=topics), *listeners, Process('streamer_node', dry), source]


@dataclass(frozen=True)
class _Running:
    """A process of the graph, its log, and its samples."""

    process: Process
    child: subprocess.Popen
    log: Path
    watch: Watch

    def end(self) -> None:
        """Ask it to stop, and wait."""
        if self.child.poll() is None:
            self.child.terminate()
        ended_in_order(self.process.executable, self.child, self.log, _STOP_TIMEOUT_S)


def _play(graph: Sequence[Process], seconds: float) -> _Play:
    """Run all until the source has ended, or for `seconds` of playing."""
    with ExitStack() as stack:
        running = [stack.enter_context(_run(process)) for process in graph]
        source = running[-1]
        _await_playing(source)
        begun_s = time.monotonic()
        while source.child.poll() is None and time.monotonic() - begun_s < seconds:
            time.sleep(_POLL_S)
        ended_s = time.monotonic()
        for one in reversed(running):
            one.end()
        windows = {one.process.executable: one.watch.between(begun_s + SETTLE_S, ended_s) for one in running}
    left = {process.executable: summary_of(process) for process in graph}
    shares = {name: cpu_share(window) for name, window in windows.items()}
    return _Play(source.process.executable, ended_s - begun_s, left, shares)


@contextmanager
def _run(process: Process) -> Iterator[_Running]:
    log = process.summary_file.with_suffix('.log')
    with started(process, log) as child, Watch(child.pid) as watch:
        yield _Running(process, child, log, watch)


def _await_playing(source: _Running) -> None:
    """Until all listeners are there and the first message is due."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while b'playing' not in source.log.read_bytes():
        if source.child.poll() is not None or time.monotonic() > deadline_s:
            source.end()
            raise GraphError(f'{source.process.executable} has not begun to play')
        time.sleep(_POLL_S)
