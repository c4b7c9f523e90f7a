"""The texts that the network is prompted with, and the state in them as whole numbers.

pi0.5 (Physical Intelligence 2025, arXiv 2504.16054) asks one network twice: from the task in words to the
next subtask, and from the subtask to actions. All texts of both are made here, to the letter.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from restac_ros.model.checkpoint.provenance import Subtasks
from restac_ros.policy.errors import PolicyError

StateBins = Literal['openpi', 'guide']
"""How a normalised state becomes whole numbers: a network must be asked as it was trained."""
WIDEST_STATE = 32
"""Numbers of a state that pi0.5's text has room for: its action dimension."""

_EDGES = np.linspace(-1, 1, 257)[:-1]


class PromptError(ValueError):
    """A text or a state that cannot be prompted with; the message names the value and what is expected."""


def clean(task: str) -> str:
    """openpi's clean-up: surrounding space off, underscores and line feeds to spaces, case kept."""
    return task.strip().replace('_', ' ').replace('\n', ' ')


def discretize(state: Float[np.ndarray, ' D']) -> Int[np.ndarray, ' D']:
    """Return openpi's bins of a normalised state: 0 to 255 over [-1, 1], below -1 is -1, above 1 is 255."""
    return np.digitize(state, _EDGES) - 1


def discretize_by_guide(state: Float[np.ndarray, ' D']) -> Int[np.ndarray, ' D']:
    """Return floor((x + 1) * 128) of a normalised state, at least 0 and at most 255, computed in its dtype.

    It differs from openpi's rule below -1, and where the sum rounds: float32 -1e-9 is 128, not 127.
    """
    scaled = np.floor((np.clip(state, -1, 1) + 1) * 128)
    return np.minimum(scaled, 255).astype(np.int64)


_RULES: Mapping[StateBins, Callable[[np.ndarray], np.ndarray]] = {
    'openpi': discretize,
    'guide': discretize_by_guide,
}


def state_text(state: Float[np.ndarray, ' D'], bins: StateBins = 'openpi') -> str:
    """Return a normalised, unpadded state as whole numbers between spaces.

    Raises:
        PromptError: it is no vector of 1 to 32 finite numbers.
    """
    if state.ndim != 1 or not 0 < len(state) <= WIDEST_STATE:
        raise PromptError(
            f'state: found shape {state.shape}, expected a vector of 1 to {WIDEST_STATE} numbers: give the '
            'state before it is padded, and only what moves'
        )
    if not np.isfinite(state).all():
        place = int(np.flatnonzero(~np.isfinite(state))[0])
        raise PromptError(f'state[{place}]: found {state[place]}, expected a finite number')
    return ' '.join(map(str, _RULES[bins](state).tolist()))


def state_prompt(task: str, state: Float[np.ndarray, ' D'], bins: StateBins = 'openpi') -> str:
    """Return the prompt for actions: of pi0.5's flat policy, and of a subtask alone."""
    return f'{_head(task, state, bins)}Action: '


def subtask_prompt(task: str, state: Float[np.ndarray, ' D'], bins: StateBins = 'openpi') -> str:
    """Return the prompt for the next subtask of a high-level task."""
    return f'{_head(task, state, bins)}Subtask: '


def joint_prompt(task: str, subtask: str, state: Float[np.ndarray, ' D'], bins: StateBins = 'openpi') -> str:
    """Return the prompt for actions that shows both the high-level task and the subtask."""
    return f'{subtask_prompt(task, state, bins)}{_words("subtask", subtask)};\nAction: '


def taught_bins(taught: Subtasks | None) -> StateBins:
    """Return the rule by which a network was taught to read its state; without subtasks, openpi's.

    Raises:
        PolicyError: a rule that is not known here.
    """
    found = 'openpi' if taught is None else taught.state_bins
    for rule in _RULES:
        if found == rule:
            return rule
    raise PolicyError(
        f'state_bins: found {found!r} in the checkpoint, expected one of {", ".join(_RULES)}: update '
        'restac_ros to run it'
    )


def _head(task: str, state: Float[np.ndarray, ' D'], bins: StateBins) -> str:
    return f'Task: {_words("task", task)}, State: {state_text(state, bins)};\n'


def _words(what: str, text: str) -> str:
    """Return the text cleaned up; an empty one is an error, as the network would be asked for anything."""
    if not (cleaned := clean(text)).strip():
        raise PromptError(f'{what}: found an empty text, expected words such as "insert the plug"')
    return cleaned
