"""The verdict on policies that are known to copy touch, to ignore it, or to follow it to no use."""

import numpy as np
import pytest

from restac_ros.training.data.episodes import Episodes
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.action_error import Demonstrated, phase_errors
from restac_ros.training.evaluation.bootstrap import EpisodeBootstrap
from restac_ros.training.evaluation.dependence import effects, touch_verdict
from restac_ros.training.evaluation.phases import ChosenFrames, choose_frames, evenly
from restac_ros.training.evaluation.substitution import substitutes

EPISODES, FRAMES, HORIZON = 12, 20, 6
FREE = -1.0
PATTERN = np.zeros(FRAMES, bool)
PATTERN[6:12] = PATTERN[15:18] = True


class World:
    """Episodes in which the right y is what touch shows in contact, and 0 in free space.

    Args:
        touching: episodes with contact, the first ones.
    """

    def __init__(self, touching: int = EPISODES) -> None:
        rng = np.random.default_rng(0)
        self.contact = {e: PATTERN & (e < touching) for e in range(EPISODES)}
        self.shown = {
            e: np.where(self.contact[e], rng.choice([-0.03, -0.01, 0.01, 0.03]), FREE)
            for e in range(EPISODES)
        }
        places = np.array([(e, f) for e in range(EPISODES) for f in range(FRAMES)])
        in_contact = np.concatenate([self.contact[e] for e in range(EPISODES)])
        self.frames = ChosenFrames(places, np.ones(len(places)), in_contact, np.zeros(len(places), bool))
        self.noise = rng.normal(0, 0.002, (len(places), HORIZON))
        self.demonstrated = Demonstrated(
            self.chunks(self.touch_at(places)),
            np.ones((len(places), HORIZON), bool),
            np.full(7, 0.05),
            executed=4,
        )
        self.bootstrap = EpisodeBootstrap(self.frames.episodes, 0)

    def touch_at(self, places: np.ndarray) -> np.ndarray:
        return np.array([self.shown[e][f] for e, f in places.tolist()])

    def chunks(self, touch: np.ndarray) -> np.ndarray:
        chunks = np.zeros((len(touch), HORIZON, 7))
        chunks[:, :, 1] = np.where(touch == FREE, 0.0, touch)[:, None]
        return chunks

    def verdict(self, policy) -> tuple[str, dict]:
        """`policy` gives y of each frame from the value that touch shows."""

        def act(places: np.ndarray) -> np.ndarray:
            chunks = np.zeros((len(places), HORIZON, 7))
            chunks[:, :, 1] = policy(self.touch_at(places))[:, None] + self.noise
            return chunks

        other = substitutes(self.frames, self.contact, delay=3, seed=0)
        found = effects(
            self.demonstrated,
            act(self.frames.places),
            {name: act(places) for name, places in other.items()},
            self.frames.phase_weights(),
            self.bootstrap,
        )
        return touch_verdict(found).verdict, found


@pytest.fixture(scope='module')
def world() -> World:
    return World()


def test_a_policy_that_copies_touch_uses_it(world: World) -> None:
    verdict, found = world.verdict(lambda touch: np.where(touch == FREE, 0.0, touch))
    assert verdict == 'used'
    assert found['shuffled']['contact'].rise.low > 1.0
    assert found['reference']['contact'].rise.low > 1.0
    assert found['shuffled']['free'].change.value == pytest.approx(0.0)


def test_a_policy_that_ignores_touch_does_not_use_it(world: World) -> None:
    verdict, found = world.verdict(lambda touch: np.zeros(len(touch)))
    assert verdict == 'not used'
    for effect in found.values():
        assert effect['contact'].rise == pytest.approx((0.0, 0.0, 0.0))
        assert effect['contact'].change.value == 0.0


def test_a_policy_that_follows_touch_to_no_use_does_not_use_it(world: World) -> None:
    def act(touch: np.ndarray) -> np.ndarray:
        """By the distance of the edge, which says nothing of the way to slide."""
        return np.where(touch == FREE, 0.0, np.where(np.abs(touch) > 0.02, 0.02, -0.02))

    verdict, found = world.verdict(act)
    assert verdict == 'not used'
    assert found['shuffled']['contact'].change.low > 0.01


def test_a_policy_that_only_notices_contact_does_not_use_what_is_felt(world: World) -> None:
    verdict, found = world.verdict(lambda touch: np.where(touch == FREE, 0.05, 0.0))
    assert verdict == 'not used'
    assert found['reference']['contact'].rise.low > 0.5, 'the sensor as such matters'


def test_without_contact_nothing_is_known(world: World) -> None:
    _, found = world.verdict(lambda touch: np.zeros(len(touch)))
    free = {name: {'free': effect['free']} for name, effect in found.items()}
    assert touch_verdict(free).verdict == 'not known'


@pytest.mark.parametrize(('touching', 'expected'), [(1, 'not known'), (2, 'used')])
def test_contact_in_a_single_episode_tells_nothing_of_other_contacts(touching: int, expected: str) -> None:
    """The policy copies touch; what it does where the contact is another one, one contact cannot tell."""
    world = World(touching)
    verdict, found = world.verdict(lambda touch: np.where(touch == FREE, 0.0, touch))
    rise = found['shuffled']['contact'].rise
    assert np.isnan([rise.low, rise.high]).all() == (expected == 'not known')
    assert verdict == expected
    assert found['shuffled']['free'].rise.has_interval


def test_the_reason_says_that_no_other_contact_could_be_shown() -> None:
    world = World(touching=1)
    _, found = world.verdict(lambda touch: np.where(touch == FREE, 0.0, touch))
    reason = touch_verdict(found).reason
    assert 'in contact of one episode alone, expected them of two or more' in reason
    assert 'no other contact was evaluated' in reason
    assert 'nan' not in reason


def test_substitutes_are_the_frames_they_are_called_by(world: World) -> None:
    other = substitutes(world.frames, world.contact, delay=3, seed=0)
    row = 1 * FRAMES + 8
    assert other['reference'][row].tolist() == [1, 0]
    assert other['frozen'][row].tolist() == [1, 5]
    assert other['frozen'][1 * FRAMES + 13].tolist() == [1, 11], 'it stopped in contact'
    assert other['frozen'][1 * FRAMES + 2].tolist() == [1, 0]
    assert other['delayed'][row].tolist() == [1, 5]
    assert other['delayed'][1 * FRAMES + 1].tolist() == [1, 0]
    for (episode, frame), (stranger, place) in zip(world.frames.places, other['shuffled'], strict=True):
        assert stranger != episode
        assert world.contact[stranger][place] == world.contact[episode][frame]
    again = substitutes(world.frames, world.contact, delay=3, seed=0)
    assert all((again[name] == places).all() for name, places in other.items())


def test_an_episode_in_contact_from_end_to_end_has_no_reference(world: World) -> None:
    with pytest.raises(TrainingError, match=r'episode 2: found contact in every frame'):
        substitutes(world.frames, world.contact | {2: np.ones(FRAMES, bool)}, delay=1, seed=0)


def test_errors_are_in_units_the_short_way_round_and_over_executed_steps() -> None:
    mask = np.array([[True, True, True, False]] * 4)
    target = np.zeros((4, 4, 7))
    target[..., 3] = 3.1
    demonstrated = Demonstrated(target, mask, np.array([0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.04]), executed=4)
    chunks = np.zeros((4, 4, 7))
    chunks[..., 0], chunks[..., 1], chunks[..., 6] = 0.03, 0.04, 0.01
    chunks[..., 3] = -3.1
    chunks[:, 3] = 1e6  # past the end
    units = {name: values[0] for name, values in demonstrated.in_units(chunks).items()}
    turn = 2 * np.pi - 6.2
    assert units == pytest.approx({'position_m': 0.05, 'rotation_rad': turn, 'gripper_mm': 10.0})
    expected = (0.3 + 0.4 + turn / 0.2 + 0.25) / 7
    assert demonstrated.frame_error(chunks) == pytest.approx(np.full(4, expected))
    bootstrap = EpisodeBootstrap(np.arange(4), 0)
    (error,) = phase_errors(demonstrated, chunks, {'all': np.ones(4)}, bootstrap).values()
    assert error.by_dimension['ee_y'].value == pytest.approx(0.04)
    assert error.by_horizon[2] == pytest.approx([0.03, 0.04, 0, turn, 0, 0, 10.0])
    assert np.isnan(error.by_horizon[3]).all()


def test_without_a_gripper_no_error_counts_its_opening() -> None:
    scale = np.array([0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.04])
    demonstrated = Demonstrated(np.zeros((4, 4, 7)), np.ones((4, 4), bool), scale, executed=4, dims=6)
    chunks = np.zeros((4, 4, 7))
    chunks[..., 0], chunks[..., 6] = 0.03, 1e3
    assert demonstrated.frame_error(chunks) == pytest.approx(np.full(4, 0.3 / 6))
    assert demonstrated.change(chunks, np.zeros((4, 4, 7))) == pytest.approx(np.full(4, 0.3 / 6))
    (error,) = phase_errors(
        demonstrated, chunks, {'all': np.ones(4)}, EpisodeBootstrap(np.arange(4), 0)
    ).values()
    assert list(error.in_units) == ['position_m', 'rotation_rad']
    assert list(error.by_dimension) == ['ee_x', 'ee_y', 'ee_z', 'ee_rot_x', 'ee_rot_y', 'ee_rot_z']
    assert error.by_horizon[0] == pytest.approx([0.03, 0, 0, 0, 0, 0])


def test_an_event_of_the_gripper_is_a_change_within_the_executed_steps(episodes: Episodes) -> None:
    """Frame by frame, step by step; a target of the last frames may be missing."""
    chosen = choose_frames(episodes, [1, 2], None, most=1000, executed=2)
    assert chosen.contact is None
    for (episode, frame), event in zip(chosen.places.tolist(), chosen.gripper, strict=True):
        span = episodes.tables.spans[episode]
        opening = episodes.state[span.first + frame, 6]
        steps = range(frame, min(frame + 2, span.length))
        changes = [abs(episodes.actions[span.first + step, 6] - opening) for step in steps]
        assert event == (max(changes) > 0.005), (episode, frame)
    assert 0 < chosen.gripper.sum() < len(chosen)


def test_frames_are_taken_evenly_and_stand_for_those_left_out() -> None:
    contact = np.arange(1000) % 10 == 0
    rows, weights = evenly(contact, 300)
    assert len(rows) == 300
    assert (contact[rows].sum(), weights[contact[rows]].sum(), weights.sum()) == pytest.approx(
        (100, 100, 1000)
    )
    assert (np.diff(rows) > 0).all()
    every, ones = evenly(contact, 5000)
    assert len(every) == 1000
    assert (ones == 1).all()
