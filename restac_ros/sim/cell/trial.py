"""One attempt at insertion in simulated time: percepts of an actor, its targets, and the result."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from restac_ros.geometry.pose import Offset, Pose
from restac_ros.sim.cell.cell import Cell, CellState
from restac_ros.sim.cell.cell_loop import TOUCH_N
from restac_ros.sim.cell.parameters import CellScene
from restac_ros.sim.randomness import random_for

FPS = 15
_TARGET_HZ = 100


@dataclass(frozen=True)
class SensorNoise:
    """Standard deviations of what is perceived.

    Attributes:
        vision_m: of the estimate of the housing's place, in x and y, which drifts with `vision_s`.
        mount_m, mount_rad: of the grasp's displacement, in every frame anew.
    """

    vision_m: float = 0.001
    vision_s: float = 1.0
    mount_m: float = 3e-5
    mount_rad: float = 2e-3


@dataclass(frozen=True)
class Percept:
    """What an actor perceives at one tick, in the base frame: m and rad.

    Attributes:
        pose: of the TCP, measured.
        housing_m: [2] estimated centre of the housing; the hole's place in it is independent.
        mount: [6] displacement of the plug in the grasp, measured.
    """

    time_s: float
    pose: Pose
    housing_m: np.ndarray
    mount: np.ndarray


class Actor(Protocol):
    """Chooses the next target of the TCP."""

    def act(self, percept: Percept) -> Pose: ...


class Senses:
    """Turns true states into percepts, with noise that depends on the seed and the number of calls only."""

    def __init__(self, scene: CellScene, noise: SensorNoise, seed: int) -> None:
        self._scene, self._noise = scene, noise
        self._random = random_for(seed, 'percepts')
        self._drift = self._random.standard_normal(2)

    def perceive(self, state: CellState) -> Percept:
        """Return the percept of the next tick, 1 / FPS after the one before."""
        noise = self._noise
        kept = math.exp(-1.0 / FPS / noise.vision_s)
        fresh = math.sqrt(1 - kept**2) * self._random.standard_normal(2)
        self._drift = kept * self._drift + fresh
        spread = np.repeat([noise.mount_m, noise.mount_rad], 3)
        return Percept(
            time_s=state.time_s,
            pose=state.pose,
            housing_m=np.array(self._scene.housing_m) + noise.vision_m * self._drift,
            mount=state.mount + spread * self._random.standard_normal(6),
        )


@dataclass(frozen=True)
class Trial:
    """Result of an attempt.

    Attributes:
        seconds: until the plug was in, or the limit.
        contact_s: of these, in contact.
        peak_n, mean_n: contact force, the mean over the time in contact.
        miss_m: distance of TCP and hole at the end, in x and y.
    """

    success: bool
    seconds: float
    contact_s: float
    peak_n: float
    mean_n: float
    miss_m: float


def run_trial(
    cell: Cell,
    scene: CellScene,
    actor: Actor,
    senses: Senses,
    limit_s: float = 20.0,
    watch: Callable[[Percept, Pose, CellState], None] | None = None,
) -> Trial:
    """Let `actor` act FPS times a second until the plug is in or `limit_s` is over.

    Between two ticks the target moves straight from the last one to the new, at 100 Hz, as the streamer
    plays a chunk. `watch` is called with each percept, the target chosen for it, and the true state.
    """
    cell.reset(scene)
    state = cell.state()
    last, forces_n = state.pose, []
    for tick in range(round(limit_s * FPS)):
        percept = senses.perceive(state)
        target = actor.act(percept)
        if watch is not None:
            watch(percept, target, state)
        _play(cell, last, target, _steps_of(cell, tick))
        last, state = target, cell.state()
        forces_n.append(float(np.linalg.norm(state.force_n)))
        if state.inserted:
            break
    touching = [force for force in forces_n if force > TOUCH_N]
    hole_m = np.add(scene.housing_m, scene.hole_m)
    return Trial(
        success=state.inserted,
        seconds=state.time_s,
        contact_s=len(touching) / FPS,
        peak_n=cell.peak_n,
        mean_n=float(np.mean(touching)) if touching else 0.0,
        miss_m=float(np.linalg.norm(state.pose.position_m[:2] - hole_m)),
    )


def _steps_of(cell: Cell, tick: int) -> int:
    """Steps of the physics in a tick, so that ticks stay on the grid of FPS without drift."""
    per_tick = 1.0 / FPS / cell.parameters.step_s
    return round((tick + 1) * per_tick) - round(tick * per_tick)


def _play(cell: Cell, last: Pose, target: Pose, steps: int) -> None:
    stride = round(1.0 / _TARGET_HZ / cell.parameters.step_s)
    way = Offset.between(last, target)
    for done in range(0, steps, stride):
        count = min(stride, steps - done)
        cell.follow(way.apply(last, (done + count) / steps))
        cell.step(count)
