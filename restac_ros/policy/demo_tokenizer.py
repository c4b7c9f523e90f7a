"""A tiny SentencePiece model for demonstrations, so that they need no download.

It knows PaliGemma's special tokens and splits digits and unknown characters as PaliGemma does, but its words
are those of a few dozen sentences: weights trained with PaliGemma's tokenizer must not be used with it.
"""

import io

import sentencepiece

MAX_PIECES = 512
"""Below every preset's vocabulary."""

_VERBS = ('pick up', 'place', 'insert', 'grasp', 'push', 'pull', 'rotate', 'wipe', 'press', 'align', 'lift')
_THINGS = (
    'the plug into the socket',
    'the key into the lock',
    'the peg into the hole',
    'the cable into the clip',
    'the cup on the table',
    'the red block',
    'the potato chip',
    'the whiteboard with the sponge',
    'the drawer with the left hand',
    'the light bulb',
    'the usb connector',
    'the button gently',
)
_PROMPTS = (
    'Task: ',
    ', State: 0 1 2 3 4 5 6 7 8 9 -1 128 255;\nAction: ',
    'follow the demonstration',
    'do nothing',
)


def train_demo_tokenizer() -> bytes:
    """Train on the built-in sentences; returns the serialised model, the same at every call."""
    sentences = [f'{verb} {thing}' for verb in _VERBS for thing in _THINGS]
    sentences += [prompt.replace('\n', ' ') for prompt in _PROMPTS]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=out,
        model_type='bpe',
        vocab_size=MAX_PIECES,
        hard_vocab_limit=False,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name='identity',
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        num_threads=1,
        minloglevel=2,
    )
    return out.getvalue()
