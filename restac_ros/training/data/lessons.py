"""What training by subtasks makes of a frame: the question for its subtask, and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from restac_ros.framing.values import STATE_DIM
from restac_ros.model.config import ModelConfig
from restac_ros.model.joint_pass import TextTarget
from restac_ros.policy.action_tokens import ActionCodec, ActionIds
from restac_ros.policy.fast import FastCodec, read_fast
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.prompts import PromptError
from restac_ros.policy.tokenizer import PromptTokenizer, TokenizerError
from restac_ros.training.batch import Lesson
from restac_ros.training.config import HierarchyConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.errors import TrainingError

TARGET_BUCKET = 8
"""Answers are padded to a multiple of this many tokens."""


class LessonLengths(NamedTuple):
    """Tokens that questions, answers and prompts for actions are padded to."""

    question: int
    answer: int
    prompt: int

    def longest(self, other: Self) -> 'LessonLengths':
        """Return what both fit into."""
        return LessonLengths(*(max(pair) for pair in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Lessons:
    """Makes lessons of frames of one data set.

    Attributes:
        hierarchy: the mode.
        preprocessor: the road that deployment takes, too.
        tokenizer: of the texts.
        lengths: of all lessons of a run.
        codec: of actions as tokens; None: they are not learnt so.
    """

    hierarchy: HierarchyConfig
    preprocessor: Preprocessor
    tokenizer: PromptTokenizer
    lengths: LessonLengths
    codec: ActionCodec | None = None

    def lesson(self, task: str, subtask: str, state: Float[np.ndarray, '7']) -> Lesson | None:
        """Return the question for the subtask and its answer, batch 1; None where the mode asks for none."""
        if self.hierarchy.mode == 'action_expert':
            return None
        question = self.preprocessor.prompting.question(task, state)
        answer = self.tokenizer.answer(subtask)
        return Lesson(
            *question.padded(self.lengths.question), TextTarget(*answer.padded(self.lengths.answer))
        )

    def codes(
        self, actions: Float32[np.ndarray, 'T D'], step_mask: Bool[np.ndarray, ' T']
    ) -> TextTarget | None:
        """Return a chunk of normalised actions as tokens and the end, batch 1; None: they are not learnt so.

        Of a chunk that reaches past the episode's end nothing is learnt: its mask is False.

        Raises:
            TrainingError: the chunk takes more tokens than there may be.
        """
        if self.codec is None:
            return None
        longest = self.hierarchy.max_action_tokens
        tokens, mask = np.zeros((1, longest), np.int32), np.zeros((1, longest), bool)
        if step_mask.all():
            ids = ActionIds(self.preprocessor.config.vocab_size).ids(
                self.codec.encode(actions[:, :STATE_DIM])
            )
            told = [*ids.tolist(), self.tokenizer.end]
            if len(told) > longest:
                raise TrainingError(
                    f'action tokens: found {len(told)} of a chunk, expected at most {longest}: raise '
                    '--hierarchy.max-action-tokens, or fit a vocabulary to these data (`fit-fast`)'
                )
            tokens[0, : len(told)], mask[0, : len(told)] = told, True
        return TextTarget(tokens, mask)

    def within(self, task: str) -> str | None:
        """Return what the prompt for actions shows beside the subtask."""
        return task if self.hierarchy.prompt == 'joint' else None


def read_codec(
    hierarchy: HierarchyConfig, tokenizer: PromptTokenizer, config: ModelConfig
) -> FastCodec | None:
    """Return the codec of actions as tokens; None where they are not learnt so.

    Raises:
        FastFileError: its files are absent or damaged.
        TrainingError: its tokens would lie on words of the tokenizer.
    """
    if hierarchy.fast is None:
        return None
    codec = read_fast(hierarchy.fast)
    lowest = int(ActionIds(config.vocab_size).ids(np.array([codec.vocab_size - 1]))[0])
    if tokenizer.vocab_size < config.vocab_size and lowest < tokenizer.vocab_size:
        raise TrainingError(
            f'{hierarchy.fast}: found {codec.vocab_size} tokens, expected at most '
            f'{codec.vocab_size - tokenizer.vocab_size + lowest}: the network has {config.vocab_size} ids, '
            f'of which {tokenizer.vocab_size} are words; fit a smaller vocabulary (`fit-fast --vocab-size`)'
        )
    return codec


def stated_places(episodes: Episodes, places: Int[np.ndarray, 'n 2']) -> Int[np.ndarray, 'm 2']:
    """Return those frames whose subtask is stated."""
    tables = episodes.tables
    rows = np.array([tables.spans[episode].first + frame for episode, frame in places.tolist()], int)
    return places[tables.subtask_of_row[rows] >= 0]


def lesson_lengths(
    hierarchy: HierarchyConfig, preprocessor: Preprocessor, tokenizer: PromptTokenizer, episodes: Episodes
) -> LessonLengths:
    """Return the longest texts that a data set's frames can become.

    Raises:
        TrainingError: no subtask is stated, or a text is empty or too long.
    """
    tables = episodes.tables
    if not tables.subtasks:
        raise TrainingError(
            f'{episodes.name}: found no subtask, expected some: hierarchy.mode = {hierarchy.mode!r} learns '
            'them; state them with `restac-ros annotate`, or import data that do'
        )
    prompting = preprocessor.prompting
    found = LessonLengths(0, 0, 0)
    pairs = np.unique(np.stack([tables.task_of_row, tables.subtask_of_row], axis=1), axis=0)
    for number, stated in pairs.tolist():
        if stated < 0:
            continue
        task, subtask = tables.tasks[number], tables.subtasks[stated]
        within = task if hierarchy.prompt == 'joint' else None
        try:
            prompts = prompting.possible_lengths(prompting.task(subtask, within))
            answer = len(tokenizer.answer(subtask).tokens)
            one = LessonLengths(max(prompting.question_lengths(task)), answer, max(prompts))
        except (PromptError, TokenizerError) as error:
            raise TrainingError(
                f'{episodes.name}: task {task[:60]!r}, subtask {subtask[:60]!r}: {error}'
            ) from error
        if answer > hierarchy.max_subtask_tokens:
            raise TrainingError(
                f'{episodes.name}: subtask {subtask[:60]!r}: found {answer} tokens with its end, expected at '
                f'most {hierarchy.max_subtask_tokens}: shorten it, or raise --hierarchy.max-subtask-tokens'
            )
        found = found.longest(one)
    padded = -(-found.answer // TARGET_BUCKET) * TARGET_BUCKET
    return found._replace(answer=padded)


def common_lengths(lengths: Sequence[LessonLengths]) -> LessonLengths:
    """Return what the lessons of all data sets fit into."""
    first, *others = lengths
    for other in others:
        first = first.longest(other)
    return first
