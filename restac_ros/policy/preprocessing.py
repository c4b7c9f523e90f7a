"""Between the robot's units and the network's: the same code for recorded rows and live frames.

A row or a frame becomes an `Observation`: cameras in their slots, state normalised and padded, the task as
tokens; `action_prev` passes in raw units. Targets become actions: delta from the current state, normalised,
padded; and the network's actions come back as deltas in raw units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from restac_ros.contract.schema import Contract
from restac_ros.framing.values import STATE_DIM
from restac_ros.geometry.delta import DeltaRule
from restac_ros.model.checkpoint.store import NORM_STATS, CheckpointInfo
from restac_ros.model.config import ModelConfig
from restac_ros.model.errors import ObservationError
from restac_ros.model.observation import Observation, check_array, check_vector, make_observation
from restac_ros.policy.compatibility import check_fit
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.normalization import NormStats
from restac_ros.policy.prompting import Prompting, Task
from restac_ros.policy.prompts import StateBins, taught_bins
from restac_ros.policy.tokenizer import PromptTokenizer

type Images = Mapping[str, UInt8[np.ndarray, 'H W 3']]


@dataclass(frozen=True)
class Preprocessor:
    """What turns raw values into network inputs, and back; a batch has one row.

    Attributes:
        config: the network's sizes and switches.
        slot_of: camera stream -> the network's image slot.
        rule: how actions are written as deltas.
        stats: normalisation statistics of state and delta actions.
        prompting: the task as tokens.
    """

    config: ModelConfig
    slot_of: Mapping[str, str]
    rule: DeltaRule
    stats: NormStats
    prompting: Prompting

    @classmethod
    def from_contract(
        cls,
        contract: Contract,
        config: ModelConfig,
        stats: NormStats,
        tokenizer: PromptTokenizer,
        bins: StateBins = 'openpi',
    ) -> Self:
        """Return the preprocessor that the contract and the checkpoint's parts define; see `Prompting`."""
        slot_of = {name: stream.slot for name, stream in contract.by_role('camera').items()}
        rule = DeltaRule(contract.rotation.convention, contract.action.delta)
        return cls(config, slot_of, rule, stats, Prompting(config, tokenizer, stats.state, bins))

    def observation(
        self,
        images: Images,
        state: Float[np.ndarray, '7'],
        task: str,
        tactile: UInt8[np.ndarray, 'h w 3'] | None = None,
        action_prev: Float[np.ndarray, '7'] | None = None,
        within: str | None = None,
    ) -> Observation[np.ndarray]:
        """Return a row or frame as a checked observation of batch 1, on the host.

        `within` is the task that `task` is a part of, where the network is shown both.

        Raises:
            ObservationError: a bad or missing input, named.
            TokenizerError: an empty task, or one too long for the network.
        """
        pixels, valid, tokens, token_mask = self.prefix(images, self.prompting.task(task, within), state)
        return make_observation(
            self.config,
            images=pixels,
            image_masks=valid,
            state=self.state(state),
            tokenized_prompt=tokens,
            tokenized_prompt_mask=token_mask,
            tactile=None if tactile is None else self.tactile(tactile),
            action_prev=None if action_prev is None else self.action_prev(action_prev),
        )

    def prefix(
        self, images: Images, task: Task, state: Float[np.ndarray, '7'] | None
    ) -> tuple[
        dict[str, UInt8[np.ndarray, '1 H W 3']],
        dict[str, Bool[np.ndarray, '1']],
        Int32[np.ndarray, '1 n'],
        Bool[np.ndarray, '1 n'],
    ]:
        """Return pixels and validity by slot, and the prompt's tokens and mask, padded to a compiled length.

        Raises:
            ObservationError: see `images`; or the state is part of the prompt, and missing or bad.
        """
        prompt = self.prompting.prompt(task, state)
        return *self.images(images), *prompt.padded(self.prompting.padded_length(prompt))

    def images(
        self, images: Images
    ) -> tuple[dict[str, UInt8[np.ndarray, '1 H W 3']], dict[str, Bool[np.ndarray, '1']]]:
        """Return pixels and validity by slot.

        A camera without a valid image is hidden from the network by its mask; its pixels are never read.

        Raises:
            ObservationError: an unknown stream, no image at all, another shape or dtype, or a missing camera
                where touch is used, whose prior reads all of them.
        """
        size = self.config.image_size
        known = ', '.join(self.slot_of)
        if not images:
            raise ObservationError(f'images: found none, expected some of {known}')
        for name, image in images.items():
            if name not in self.slot_of:
                raise ObservationError(f'images: unknown camera stream {name!r}; known: {known}')
            check_array(f'images[{name}]', image, (size, size, 3), (np.uint8,))
        missing = [name for name in self.slot_of if name not in images]
        if missing and self.config.uses_touch:
            raise ObservationError(
                f'images: {", ".join(missing)} missing; the tactile prior reads every camera: hold until '
                'all are there'
            )
        hidden = np.zeros((size, size, 3), np.uint8)
        pixels = {slot: images.get(name, hidden)[None] for name, slot in self.slot_of.items()}
        return pixels, {slot: np.array([name in images]) for name, slot in self.slot_of.items()}

    def state(self, state: Float[np.ndarray, '7'] | None) -> Float32[np.ndarray, '1 D']:
        """Return the state normalised and padded."""
        return self._padded(self.stats.state.normalize(check_vector('state', state, STATE_DIM)))[None]

    def tactile(self, image: UInt8[np.ndarray, 'h w 3']) -> UInt8[np.ndarray, '1 h w 3']:
        """Return the tactile image as a batch."""
        return check_array('tactile', image, self.config.tactile_shape, (np.uint8,))[None]

    def action_prev(self, change: Float[np.ndarray, '7'] | None) -> Float32[np.ndarray, '1 7']:
        """Return the last change of the state as a batch, in raw units."""
        return check_vector('action_prev', change, STATE_DIM).astype(np.float32)[None]

    def actions(
        self, targets: Float[np.ndarray, 'T 7'], state: Float[np.ndarray, '7']
    ) -> Float32[np.ndarray, 'T D']:
        """Return absolute target states as the actions that the network learns from `state`."""
        return self.actions_from_deltas(self.rule.deltas(targets, check_vector('state', state, STATE_DIM)))

    def actions_from_deltas(self, deltas: Float[np.ndarray, 'T 7']) -> Float32[np.ndarray, 'T D']:
        """Return raw deltas normalised and padded."""
        return self._padded(self.stats.actions.normalize(deltas))

    def deltas_from_actions(self, actions: Float32[np.ndarray, 'T D']) -> Float[np.ndarray, 'T 7']:
        """Return the network's actions as raw deltas, float64: the inverse of `actions_from_deltas`."""
        return self.stats.actions.unnormalize(actions[..., :STATE_DIM])

    def _padded(self, values: Float[np.ndarray, '*batch 7']) -> Float32[np.ndarray, '*batch D']:
        padded = np.zeros((*values.shape[:-1], self.config.action_dim), np.float32)
        padded[..., : values.shape[-1]] = values
        return padded


def inputs_of(
    info: CheckpointInfo, contract: Contract, tokenizer: PromptTokenizer, source: str
) -> Preprocessor:
    """Return the preprocessor of a checkpoint, whose path is `source`, under a contract.

    Raises:
        NormStatsError: bad statistics.
        PolicyError: contract or tokenizer do not fit the checkpoint.
    """
    check_fit(info, contract, source)
    if tokenizer.vocab_size > info.config.vocab_size:
        raise PolicyError(
            f'{tokenizer.source}: found {tokenizer.vocab_size} pieces, expected at most '
            f'{info.config.vocab_size} as the model embeds; give the tokenizer the model was trained with'
        )
    stats = NormStats.from_dict(info.norm_stats, f'{source}/{NORM_STATS}', STATE_DIM)
    bins = taught_bins(info.origin.subtasks)
    return Preprocessor.from_contract(contract, info.config, stats, tokenizer, bins)


def stack(observations: Sequence[Observation[np.ndarray]]) -> Observation[np.ndarray]:
    """Return one batch of several observations of one preprocessor; prompts are padded to the longest."""
    length = max(one.tokenized_prompt.shape[1] for one in observations)

    def to_length(row: Any) -> Any:
        return np.pad(row, ((0, 0), (0, length - row.shape[1])))

    rows = [
        one._replace(
            tokenized_prompt=to_length(one.tokenized_prompt),
            tokenized_prompt_mask=to_length(one.tokenized_prompt_mask),
        )
        for one in observations
    ]
    batch: Observation[np.ndarray] = jax.tree.map(lambda *values: np.concatenate(values), *rows)
    return batch
