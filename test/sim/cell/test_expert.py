"""The expert inserts by feel where a guess fails; what it perceives repeats with the seed."""

from types import SimpleNamespace

import numpy as np
import pytest

from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.demonstration import expert_pilot
from restac_ros.sim.cell.expert import Expert, ExpertParameters, Strategy
from restac_ros.sim.cell.intervals import wilson_interval
from restac_ros.sim.cell.parameters import CellScene, draw_scene
from restac_ros.sim.cell.trial import FPS, Senses, SensorNoise, run_trial

NOISE = SensorNoise()


@pytest.fixture(scope='module')
def cell() -> Cell:
    return Cell(CellScene())


@pytest.mark.parametrize('seed', [100, 101])
def test_by_touch_the_plug_goes_in_gently(cell: Cell, seed: int) -> None:
    scene = draw_scene(seed)
    trial = run_trial(cell, scene, Expert(), Senses(scene, NOISE, seed))
    assert trial.success
    assert trial.seconds < 15
    assert trial.peak_n < 15
    assert 0 < trial.contact_s < trial.seconds


def test_it_presses_straight_down_before_it_slides_so_that_the_imprint_shows_the_hole(cell: Cell) -> None:
    scene, known = draw_scene(100), ExpertParameters()
    pressed_n, leads_m = [], []

    def watch(percept, target, state) -> None:
        pressed_n.append(-percept.mount[2] * cell.parameters.plug.shear_n_m)
        leads_m.append(np.linalg.norm(target.position_m[:2] - percept.pose.position_m[:2]))

    run_trial(cell, scene, Expert(), Senses(scene, NOISE, 100), watch=watch)
    touched = next(i for i, force_n in enumerate(pressed_n) if force_n > known.touch_n)
    full = next(i for i, force_n in enumerate(pressed_n) if force_n > known.feel_n)
    assert full - touched >= 2
    assert max(leads_m[touched:full]) == 0.0
    assert leads_m[full + 1] == pytest.approx(known.slide_m)


def test_a_guess_misses_a_hole_that_is_farther_away_than_a_plug_centres_itself(cell: Cell) -> None:
    scene = CellScene(hole_m=(0.004, -0.004))
    trial = run_trial(cell, scene, Expert(Strategy.GUESS), Senses(scene, NOISE, 0), limit_s=6.0)
    assert not trial.success
    assert trial.contact_s > 1.0
    assert trial.miss_m > 0.003


@pytest.mark.parametrize('strategy', [Strategy.RETRIES, Strategy.SPIRAL])
def test_without_touch_places_are_tried(cell: Cell, strategy: Strategy) -> None:
    scene, places_m = CellScene(hole_m=(0.005, 0.005)), []

    def watch(percept, target, state) -> None:
        if np.linalg.norm(state.force_n) > 1:
            places_m.append(state.pose.position_m[:2] - scene.housing_m)

    expert = Expert(strategy, seed=1)
    run_trial(cell, scene, expert, Senses(scene, NOISE, 1), limit_s=8.0, watch=watch)
    assert np.ptp(places_m, axis=0).max() > 0.0015
    assert np.abs(places_m).max() < 0.009


def test_percepts_repeat_with_the_seed_and_never_hold_the_hole(cell: Cell) -> None:
    near, far = CellScene(hole_m=(0.001, 0.0)), CellScene(hole_m=(-0.004, 0.005))
    first, second, other = Senses(near, NOISE, 1), Senses(far, NOISE, 1), Senses(near, NOISE, 2)
    state = cell.state()
    for _ in range(3):
        one, two, three = (senses.perceive(state) for senses in (first, second, other))
    np.testing.assert_array_equal(one.housing_m, two.housing_m)
    np.testing.assert_array_equal(one.mount, two.mount)
    assert not np.array_equal(one.housing_m, three.housing_m)


def test_the_estimate_of_the_housing_is_never_exact_and_drifts_within_a_second(cell: Cell) -> None:
    scene, state = CellScene(), cell.state()
    senses = Senses(scene, NOISE, 5)
    errors_m = np.array([senses.perceive(state).housing_m - scene.housing_m for _ in range(200 * FPS)])
    assert errors_m.std() == pytest.approx(NOISE.vision_m, rel=0.2)
    kept = np.mean(errors_m[FPS:] * errors_m[:-FPS]) / np.mean(errors_m**2)
    assert kept == pytest.approx(np.exp(-1.0), abs=0.15)


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert wilson_interval(15, 40) == pytest.approx((0.2422, 0.5297), abs=1e-4)
    assert wilson_interval(40, 40)[1] == 1.0
    assert wilson_interval(40, 40)[0] == pytest.approx(0.9124, abs=1e-4)
    with pytest.raises(ValueError, match='0 trials'):
        wilson_interval(0, 0)


def test_a_pilot_that_begins_late_does_what_it_would_have_done_from_the_start(cell: Cell) -> None:
    scene, targets = draw_scene(100), []
    for begin_ns in (0, 5_000_000_000):
        cell.reset(scene)
        followed: list = []
        loop = SimpleNamespace(cell=cell, follow=followed.append)
        pilot = expert_pilot(loop, scene, 100)
        for tick in range(60):
            pilot.advance(begin_ns + tick * 5_000_000)
        targets.append(np.array([target.position_m for target in followed]))
    assert len(targets[0]) == 30, '100 a second'
    assert np.abs(targets[0] - targets[0][0]).max() > 0.005
    np.testing.assert_allclose(targets[1], targets[0], atol=1e-12)
