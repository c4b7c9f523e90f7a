"""What a condition does to the cell: its scene, its housing while the arm approaches, a camera's image."""

from dataclasses import replace

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.parameters import CellScene, SceneRanges, draw_scene
from restac_ros.sim.evaluation.conditions import Condition
from restac_ros.sim.evaluation.settings import CallDurations
from restac_ros.sim.randomness import random_for

_MOVE_S = 0.5
_GREY, _GREY_NOISE = 90, 6


def scene_of(seed: int, condition: Condition) -> CellScene:
    """Return the scene of a seed, the plug displaced in the grasp as the condition has it."""
    grasp_m = (condition.grasp_m, 0.0, condition.grasp_m)
    return draw_scene(seed, SceneRanges(grasp_m=grasp_m, grasp_rad=condition.grasp_rad))


def durations_of(durations: CallDurations, condition: Condition) -> CallDurations:
    """Return how long the policy's calls take under a condition."""
    longer = {name: value + condition.delay_ms for name, value in vars(durations).items()}
    longer['prefix_ms'] = max(longer['prefix_ms'], condition.prefix_ms)
    return replace(durations, **longer)


class HousingMove:
    """Moves the housing once the tool is half-way down; where it goes depends on the seed.

    Attributes:
        housing_m: [2] where its centre is now, in the base frame.
    """

    def __init__(self, cell: Cell, scene: CellScene, condition: Condition, seed: int) -> None:
        random = random_for(seed, 'way of the housing')
        self._cell, self._scene = cell, scene
        self._way_m = condition.housing_m * random.uniform(-1, 1, 2)
        parameters = cell.parameters
        touching_m = parameters.socket.rim_m + parameters.plug.tip_m
        self._half_way_m = (scene.start_m[2] + touching_m) / 2
        self._begun_s: float | None = None
        self.housing_m = np.array(scene.housing_m)

    @property
    def hole_m(self) -> np.ndarray:
        """[2] where the hole is now, in the base frame."""
        return self.housing_m + self._scene.hole_m

    def advance(self, time_s: float, height_m: float) -> None:
        """Put the housing where it is at `time_s`, the tool being at `height_m`."""
        if not self._way_m.any():
            return
        if self._begun_s is None and height_m < self._half_way_m:
            self._begun_s = time_s
        if self._begun_s is not None:
            share = min((time_s - self._begun_s) / _MOVE_S, 1.0)
            self.housing_m = np.add(self._scene.housing_m, share * self._way_m)
            self._cell.move_housing((float(self.housing_m[0]), float(self.housing_m[1])))


class Occlusion:
    """Shows a grey thing, with noise, in place of one camera's images."""

    def __init__(self, contract: Contract, condition: Condition, seed: int) -> None:
        cameras = contract.by_role('camera')
        self._streams = [name for name, spec in cameras.items() if spec.slot == condition.occluded]
        self._random = random_for(seed, 'occlusion')

    def seen(self, stream: str, image: np.ndarray) -> np.ndarray:
        """Return the image [H, W, 3] of a stream as the policy gets it."""
        if stream not in self._streams:
            return image
        noise = self._random.integers(-_GREY_NOISE, _GREY_NOISE + 1, image.shape)
        return (_GREY + noise).astype(np.uint8)
