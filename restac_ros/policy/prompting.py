"""The task as the network's prompt: tokenised once, or with the state at every call; and how far padded."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from restac_ros.framing.values import STATE_DIM
from restac_ros.model.config import ModelConfig
from restac_ros.model.observation import check_vector, prompt_bucket
from restac_ros.policy.normalization import Quantiles
from restac_ros.policy.prompts import StateBins, joint_prompt, subtask_prompt
from restac_ros.policy.tokenizer import Prompt, PromptTokenizer

# States below the range, at its lower end and above it print as -1, 0 and 255.
_EXTREMES = tuple(np.full(STATE_DIM, value) for value in (-2.0, -1.0, 2.0))


class Task(NamedTuple):
    """A prompt's text and tokens; replaced as a whole, so that a call reads either the old or the new one."""

    text: str
    prompt: Prompt | None  # None where the state enters the prompt, which is then made per call
    revision: int = 0  # changes before this one
    within: str | None = None  # the task that this is a part of, where the prompt shows both


class Prompting:
    """Prompts of one model: `state_input` decides what is in them, the longest prompt how they are padded.

    `bins` is the rule by which the model was taught to read its state as whole numbers.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: PromptTokenizer,
        state_stats: Quantiles,
        bins: StateBins = 'openpi',
    ) -> None:
        self._bins: StateBins = bins
        self._config, self._tokenizer, self._state_stats = config, tokenizer, state_stats

    @property
    def holds_state(self) -> bool:
        """Whether the state is part of the prompt."""
        return self._config.state_input == 'prompt'

    def task(self, text: str, within: str | None = None) -> Task:
        """Return a task in words as one that can be prompted for, whatever the state.

        Args:
            text: what to do.
            within: the task that it is a part of, where the network is shown both.

        Raises:
            PromptError, TokenizerError: an empty text, or one that is too long for the network.
        """
        if self.holds_state:
            self._extreme_prompts(text, within)
            return Task(text, None, within=within)
        shown = text if within is None else f'{within.strip()}: {text.strip()}'
        return Task(text, self._tokenizer.encode(shown), within=within)

    def prompt(self, task: Task, state: Float[np.ndarray, '7'] | None) -> Prompt:
        """Return the task's prompt; `state` is raw, and needed where it is part of the prompt.

        Raises:
            ObservationError: the state is needed and missing or bad.
        """
        if task.prompt is not None:
            return task.prompt
        return self._encoded(task.text, task.within, self._normalised(state))

    def question(self, task: str, state: Float[np.ndarray, '7'] | None) -> Prompt:
        """Return the prompt for the next subtask of a task; `state` is raw.

        Raises:
            ObservationError: the state is missing or bad.
            PromptError, TokenizerError: an empty task, or one that is too long for the network.
        """
        return self._asked(task, self._normalised(state))

    def question_lengths(self, task: str) -> tuple[int, ...]:
        """Padded lengths that the question for a task's next subtask can have, whatever the state.

        Raises:
            PromptError, TokenizerError: an empty task, or one that is too long for the network.
        """
        return self._lengths([self._asked(task, one) for one in _EXTREMES])

    def padded_length(self, prompt: Prompt) -> int:
        """Smallest compiled length that holds the prompt. Padding changes no result."""
        longest = self._config.max_prompt_tokens
        if self._config.legacy_unmasked_fusion:  # that attention reads padded positions
            return longest
        return prompt_bucket(len(prompt.tokens), longest)

    def possible_lengths(self, task: Task) -> tuple[int, ...]:
        """Padded lengths that the task's prompt can have, for every state."""
        if task.prompt is not None:
            return (self.padded_length(task.prompt),)
        return self._lengths(self._extreme_prompts(task.text, task.within))

    def _lengths(self, prompts: Sequence[Prompt]) -> tuple[int, ...]:
        used = [self.padded_length(prompt) for prompt in prompts]
        longest = self._config.max_prompt_tokens
        every = {prompt_bucket(n, longest) for n in range(1, longest + 1)}
        return tuple(sorted(n for n in every if min(used) <= n <= max(used)))

    def _extreme_prompts(self, text: str, within: str | None) -> list[Prompt]:
        """Return the prompts of states that print shortest and longest."""
        return [self._encoded(text, within, state) for state in _EXTREMES]

    def _encoded(self, text: str, within: str | None, state: Float[np.ndarray, '7']) -> Prompt:
        if within is None:
            return self._tokenizer.encode(text, state, self._bins)
        return self._tokenizer.tokenized(joint_prompt(within, text, state, self._bins))

    def _asked(self, task: str, state: Float[np.ndarray, '7']) -> Prompt:
        return self._tokenizer.tokenized(subtask_prompt(task, state, self._bins))

    def _normalised(self, state: Float[np.ndarray, '7'] | None) -> Float[np.ndarray, '7']:
        return self._state_stats.normalize(check_vector('state', state, STATE_DIM))
