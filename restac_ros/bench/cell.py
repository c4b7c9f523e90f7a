"""The simulated cell: speed of physics and images, the expert's success, and whether touch is needed."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np

from restac_ros.bench.cell_imitation import clone_expert, demonstrate
from restac_ros.bench.settings import CellBench
from restac_ros.bench.table import Figure, finish, judged
from restac_ros.contract.load import load_contract
from restac_ros.graph import CELL_CONTRACT
from restac_ros.installation import config_file
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.cell_sensors import CellSensors
from restac_ros.sim.cell.expert import Expert, Strategy
from restac_ros.sim.cell.intervals import wilson_interval
from restac_ros.sim.cell.parameters import CellScene, draw_scene
from restac_ros.sim.cell.trial import Actor, Senses, SensorNoise, Trial, run_trial

REAL_TIME_FACTOR = 5.0
FRAMES_HZ = 40.0  # of all cameras and touch, on one core
PEAK_N = 25.0
DEMONSTRATION_SEED = 1_000_000  # the first of the scenes that clones learn from
_PHYSICS_S = 10.0
_FRAMES = 60


def main(settings: CellBench) -> int:
    """Run, print a table, write JSON if asked; 1 when a target is missed."""
    cell = Cell(CellScene())
    speed, frames_hz = physics_speed(cell), drawing_speed(cell)
    outcomes = dict(_outcomes(cell, settings))
    peak_n = max(trial.peak_n for trial in outcomes[f'expert, {Strategy.TOUCH}'])
    rows = [
        judged('physics, times real time', speed, '>=', REAL_TIME_FACTOR, '{:.1f}'),
        judged('3 cameras and touch, frames/s', frames_hz, '>=', FRAMES_HZ, '{:.0f}'),
        judged('expert with touch, largest force', peak_n, '<=', PEAK_N, '{:.1f} N'),
        *map(_row, outcomes.items()),
    ]
    described = {
        'physics_real_time_factor': speed,
        'frames_hz': frames_hz,
        'settings': {**asdict(settings), 'json': None},
        'trials': {name: [asdict(trial) for trial in each] for name, each in outcomes.items()},
    }
    return finish(f'simulated cell, {settings.seeds} scenes', rows, settings.json, described)


def physics_speed(cell: Cell, seconds: float = _PHYSICS_S) -> float:
    """Return simulated time over this process's CPU time, the arm pressing on the socket."""
    scene = draw_scene(0)
    cell.reset(scene)
    down = cell.state().pose
    height_m = cell.parameters.socket.rim_m + cell.parameters.plug.tip_m - 0.004
    cell.follow(down._replace(position_m=np.array([*scene.housing_m, height_m])))
    cell.step(1000)
    begun_s = time.process_time()
    cell.step(round(seconds / cell.parameters.step_s))
    return seconds / (time.process_time() - begun_s)


def drawing_speed(cell: Cell, frames: int = _FRAMES) -> float:
    """Return images of all cameras and touch, as framing makes them, per second of this process's CPU time.

    Raises:
        OpenGLError: nothing can be drawn here.
    """
    contract, scene = load_contract(config_file(CELL_CONTRACT)), draw_scene(0)
    cell.reset(scene)
    sensors = CellSensors(contract, cell, scene, seed=0)
    images = [*contract.by_role('camera'), *contract.by_role('tactile')]
    try:
        for name in images:  # what opens with the first
            sensors.read(name)
        begun_s = time.process_time()
        for _ in range(frames):
            for name in images:
                sensors.read(name)
        return frames / (time.process_time() - begun_s)
    finally:
        sensors.close()


def _outcomes(cell: Cell, settings: CellBench) -> Iterator[tuple[str, list[Trial]]]:
    """Names of actors, and what came of them in the same scenes."""
    for strategy in Strategy:
        experts = [Expert(strategy, cell=cell.parameters, seed=seed) for seed in _seeds(settings)]
        yield f'expert, {strategy}', _attempts(cell, settings, experts)
    if not settings.demonstrations:
        return
    learned = range(DEMONSTRATION_SEED, DEMONSTRATION_SEED + settings.demonstrations)
    shown = demonstrate(cell, learned, _noise(settings))
    for training in range(settings.trainings):
        for touch in (True, False):
            clone = clone_expert(shown, touch, settings.steps, training)
            name = f'clone {training} of {shown.episodes}, {"with" if touch else "no"} touch'
            yield name, _attempts(cell, settings, [clone] * settings.seeds)


def _attempts(cell: Cell, settings: CellBench, actors: Sequence[Actor]) -> list[Trial]:
    """Let each actor try in the scene of its seed."""
    trials = []
    for seed, actor in zip(_seeds(settings), actors, strict=True):
        scene = draw_scene(seed)
        senses = Senses(scene, _noise(settings), seed)
        trials.append(run_trial(cell, scene, actor, senses, settings.limit_s))
    return trials


def _seeds(settings: CellBench) -> range:
    return range(settings.first_seed, settings.first_seed + settings.seeds)


def _noise(settings: CellBench) -> SensorNoise:
    return SensorNoise(vision_m=settings.vision_m)


def _row(named: tuple[str, list[Trial]]) -> Figure:
    """Success with its 95 % interval, time to success and largest force of one actor."""
    name, trials = named
    times_s = [trial.seconds for trial in trials if trial.success]
    low, high = wilson_interval(len(times_s), len(trials))
    mean = f', {np.mean(times_s):.1f} s' if times_s else ''
    force = f'peak {np.mean([trial.peak_n for trial in trials]):.1f} N'
    worst = f'at most {max(trial.peak_n for trial in trials):.1f} N'
    succeeded = f'{len(times_s)}/{len(trials)} ({low:.0%} to {high:.0%})'
    return Figure(name, f'{succeeded}{mean}, {force}, {worst}')
