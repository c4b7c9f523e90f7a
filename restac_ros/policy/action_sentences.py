"""Chunks of actions as a language model generates them: 'Action: ', the tokens of the chunk, '|' and the end.

It is openpi's and LeRobot's layout of pi0-FAST's answers, behind the prompt for actions.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32

from restac_ros.model.checkpoint.provenance import Subtasks
from restac_ros.model.checkpoint.store import ACTION_TOKENS
from restac_ros.policy.action_tokens import ActionCodec, ActionIds, ActionTokenError, BinCodec
from restac_ros.policy.fast import FastCodec, read_fast
from restac_ros.policy.prompting import Prompting
from restac_ros.policy.tokenizer import PromptTokenizer

OPENING, CLOSING = 'Action: ', '|'


@dataclass(frozen=True)
class ActionSentences:
    """Both ways between chunks and sentences of one language model; nothing is kept between calls.

    Attributes:
        codec: of the chunks.
        where: its codes in the vocabulary.
        opening, closing: ids before and behind the codes.
        longest: ids of a whole sentence that there is room for.
    """

    codec: ActionCodec
    where: ActionIds
    opening: tuple[int, ...]
    closing: tuple[int, ...]
    longest: int

    @classmethod
    def of(
        cls,
        codec: ActionCodec,
        where: ActionIds,
        tokenizer: PromptTokenizer,
        longest: int,
        opening: str = OPENING,
    ) -> Self:
        """Return sentences in the words of a tokenizer; `opening` is '' where the prompt ends with it.

        Raises:
            TokenizerError: it has no end-of-sequence token.
            ActionTokenError: codes would lie on the tokenizer's text, or outside the vocabulary.
        """
        begin, closing = tokenizer.pieces(opening), tokenizer.pieces(CLOSING, ended=True)
        lowest = int(where.ids(np.array([codec.vocab_size - 1]))[0])
        # PaliGemma's own fill the vocabulary: its last stand for places and segments of images.
        text = tokenizer.vocab_size if tokenizer.vocab_size < where.vocab_size else max(*begin, *closing) + 1
        if lowest < text:
            raise ActionTokenError(
                f'action tokens: found ids from {lowest} on, expected {text} or more, as those below are '
                f'text: the vocabulary of {where.vocab_size} has no room for {codec.vocab_size} codes'
            )
        return cls(codec, where, begin, closing, longest)

    def sentence(self, actions: Float[np.ndarray, 'T D']) -> Int32[np.ndarray, ' n']:
        """Return the ids of a chunk of normalised actions.

        Raises:
            ActionTokenError: it cannot be encoded, or there is no room for its ids: nothing is cut off.
        """
        ids = self.where.ids(self.codec.encode(actions))
        made = np.concatenate([self.opening, ids, self.closing]).astype(np.int32)
        if len(made) > self.longest:
            raise ActionTokenError(
                f'actions: found {len(made)} tokens, expected at most {self.longest}: shorten the chunk, or '
                'fit a coarser tokenizer'
            )
        return made

    def actions(self, said: Int[np.ndarray, ' n'], steps: int, dims: int) -> Float64[np.ndarray, 'T D']:
        """Return the normalised actions of a sentence.

        Raises:
            ActionTokenError: it is not begun or ended as a sentence is, or stands for no chunk.
        """
        ids = np.asarray(said, np.int64)
        first, last = len(self.opening), len(self.closing)
        begun, ended = tuple(ids[:first].tolist()), tuple(ids[max(first, len(ids) - last) :].tolist())
        if begun != self.opening or ended != self.closing:
            raise ActionTokenError(
                f'action tokens: found {len(ids)} ids from {list(begun)} to {list(ended)}, expected '
                f'{list(self.opening)} to {list(self.closing)}: the text was cut off, or is no chunk'
            )
        codes = self.where.codes(ids[first : len(ids) - last], self.codec.vocab_size)
        return self.codec.decode(codes, steps, dims)

    def sayable(self) -> Bool[np.ndarray, ' V']:
        """Return which ids may stand in a sentence: generation masks the others."""
        kept = np.zeros(self.where.vocab_size, bool)
        kept[self.where.ids(np.arange(self.codec.vocab_size))] = True
        kept[[*self.opening, *self.closing]] = True
        return kept


def sentences_behind(
    prompting: Prompting, codec: ActionCodec, words: PromptTokenizer, vocab_size: int
) -> ActionSentences:
    """Return sentences of any length behind a network's prompts for actions, in its vocabulary.

    Raises:
        TokenizerError, ActionTokenError: see `ActionSentences.of`.
    """
    opening = '' if prompting.holds_state else OPENING  # a prompt with the state ends with these words
    return ActionSentences.of(codec, ActionIds(vocab_size), words, vocab_size, opening)


def taught_sentences(
    taught: Subtasks | None, path: Path, prompting: Prompting, words: PromptTokenizer, vocab_size: int
) -> ActionSentences | None:
    """Return the sentences that the network of a checkpoint was taught; None: it generates no actions.

    Args:
        taught: what the checkpoint declares.
        path: its directory.
        prompting, words: of its prompts.
        vocab_size: of the network.

    Raises:
        ActionTokenError, FastFileError: the checkpoint declares others than it holds.
    """
    if taught is None or not taught.action_tokens:
        return None
    if taught.action_tokens not in (BinCodec.kind, FastCodec.kind):
        raise ActionTokenError(
            f'{path}: found action tokens {taught.action_tokens!r}, expected {BinCodec.kind!r} or '
            f'{FastCodec.kind!r}: update restac_ros to run it'
        )
    codec: ActionCodec = (
        BinCodec() if taught.action_tokens == BinCodec.kind else read_fast(path / ACTION_TOKENS)
    )
    behind = sentences_behind(prompting, codec, words, vocab_size)
    return replace(behind, longest=taught.max_action_tokens)
