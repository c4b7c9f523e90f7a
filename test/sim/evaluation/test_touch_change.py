"""What a policy feels in place of what is there, frame by frame."""

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.sim.evaluation.touch_change import Strangers, TouchChange, felt_elsewhere, stranger_places
from restac_ros.training.evaluation.substitution import REFERENCE, SENSOR_STOPPED, SHUFFLED

CONTACT = [False, False, True, True, True, False, False, True]


def image_of(value: int) -> np.ndarray:
    return np.full((2, 3, 3), value, np.uint8)


FRAMES = [image_of(number) for number in range(len(CONTACT))]


def shown(kind: str | None, strangers: Strangers | None = None, seed: int = 0) -> list[int]:
    change = TouchChange(kind, strangers, seed)
    return [int(change.shown(frame, c)[0, 0, 0]) for frame, c in zip(FRAMES, CONTACT, strict=True)]


def test_each_substitution_is_that_of_the_offline_evaluation() -> None:
    assert shown(None) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert shown(REFERENCE) == [0] * 8
    # The last frame before the present contact or free stretch began.
    assert shown(SENSOR_STOPPED) == [0, 0, 1, 1, 1, 4, 4, 6]


def test_the_reference_is_without_contact_even_where_an_attempt_begins_with_some() -> None:
    change = TouchChange(REFERENCE, None, 0)
    found = [int(change.shown(FRAMES[i], in_contact)[0, 0, 0]) for i, in_contact in ((3, True), (4, True))]
    found += [int(change.shown(FRAMES[i], in_contact)[0, 0, 0]) for i, in_contact in ((5, False), (6, False))]
    assert found == [3, 3, 5, 5]


def test_shuffled_touch_is_of_others_in_the_same_phase_and_the_same_by_seed() -> None:
    contacts = {1: np.array([False, True, True]), 2: np.array([True, False])}
    images = {
        episode: [image_of(100 * episode + 10 * touched + i) for i, touched in enumerate(row)]
        for episode, row in contacts.items()
    }
    found = shown(SHUFFLED, Strangers(images, contacts))
    assert [value // 10 % 10 == 1 for value in found] == CONTACT
    assert {value // 100 for value in found} <= {1, 2}
    assert found == shown(SHUFFLED, Strangers(images, contacts))
    places = [stranger_places(contacts, seed) for seed in (0, 1)]
    assert (places[0] != places[1]).any()


def test_frames_of_the_experts_attempts_hold_both_phases(contract: Contract) -> None:
    strangers = felt_elsewhere(contract, seeds=(2_000_000,))
    assert set(strangers.images) == {1}
    contact = strangers.contacts[1]
    assert len(contact) == len(strangers.images[1]) > 50
    assert not contact[:10].any()
    assert contact.any()
    free, touching = (
        np.mean([strangers.images[1][i] for i in rows[:5]], axis=0)
        for rows in (np.flatnonzero(~contact), np.flatnonzero(contact)[5:])
    )
    assert np.abs(free - touching).mean() > 1.0
    with pytest.raises(AssertionError):
        TouchChange(SHUFFLED, None, 0)
