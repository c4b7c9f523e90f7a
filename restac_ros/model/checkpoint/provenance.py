"""Where a checkpoint comes from and what was measured for it: the typed parts of its manifest."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from restac_ros.model.tactile.strict import StrictConfig

_EPISODE_DIGITS = 16  # hex: 64 bits tell episodes apart


@dataclass(frozen=True)
class _Provenance(StrictConfig):
    @classmethod
    def from_stored(cls, data: Mapping[str, Any], where: str) -> Self:
        """Rebuild from JSON; entries that an older version did not write have their defaults.

        Raises:
            TactileConfigError: an unknown entry, a required one that is missing, or one of another type.
        """
        fields = dataclasses.fields(cls)
        defaults = {one.name: one.default for one in fields if one.default is not dataclasses.MISSING}
        return cls.from_dict({**defaults, **data}, where)


@dataclass(frozen=True)
class Subtasks(_Provenance):
    """How a network was taught to work by subtasks, and must be asked.

    Attributes:
        says: it generates the next subtask of a task.
        acts: it acts by subtasks; False: by whatever its base weights did.
        prompt: actions are asked for with 'subtask', or with 'joint': the task and the subtask.
        state_bins: rule by which the state in its prompts became whole numbers.
        max_tokens: most tokens of a subtask, the end included.
        action_tokens: it generates chunks of actions, too: 'bins', one for each value, or 'fast', by the
            tokenizer in the checkpoint; '': it does not.
        max_action_tokens: most tokens of a chunk, the end included.
    """

    says: bool
    acts: bool
    prompt: str = 'subtask'
    state_bins: str = 'openpi'
    max_tokens: int = 64
    action_tokens: str = ''
    max_action_tokens: int = 0


@dataclass(frozen=True)
class Origin(_Provenance):
    """How a checkpoint was made.

    Attributes:
        made_by: command that wrote it.
        weights: where the base weights came from, in words or as a path.
        seed: of what was drawn at random; None where nothing was.
        step: training steps since the base weights.
        unit_align: where the tactile encoder was read; None where the encoder is the base's or new.
        max_simulated_delay: longest delay, in steps of a chunk, that training simulated; 0 for none.
        ema_decay: of the moving average that the weights are; None: they are those of the last step.
        data: of each data set it was trained on, directory and fingerprint.
        subtasks: what it learnt of subtasks; None: nothing.
        flow_steps: Euler steps that it was distilled to; None: it learnt the flow itself.
        episodes: `episode_digest` of each episode that it, or what it began with, was trained on; sorted.
        all_episodes: these are all; False: there may be others, as older versions recorded none.
    """

    made_by: str
    weights: str = 'not stated'
    seed: int | None = None
    step: int = 0
    unit_align: str | None = None
    max_simulated_delay: int = 0
    ema_decay: float | None = None
    data: tuple[str, ...] = ()
    subtasks: Subtasks | None = None
    flow_steps: int | None = None
    episodes: tuple[str, ...] = ()
    all_episodes: bool = False

    @property
    def knows_episodes(self) -> bool:
        """Whether every episode that it was trained on is recorded; there is none without data."""
        return self.all_episodes or not self.data


def episode_digest(key: str) -> str:
    """Short form of an episode's key, SHA-256 in hex."""
    return key[:_EPISODE_DIGITS]


@dataclass(frozen=True)
class ContactCalibration(_Provenance):
    """What a gate's threshold and temperature were set by: frames in free space and in contact.

    Attributes:
        threshold, temperature: of the gate, on standardised logvar.
        free_below, contact_above: gate values that the frames were to lie below and above.
        share: of the frames of either kind that do.
        free_frames, contact_frames: how many were measured.
        auroc: probability that logvar of a frame in contact is above that of a free one.
        labels: where contact was read from: 'tactile image', or a column of the data set.
        codes_used, perplexity: rows of the codebook that occurred, and their effective number; None of an
            encoder without one.
        data: of each data set, directory and fingerprint.
    """

    threshold: float
    temperature: float
    free_below: float
    contact_above: float
    share: float
    free_frames: int
    contact_frames: int
    auroc: float
    labels: str
    codes_used: int | None
    perplexity: float | None
    data: tuple[str, ...]


@dataclass(frozen=True)
class GateCalibration(_Provenance):
    """Mean and standard deviation of logvar that the gate is standardised by.

    Attributes:
        samples: tactile frames that were measured.
        source: what they were.
        contact: what set threshold and temperature; None where they are as trained.
    """

    mean: float
    std: float
    samples: int = 0
    source: str = 'not stated'
    contact: ContactCalibration | None = None
