"""Golden models: the reference implementations' parameters, inputs and outputs, for our networks."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from restac_ros.model.checkpoint.network import assemble
from restac_ros.model.config import GemmaConfig, ModelConfig, SiglipConfig
from restac_ros.model.observation import CAMERA_SLOTS, Observation, make_observation
from restac_ros.model.pi05 import Pi05
from restac_ros.model.tactile.interface import NO_CODE, TactileCode


def load_into_model(config: ModelConfig, parameters: Mapping[str, np.ndarray]) -> Pi05:
    """A model of exactly these parameters, by '/'-joined name."""
    arrays = {name: jax.tree.map(jnp.asarray, value) for name, value in parameters.items()}
    return nnx.merge(*assemble(config, arrays, source='test'))


@dataclasses.dataclass(frozen=True)
class Golden:
    """One reference file."""

    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays whose key starts with `prefix`, without it."""
        return {key.removeprefix(prefix): self.arrays[key] for key in self.arrays if key.startswith(prefix)}

    def config(self, **changes: Any) -> ModelConfig:
        """The sizes of this file, with `changes`."""
        meta = self.meta
        fields = ('width', 'depth', 'mlp_dim', 'num_heads', 'num_kv_heads', 'head_dim')
        siglip = {name: meta['siglip'][name] for name in ('width', 'depth', 'mlp_dim', 'num_heads')}
        return ModelConfig(
            paligemma=GemmaConfig(*(meta['paligemma'][name] for name in fields)),
            action_expert=GemmaConfig(*(meta['action_expert'][name] for name in fields)),
            siglip=SiglipConfig(**siglip, patch_size=meta['siglip']['patch']),
            vocab_size=meta['vocab'],
            image_size=meta['image'],
            max_prompt_tokens=meta['max_token_len'],
            action_dim=meta['action_dim'],
            action_horizon=meta['horizon'],
            dtype=meta['dtype'],
            **{'state_input': 'none', **changes},
        )

    def observation(self, config: ModelConfig, case: str | None = None, **changes: Any) -> Observation:
        """The file's inputs; ResTac files have several cases of prompt and camera masks."""
        images = self.under('in/images/') or self.under('in/images_u8/')
        prefix = 'in/' if case is None else f'in/{case}/'
        fields = {
            'images': images,
            'image_masks': {slot: self[f'{prefix}image_masks/{slot}'] for slot in CAMERA_SLOTS},
            'state': self['in/state'],
            'tokenized_prompt': self[f'{prefix}tokenized_prompt'],
            'tokenized_prompt_mask': self[f'{prefix}tokenized_prompt_mask'],
        }
        if config.uses_touch:  # these files give the code itself; the image is only there to be complete
            batch = len(fields['state'])
            fields['tactile'] = np.zeros((batch, *config.tactile_shape), np.uint8)
            fields['action_prev'] = self['in/action_prev']
        return make_observation(config, **{**fields, **changes})

    @property
    def touch(self) -> TactileCode:
        """The event code and uncertainty that the reference was given."""
        q_event = jnp.asarray(self['in/q_event'])
        no_code = jnp.full(len(q_event), NO_CODE, jnp.int32)
        return TactileCode(q_event, no_code, jnp.asarray(self['in/logvar']), q_event, None, None, None)

    def parameters(self, gate_set: str | None = None) -> dict[str, np.ndarray]:
        """All parameters, with one of the stored gates."""
        gate = {} if gate_set is None else self.under(f'gate_params/{gate_set}/')
        return self.under('params/') | {f'gate/{name}': value for name, value in gate.items()}


def read_golden(path: Path) -> Golden:
    """A reference file."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files if key != 'meta/json'}
        return Golden(arrays, json.loads(str(file['meta/json'])))
