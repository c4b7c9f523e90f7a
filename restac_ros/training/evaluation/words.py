"""What a network that was trained on subtasks generates for frames: the subtask, and actions as tokens.

Its chunks are planned by the subtask that the data state, and once more by the one that it says itself, as on
the robot. Unusable answers are counted, and plan no chunk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from restac_ros.framing.values import STATE_DIM
from restac_ros.model.observation import Observation
from restac_ros.model.prefix import PrefixCache
from restac_ros.model.present import present
from restac_ros.policy.action_sentences import ActionSentences
from restac_ros.policy.action_tokens import ActionTokenError
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.prompting import Task
from restac_ros.policy.prompts import PromptError, clean
from restac_ros.policy.tokenizer import TokenizerError
from restac_ros.training.data.episodes import EpisodeSample
from restac_ros.training.evaluation.action_error import Demonstrated
from restac_ros.training.evaluation.bootstrap import EpisodeBootstrap, Estimate
from restac_ros.training.evaluation.network import EvaluatedNetwork
from restac_ros.training.evaluation.subject import Subject


class SaidText(NamedTuple):
    """The text generated for a frame, and whether the network ended it itself."""

    text: str
    ended: bool


@dataclass(frozen=True)
class SaidFrames:
    """Texts generated for the frames; rows of `chunks` are NaN where an answer is unusable.

    Attributes:
        right: the subtask is the stated one, to the letter and with its end.
        ended: the network ended it itself.
        chunks: planned by the generated subtask, as raw deltas.
    """

    right: Bool[np.ndarray, ' n']
    ended: Bool[np.ndarray, ' n']
    chunks: Float[np.ndarray, 'n T 7']


@dataclass(frozen=True)
class SubtaskFigures:
    """How good the subtasks are, and what is done by them.

    Attributes:
        right, ended: shares of frames: see `SaidFrames`.
        usable: share of frames whose generated subtask can plan a chunk.
        by_subtask: share that is right of the frames of each subtask.
        stated_error, said_error: action error of chunks by the stated and by the said subtask; of the usable
            frames, None without any.
        rise: of the second over the first, relative, frames and noise paired.
    """

    right: Estimate
    ended: Estimate
    usable: float
    by_subtask: Mapping[str, float]
    stated_error: Estimate | None
    said_error: Estimate | None
    rise: Estimate | None


@dataclass(frozen=True)
class SaidActionFigures:
    """Actions that the language expert generates, beside those of the action expert.

    Attributes:
        kind: 'bins' or 'fast'.
        readable: share of frames whose tokens stand for a chunk; the robot holds at the others.
        error, flow_error: action error of the tokens' chunks, and of the action expert's at the same frames;
            None where none is readable.
    """

    kind: str
    readable: float
    error: Estimate | None
    flow_error: Estimate | None


class Speaker:
    """Asks the network of a checkpoint, a batch at a time.

    Args:
        subject, inputs, network: the checkpoint; `inputs` are those of the policy that a robot runs.
    """

    def __init__(self, subject: Subject, inputs: Preprocessor, network: EvaluatedNetwork) -> None:
        self._subject, self._inputs, self._network = subject, inputs, network

    def task(self, sample: EpisodeSample, said: str | None = None) -> Task:
        """Return what a frame's chunk is planned by: the task, the stated subtask, or the one that was said.

        Raises:
            PromptError, TokenizerError: what was said cannot be prompted with.
        """
        lessons = self._subject.lessons
        if lessons is None:
            return self._inputs.prompting.task(sample.task)
        text = present(sample.subtask, 'subtask') if said is None else said
        return self._inputs.prompting.task(text, lessons.within(sample.task))

    def subtasks(
        self, observation: Observation[np.ndarray], samples: Sequence[EpisodeSample]
    ) -> list[SaidText]:
        """Return the likeliest subtask of each frame, generated token by token."""
        lessons, tokenizer = present(self._subject.lessons, 'lessons'), self._subject.tokenizer
        asked = [
            self._inputs.prompting.question(sample.task, sample.state).padded(lessons.lengths.question)
            for sample in samples
        ]
        tokens, mask = (np.concatenate(parts) for parts in zip(*asked, strict=True))
        cache = self._network.prefix(
            observation._replace(tokenized_prompt=tokens, tokenized_prompt_mask=mask)
        )
        most = lessons.hierarchy.max_subtask_tokens
        said = self._network.said(cache, tokens, mask, self._sayable, tokenizer.end, most)
        return [SaidText(tokenizer.text(row.tolist()), bool((row == tokenizer.end).any())) for row in said]

    def prompted(self, sample: EpisodeSample, said: SaidText) -> Task | None:
        """Return what a robot would act by after an answer; None: by nothing new."""
        if not said.ended:
            return None
        try:
            return self.task(sample, said.text)
        except (PromptError, TokenizerError):
            return None

    def right(self, samples: Sequence[EpisodeSample], said: Sequence[SaidText]) -> Bool[np.ndarray, ' n']:
        """Return which answers are the stated subtask, with their end."""
        pairs = zip(samples, said, strict=True)
        return np.array(
            [one.ended and one.text == clean(present(of.subtask, 'subtask')) for of, one in pairs]
        )

    def token_chunks(
        self, sentences: ActionSentences, cache: PrefixCache, observation: Observation[np.ndarray]
    ) -> Float[np.ndarray, 'B T 7']:
        """Return normalised chunks generated as tokens by the language expert; NaN where they are none."""
        config, end = self._inputs.config, self._subject.tokenizer.end
        said = self._network.said(
            cache,
            observation.tokenized_prompt,
            observation.tokenized_prompt_mask,
            sentences.sayable(),
            end,
            sentences.longest,
        )
        chunks = np.full((len(said), config.action_horizon, STATE_DIM), np.nan)
        for row, tokens in zip(chunks, said, strict=True):
            ends = np.flatnonzero(tokens == end)
            try:
                row[:] = sentences.actions(tokens[: ends[0] + 1] if len(ends) else tokens, *row.shape)
            except ActionTokenError:
                continue
        return chunks

    @cached_property
    def _sayable(self) -> Bool[np.ndarray, ' V']:
        return self._subject.tokenizer.sayable(self._subject.config.vocab_size)


def subtask_figures(
    said: SaidFrames,
    stated: Sequence[str],
    demonstrated: Demonstrated,
    recorded: Float[np.ndarray, 'n T 7'],
    weights: Float[np.ndarray, ' n'],
    bootstrap: EpisodeBootstrap,
) -> SubtaskFigures:
    """Measure the texts generated for frames.

    Args:
        said: of each frame.
        stated: subtask of each frame, as the data state it.
        demonstrated: what was done.
        recorded: chunks planned by the stated subtask.
        weights: how many frames of the data each stands for.
        bootstrap: over episodes.
    """
    of, right = np.array(stated), said.right.astype(np.float64)
    before, after, usable = _paired(demonstrated, recorded, said.chunks, weights)
    anything = bool(usable.any())
    return SubtaskFigures(
        right=bootstrap.mean(right, weights),
        ended=bootstrap.mean(said.ended.astype(np.float64), weights),
        usable=float(usable.sum() / weights.sum()),
        by_subtask={
            text: float(np.average(right[of == text], weights=weights[of == text]))
            for text in dict.fromkeys(stated)
        },
        stated_error=bootstrap.mean(before, usable) if anything else None,
        said_error=bootstrap.mean(after, usable) if anything else None,
        rise=bootstrap.ratio(after - before, before, usable) if anything else None,
    )


def said_action_figures(
    kind: str,
    chunks: Float[np.ndarray, 'n T 7'],
    demonstrated: Demonstrated,
    recorded: Float[np.ndarray, 'n T 7'],
    weights: Float[np.ndarray, ' n'],
    bootstrap: EpisodeBootstrap,
) -> SaidActionFigures:
    """Measure chunks that were generated as tokens, NaN where there are none; see `subtask_figures`."""
    flow, error, readable = _paired(demonstrated, recorded, chunks, weights)
    anything = bool(readable.any())
    return SaidActionFigures(
        kind=kind,
        readable=float(readable.sum() / weights.sum()),
        error=bootstrap.mean(error, readable) if anything else None,
        flow_error=bootstrap.mean(flow, readable) if anything else None,
    )


def _paired(
    demonstrated: Demonstrated,
    one: Float[np.ndarray, 'n T 7'],
    other: Float[np.ndarray, 'n T 7'],
    weights: Float[np.ndarray, ' n'],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Action errors of both, and the weights of those frames for which there is the other."""
    there = np.isfinite(other).all(axis=(1, 2))
    return demonstrated.frame_error(one), demonstrated.frame_error(other), np.where(there, weights, 0.0)
