"""What conditions do to the cell, and to how long calls take."""

import math

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.parameters import draw_scene
from restac_ros.sim.evaluation.conditions import AS_IT_IS, CONDITIONS, wanted_conditions
from restac_ros.sim.evaluation.perturbation import HousingMove, Occlusion, durations_of, scene_of
from restac_ros.sim.evaluation.settings import CallDurations


def test_the_housing_moves_once_the_tool_is_half_way_down_and_takes_half_a_second() -> None:
    scene = draw_scene(1)
    cell = Cell(scene)
    move = HousingMove(cell, scene, CONDITIONS['housing moved'], seed=1)
    move.advance(0.5, 0.15)
    np.testing.assert_array_equal(move.housing_m, scene.housing_m)
    move.advance(1.0, 0.07)
    move.advance(1.25, 0.15)  # it does not wait for the tool any more
    half = move.housing_m - scene.housing_m
    move.advance(3.0, 0.07)
    whole = move.housing_m - scene.housing_m
    np.testing.assert_allclose(whole, 2 * half)
    assert 0 < np.abs(whole).max() <= 0.02
    np.testing.assert_allclose(move.hole_m, move.housing_m + scene.hole_m)
    cell.step(1)
    np.testing.assert_allclose(cell.data.body('housing').xpos[:2], move.housing_m)
    other = HousingMove(cell, scene, CONDITIONS[AS_IT_IS], seed=1)
    other.advance(1.0, 0.01)
    np.testing.assert_array_equal(other.housing_m, scene.housing_m)


def test_the_grasp_is_displaced_and_the_rest_of_the_scene_stays() -> None:
    plain, moved = (scene_of(4, CONDITIONS[name]) for name in (AS_IT_IS, 'grasp moved'))
    assert plain == draw_scene(4)
    assert (moved.housing_m, moved.hole_m, moved.start_m) == (plain.housing_m, plain.hole_m, plain.start_m)
    assert 0 < max(np.abs(moved.grasp_m)) <= 0.005
    assert moved.grasp_m[1] == 0.0, 'the pads centre the plug'
    assert 0 < abs(moved.grasp_rad) <= math.radians(10)


def test_an_occluded_camera_shows_nothing_of_the_scene_and_never_repeats_itself(contract: Contract) -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    occlusion = Occlusion(contract, CONDITIONS['camera occluded'], seed=2)
    assert occlusion.seen('side', image) is image
    one, other = occlusion.seen('main', image), occlusion.seen('main', image)
    assert (one != other).any()
    assert abs(np.corrcoef(one.ravel(), image.ravel())[0, 1]) < 0.1
    assert Occlusion(contract, CONDITIONS[AS_IT_IS], seed=2).seen('main', image) is image


@pytest.mark.parametrize(
    ('name', 'expected'),
    [(AS_IT_IS, (60, 10, 50)), ('latency', (160, 110, 150)), ('old prefix', (450, 10, 50))],
)
def test_conditions_make_calls_longer(name: str, expected: tuple[float, ...]) -> None:
    found = durations_of(CallDurations(60, 10, 50), CONDITIONS[name])
    assert (found.prefix_ms, found.tactile_ms, found.act_ms) == expected


def test_a_policy_without_touch_is_asked_for_no_change_of_touch() -> None:
    names = list(CONDITIONS)
    assert [one.name for one in wanted_conditions(names, uses_touch=True)] == names
    blind = [one.name for one in wanted_conditions(names, uses_touch=False)]
    assert blind == [
        AS_IT_IS, 'housing moved', 'grasp moved', 'camera occluded', 'latency', 'old prefix',
    ]  # fmt: skip
