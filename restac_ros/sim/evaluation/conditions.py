"""What is changed in an attempt: nothing, the output of touch, or the cell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from restac_ros.training.evaluation.sampling import GATES
from restac_ros.training.evaluation.substitution import REFERENCE, SENSOR_STOPPED, SHUFFLED

AS_IT_IS = 'as it is'

type Group = Literal['none', 'touch', 'cell']


@dataclass(frozen=True)
class Condition:
    """One change. Lengths in m, angles in rad.

    Attributes:
        name: in tables and file names.
        text: what it is, for people.
        touch: substitution of the tactile image, as in the offline evaluation; None: as it is.
        gate: value at which the gate stands; None: the network's own.
        housing_m: largest move of the housing along x and along y, during the approach.
        grasp_m, grasp_rad: largest displacement along the hand's x and z, and turn, of the plug in the grasp.
        occluded: camera slot that shows something else; None: none.
        delay_ms: added to the duration of each of the policy's calls.
        prefix_ms: duration of the prefix at least: it is then up to about twice as old when it is used.
    """

    name: str
    text: str
    touch: str | None = None
    gate: float | None = None
    housing_m: float = 0.0
    grasp_m: float = 0.0
    grasp_rad: float = 0.0
    occluded: str | None = None
    delay_ms: float = 0.0
    prefix_ms: float = 0.0

    @property
    def group(self) -> Group:
        """Whether touch is changed, which a policy without touch cannot be asked for, or the cell."""
        if self.touch is not None or self.gate is not None:
            return 'touch'
        return 'none' if self.name == AS_IT_IS else 'cell'


CONDITIONS: dict[str, Condition] = {
    one.name: one
    for one in (
        Condition(AS_IT_IS, 'nothing is changed'),
        Condition(
            'touch shuffled',
            "frames of the expert's attempts in other scenes: contact for contact, free for free",
            touch=SHUFFLED,
        ),
        Condition(
            'touch frozen', 'the last frame before the present contact or free stretch', touch=SENSOR_STOPPED
        ),
        Condition('touch reference', 'the first frame without contact, all the time', touch=REFERENCE),
        *(Condition(name, f'the gate stands at {value:g}', gate=value) for name, value in GATES.items()),
        Condition('housing moved', 'housing and hole move by up to 2 cm during the approach', housing_m=0.02),
        Condition(
            'grasp moved',
            'the plug sits up to 5 mm and 10 degrees off between the pads',
            grasp_m=0.005,
            grasp_rad=math.radians(10.0),
        ),
        Condition('camera occluded', 'the main camera sees a grey thing in front', occluded='base_0_rgb'),
        Condition('latency', '100 ms are added to each call of the policy', delay_ms=100.0),
        Condition('old prefix', 'a prefix takes 450 ms: it is up to 1 s old', prefix_ms=450.0),
    )
}
"""All, in the order of tables; the first is what the others are compared with."""


def wanted_conditions(names: Sequence[str], uses_touch: bool) -> list[Condition]:
    """Return conditions by name that a policy can be asked for; names must be in CONDITIONS."""
    return [one for name, one in CONDITIONS.items() if name in names and (uses_touch or one.group != 'touch')]
