"""What to do next, in words: the same network as the policy's, asked with another prompt, token by token."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, UInt8

from restac_ros.model.checkpoint.provenance import Subtasks
from restac_ros.model.text_decoding import GREEDY, TokenChoice
from restac_ros.policy.errors import NonFiniteError, PolicyError
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.stages import Stages
from restac_ros.policy.tokenizer import PromptTokenizer


@dataclass(frozen=True)
class SaidSubtask:
    """The next subtask as the network generated it.

    Attributes:
        text: cleaned up; may be empty.
        task: that it is a part of.
        stamp_ns: capture time of the images, ns.
        mean_log_probability: of its tokens, the end included; the sayable ones share 1.
        ended: the network ended it itself; False: it was cut off at the longest subtask.
        num_tokens: generated, the end included.
    """

    text: str
    task: str
    stamp_ns: int
    mean_log_probability: float
    ended: bool
    num_tokens: int


class SubtaskPlanner:
    """Asks a policy's network for the next subtask. Made by `Policy.planner`.

    It holds no weights of its own. Calls may come from any one thread beside the policy's. Where tokens are
    drawn, equal seeds and numbers of the question give equal draws.

    Attributes:
        taught: how the network was taught.

    Raises:
        PolicyError: the network was not taught subtasks.
    """

    def __init__(
        self,
        stages: Stages,
        inputs: Preprocessor,
        tokenizer: PromptTokenizer,
        taught: Subtasks | None,
        choice: TokenChoice = GREEDY,
        seed: int = 0,
    ) -> None:
        if taught is None or not taught.says:
            raise PolicyError(
                'planner: found a network that was not trained to generate subtasks, expected one that was: '
                '`restac-ros train pi05_hierarchical` or `pi05_planar` teaches it'
            )
        self.taught = taught
        self._stages, self._inputs, self._tokenizer = stages, inputs, tokenizer
        self._sayable = tokenizer.sayable(inputs.config.vocab_size)
        self._choice, self._key, self._questions = choice, jax.random.key(seed), itertools.count()

    def prepare(self, task: str) -> tuple[int, ...]:
        """Compile all that asking about this task can need; returns the padded lengths of its questions.

        Raises:
            PromptError, TokenizerError: an empty task, or one that is too long for the network.
        """
        lengths = self._inputs.prompting.question_lengths(task)
        for length in lengths:
            self._stages.compile_saying(length, self.taught.max_tokens, self._tokenizer.end, self._choice)
        jax.random.fold_in(self._key, 0)  # compiled at its first call
        return lengths

    def ask(
        self,
        images: Mapping[str, UInt8[np.ndarray, '224 224 3']],
        state: Float[np.ndarray, '7'],
        task: str,
        stamp_ns: int,
        before_token: Callable[[], bool] = lambda: True,
    ) -> SaidSubtask | None:
        """Return what is to be done next.

        Args:
            images: valid images by camera stream, as of `Policy.encode_prefix`.
            state: raw.
            task: in words.
            stamp_ns: capture time of the images, ns; carried through.
            before_token: called before every token, so that other calls run first; False ends it.

        Returns:
            The subtask, or None: it was ended.

        Raises:
            ObservationError: a bad or missing input, named.
            PromptError, TokenizerError: a task that cannot be asked about.
            NonFiniteError: the network gave NaN or infinity.
        """
        self.prepare(task)
        question = self._inputs.prompting.question(task, state)
        length = self._inputs.prompting.padded_length(question)
        tokens, mask = question.padded(length)
        result = self._stages.encode_prefix(*self._inputs.images(images), tokens, mask)
        if not result.finite:
            raise NonFiniteError('planner: the prefix holds NaN or infinity; the weights are damaged')
        saying = self._stages.begin_saying(result.cache, tokens, mask)
        key = jax.random.fold_in(self._key, next(self._questions))
        said: list[int] = []
        log_probabilities: list[float] = []
        ended = False
        while not ended and len(said) < self.taught.max_tokens:
            if not before_token():
                return None
            saying, one = self._stages.say(length, result.cache, saying, self._sayable, key)
            token = jax.device_get(one)
            said.append(int(token.token[0]))
            log_probabilities.append(float(token.log_probability[0]))
            ended = said[-1] == self._tokenizer.end
        if not np.isfinite(log_probabilities).all():
            raise NonFiniteError('planner: a token has a probability that is no number')
        text = self._tokenizer.text(said)
        return SaidSubtask(text, task, stamp_ns, float(np.mean(log_probabilities)), ended, len(said))
