"""Makes the question for the next subtask, and its answer, of each frame."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Int

from restac_ros.model.joint_pass import TextTarget
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.prompts import PromptError
from restac_ros.policy.tokenizer import PromptTokenizer, TokenizerError
from restac_ros.training.batch import Lesson
from restac_ros.training.config import HierarchyConfig
from restac_ros.training.data.chunk_tokens import ChunkTokens
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
        """Return lengths that both fit into."""
        return LessonLengths(*(max(pair) for pair in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Lessons:
    """Makes lessons of frames of one data set.

    Attributes:
        hierarchy: the mode.
        preprocessor: the same as in deployment.
        tokenizer: of the texts.
        lengths: of all lessons of a run.
        tokens: makes tokens of chunks; None: not taught.
    """

    hierarchy: HierarchyConfig
    preprocessor: Preprocessor
    tokenizer: PromptTokenizer
    lengths: LessonLengths
    tokens: ChunkTokens | None = None

    def lesson(self, task: str, subtask: str, state: Float[np.ndarray, '7']) -> Lesson | None:
        """Return the question for the subtask and its answer, batch 1; None where the mode asks for none."""
        if self.hierarchy.mode == 'action_expert':
            return None
        question = self.preprocessor.prompting.question(task, state)
        answer = self.tokenizer.answer(subtask)
        return Lesson(
            *question.padded(self.lengths.question), TextTarget(*answer.padded(self.lengths.answer))
        )

    def within(self, task: str) -> str | None:
        """Return the task that the prompt for actions shows beside the subtask."""
        return task if self.hierarchy.prompt == 'joint' else None


def is_stated(episodes: Episodes, places: Int[np.ndarray, 'n 2']) -> Bool[np.ndarray, ' n']:
    """Return of which frames, by episode and frame, the subtask is stated."""
    tables = episodes.tables
    rows = np.array([tables.spans[episode].first + frame for episode, frame in places.tolist()], int)
    return np.asarray(tables.subtask_of_row[rows] >= 0)


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
