"""Chunks of actions as texts that the language expert learns beside subtasks: FAST, or a bin for each value.

As in pi0.5's pre-training (arXiv 2504.16054) and knowledge insulation (arXiv 2505.23705).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from restac_ros.framing.values import STATE_DIM
from restac_ros.model.joint_pass import TextTarget
from restac_ros.policy.action_sentences import ActionSentences, sentences_behind
from restac_ros.policy.action_tokens import ActionTokenError, BinCodec
from restac_ros.policy.fast import PROCESSOR_FILE, TOKENIZER_FILE, FastFileError, read_fast
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.tokenizer import PromptTokenizer
from restac_ros.training.config import BINS_AS_TOKENS
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.errors import TrainingError

_BUCKET = 8
"""Sentences are padded to a multiple of this many tokens."""


@dataclass(frozen=True)
class ChunkTokens:
    """Makes targets of chunks.

    Attributes:
        sentences: of the network's vocabulary; `longest` is what all are padded to.
    """

    sentences: ActionSentences

    def target(
        self, actions: Float[np.ndarray, 'T D'], step_mask: Bool[np.ndarray, ' T']
    ) -> TextTarget[np.ndarray]:
        """Return a chunk of normalised, padded actions as a target, batch 1.

        A chunk that reaches past the episode's end is no target: its tokens mix what was done and what not.
        """
        tokens = np.zeros((1, self.sentences.longest), np.int32)
        length = 0
        if step_mask.all():
            said = self.sentences.sentence(actions[:, :STATE_DIM])
            length = len(said)
            tokens[0, :length] = said
        return TextTarget(tokens, np.arange(self.sentences.longest)[None] < length)


def chunk_tokens(
    asked: str, roads: Sequence[Preprocessor], words: PromptTokenizer, opened: Sequence[Episodes]
) -> ChunkTokens | None:
    """Return what makes tokens of chunks, with room for the longest in the data; None where not asked for.

    Raises:
        TrainingError: no tokenizer there, no room in the vocabulary, or a chunk that has no tokens.
    """
    if not asked:
        return None
    config = roads[0].config
    try:
        codec = BinCodec() if asked == BINS_AS_TOKENS else read_fast(Path(asked))
        room = sentences_behind(roads[0].prompting, codec, words, config.vocab_size)
        lengths = [
            len(room.sentence(chunk))
            for road, episodes in zip(roads, opened, strict=True)
            for chunk in _chunks(road, episodes)
        ]
    except (ActionTokenError, FastFileError) as error:
        raise TrainingError(f'hierarchy.action-tokens {asked}: {error}') from error
    if not lengths:
        raise TrainingError(
            f'hierarchy.action-tokens {asked}: found no episode of {config.action_horizon} frames or more, '
            'expected some: a chunk is that long, and one cut off at the end of its episode is not taught'
        )
    longest = -(-max(lengths) // _BUCKET) * _BUCKET
    return ChunkTokens(replace(room, longest=longest))


def token_files(asked: str) -> dict[str, bytes]:
    """Return the contents of the files of the FAST tokenizer asked for, by name; empty for other tokens."""
    if asked in ('', BINS_AS_TOKENS):
        return {}
    return {name: (Path(asked) / name).read_bytes() for name in (TOKENIZER_FILE, PROCESSOR_FILE)}


def _chunks(road: Preprocessor, episodes: Episodes) -> Iterator[Float[np.ndarray, 'T 7']]:
    horizon = road.config.action_horizon
    for span in episodes.tables.spans.values():
        for row in range(span.first, span.first + span.length - horizon + 1):
            made = road.actions(episodes.actions[row : row + horizon], episodes.state[row])
            yield made[:, :STATE_DIM]
