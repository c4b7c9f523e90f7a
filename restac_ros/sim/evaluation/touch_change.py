"""Other tactile frames in place of those that come, as the offline evaluation has them, frame by frame."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from restac_ros.contract.schema import Contract
from restac_ros.sim.cell.demonstration import Demonstration
from restac_ros.sim.evaluation.contact_trace import ContactTrace
from restac_ros.training.evaluation.phases import ChosenFrames
from restac_ros.training.evaluation.substitution import REFERENCE, SENSOR_STOPPED, SHUFFLED, strangers

type TactileImage = UInt8[np.ndarray, 'H W 3']

_THIS = 0  # number of the attempt itself among episodes
STRANGER_SEEDS = (2_000_000, 2_000_001, 2_000_002)  # scenes that frames of others come from
_STRANGER_S = 8.0
_CALLS = 2048  # then the strangers repeat


class Strangers(NamedTuple):
    """Tactile frames of other attempts, and whether each is in contact; by episode, from 1 on."""

    images: Mapping[int, list[TactileImage]]
    contacts: Mapping[int, Bool[np.ndarray, ' frames']]


class TouchChange:
    """What an attempt's policy gets to feel, in the order of the frames.

    Args:
        kind: a substitution; None: what is felt.
        strangers: frames of others, for 'shuffled' only.
        seed: of the choice among them.
    """

    def __init__(self, kind: str | None, strangers: Strangers | None, seed: int) -> None:
        self._kind, self._calls, self._strangers = kind, 0, strangers
        self._last: TactileImage | None = None  # the frame before
        self._kept: TactileImage | None = None  # what stands in
        self._was_in_contact: bool | None = None
        self._was_free = False
        self._places: Int[np.ndarray, 'n 2'] = np.empty((0, 2), int)
        if kind == SHUFFLED:
            assert strangers is not None
            self._places = stranger_places(strangers.contacts, seed)

    def shown(self, image: TactileImage, in_contact: bool) -> TactileImage:
        """Return what replaces the next frame for the policy; `in_contact`: true contact at its capture."""
        if self._kind is None:
            return image
        if self._strangers is None or self._kind != SHUFFLED:
            return self._stand_in(image, in_contact)
        episode, frame = self._places[(2 * self._calls + in_contact) % len(self._places)].tolist()
        self._calls += 1
        return self._strangers.images[episode][frame]

    def _stand_in(self, image: TactileImage, in_contact: bool) -> TactileImage:
        """Reference: the first frame without contact. A stopped sensor: the last of the stretch before."""
        free_now = self._kind == REFERENCE and not self._was_free and not in_contact
        if self._kept is None or free_now:
            self._kept = image
        elif self._kind == SENSOR_STOPPED and self._was_in_contact != in_contact and self._last is not None:
            self._kept = self._last
        self._last, self._was_in_contact = image, in_contact
        self._was_free = self._was_free or not in_contact
        return self._kept


def stranger_places(contacts: Mapping[int, Bool[np.ndarray, ' frames']], seed: int) -> Int[np.ndarray, 'n 2']:
    """Return episode and frame of strangers, two for each call: a free one, and one in contact.

    Args:
        contacts: by episode, numbered from 1.
        seed: of the choice.
    """
    own = np.tile([(_THIS, 0), (_THIS, 1)], (_CALLS, 1))
    places = np.concatenate([own, np.array([(number, 0) for number in contacts])])
    frames = ChosenFrames(places, np.ones(len(places)), None, np.zeros(len(places), bool))
    return strangers(frames, {_THIS: np.array([False, True]), **contacts}, seed)[: len(own)]


def felt_elsewhere(contract: Contract, seeds: Sequence[int] = STRANGER_SEEDS) -> Strangers:
    """Return the tactile frames of the expert's attempts in the scenes of `seeds`."""
    felt = [_felt_by_expert(contract, seed) for seed in seeds]
    return Strangers(
        {number: images for number, (images, _) in enumerate(felt, 1)},
        {number: contact for number, (_, contact) in enumerate(felt, 1)},
    )


def _felt_by_expert(contract: Contract, seed: int) -> tuple[list[TactileImage], Bool[np.ndarray, ' frames']]:
    demonstration, trace = Demonstration(contract, seed, cameras=False), ContactTrace()
    tactile = set(contract.by_role('tactile'))
    images, contact = [], []
    for reading in demonstration.readings(_STRANGER_S):
        trace.add(reading.publish_ns, demonstration.loop.cell.state().felt_force_n)
        if reading.stream in tactile and isinstance(reading.value, np.ndarray):
            images.append(reading.value)
            contact.append(trace.in_contact_at(reading.stamp_ns))
    return images, np.array(contact)
