"""Does an input matter: paired comparisons of chunks with the input as recorded and with another one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from restac_ros.training.evaluation.action_error import Demonstrated
from restac_ros.training.evaluation.bootstrap import EpisodeBootstrap, Estimate
from restac_ros.training.evaluation.phases import PHASE_CONTACT
from restac_ros.training.evaluation.substitution import SHUFFLED

LEAST_EFFECT = 0.05
"""Of the action error: a smaller rise, however certain, is not called a use."""

_ONE_CONTACT = (
    'found frames in contact of one episode alone, expected them of two or more: there is no interval over '
    'episodes, and no other contact was evaluated that could be shown instead; evaluate more of the data'
)

UseVerdict = Literal['used', 'not used', 'not known']


@dataclass(frozen=True)
class Effect:
    """What a substitution does to chunks.

    Attributes:
        error: action error with the other input.
        by_dimension: the same over executed steps, in m, rad and mm, by name.
        rise: its relative rise over the error with the recorded input; frames paired.
        change: how far the chunks are apart, in the units of the action error.
    """

    error: Estimate
    by_dimension: Mapping[str, Estimate]
    rise: Estimate
    change: Estimate


@dataclass(frozen=True)
class TouchVerdict:
    """Whether touch is used, and the reason for that verdict."""

    verdict: UseVerdict
    reason: str


type Effects = dict[str, dict[str, Effect]]
"""By substitution, then by phase."""


def effects(
    demonstrated: Demonstrated,
    recorded: Float[np.ndarray, 'n T 7'],
    substituted: Mapping[str, Float[np.ndarray, 'n T 7']],
    phases: Mapping[str, Float[np.ndarray, ' n']],
    bootstrap: EpisodeBootstrap,
) -> Effects:
    """Compare the chunks of each substitution with those of the recorded input, frame by frame."""
    before = demonstrated.frame_error(recorded)
    found: Effects = {}
    for name, chunks in substituted.items():
        after, dimensions = demonstrated.frame_error(chunks), demonstrated.by_dimension(chunks)
        change = demonstrated.change(chunks, recorded)
        found[name] = {
            phase: Effect(
                error=bootstrap.mean(after, weights),
                by_dimension={dim: bootstrap.mean(values, weights) for dim, values in dimensions.items()},
                rise=bootstrap.ratio(after - before, before, weights),
                change=bootstrap.mean(change, weights),
            )
            for phase, weights in phases.items()
        }
    return found


def touch_verdict(touch: Effects) -> TouchVerdict:
    """Judge by contact: touch is used if the image of another contact makes actions worse.

    The images of other contacts are as likely as the right one. A policy that only notices *that* it touches
    something, or that follows touch to no use, does not get worse by them.
    """
    effect = touch[SHUFFLED].get(PHASE_CONTACT)
    if effect is None:
        return TouchVerdict('not known', 'no frame of the data is in contact')
    rise = effect.rise
    if not rise.has_interval:
        return TouchVerdict('not known', _ONE_CONTACT)
    measured = (
        f'touch of other contacts raises the action error in contact by {rise.value:.1%} '
        f'(95 %: {rise.low:.1%} to {rise.high:.1%})'
    )
    if rise.low > 0 and rise.value >= LEAST_EFFECT:
        return TouchVerdict('used', measured)
    wanted = f'expected at least {LEAST_EFFECT:.0%} and an interval above 0'
    return TouchVerdict('not used', f'{measured}; {wanted}')
