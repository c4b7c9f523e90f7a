"""No random number of a scene says anything about another: a sensor's noise nothing of where the hole is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.cell_loop import CellLoop
from restac_ros.sim.cell.cell_sensors import CellSensors, SensorSizes
from restac_ros.sim.cell.expert import Expert
from restac_ros.sim.cell.parameters import draw_scene
from restac_ros.sim.cell.trial import Senses, SensorNoise
from restac_ros.sim.evaluation.conditions import CONDITIONS
from restac_ros.sim.evaluation.perturbation import HousingMove, Occlusion
from restac_ros.sim.randomness import random_for

SMALL = SensorSizes(camera_px=(24, 32), tactile_px=(32, 40))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The first numbers of every generator that is made from now on."""
    begun: list[bytes] = []
    make: Callable[..., np.random.Generator] = np.random.default_rng

    def watched(seed: object) -> np.random.Generator:
        begun.append(make(seed).bytes(32))
        return make(seed)

    monkeypatch.setattr(np.random, 'default_rng', watched)
    return begun


@pytest.mark.parametrize('seed', [0, 5])
def test_no_two_generators_of_a_scene_are_one(repository: Path, begun: list[bytes], seed: int) -> None:
    contract = load_contract(repository / 'config' / 'contract_cell.yaml')
    scene = draw_scene(seed)
    cell = Cell(scene, limits=contract.limits)
    sensors = CellSensors(contract, cell, scene, seed, SMALL, cameras=False)
    next(CellLoop(contract, cell, sensors, seed).readings())
    Senses(scene, SensorNoise(), seed)
    Expert(seed=seed)
    HousingMove(cell, scene, CONDITIONS['housing moved'], seed)
    Occlusion(contract, CONDITIONS['camera occluded'], seed)
    assert len(begun) == len(contract.streams) + len(sensors.streams) + 7, 'some were made otherwise'
    assert len(set(begun)) == len(begun)


def test_a_purpose_has_the_same_numbers_in_the_same_scene_only() -> None:
    first, again = random_for(3, 'noise').bytes(8), random_for(3, 'noise').bytes(8)
    assert first == again
    assert len({first, random_for(4, 'noise').bytes(8), random_for(3, 'times').bytes(8)}) == 3
