"""Model configurations: round trip, presets, and refusal of what cannot be built."""

import dataclasses
import json

import numpy as np
import pytest
from flax import nnx

from restac_ros.model.config import GemmaConfig, LogvarCalibration, ModelConfig
from restac_ros.model.presets import PRESETS
from restac_ros.model.restac import ResTacForceVLA, ResTacTokenInAE, create_model


@pytest.mark.parametrize('name', PRESETS)
def test_presets_survive_json(name: str) -> None:
    config = dataclasses.replace(PRESETS[name], logvar_calibration=LogvarCalibration(mean=-9.5, std=0.3))
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ('name', 'added'),
    [('pi05_restac', 15_771_139), ('pi05_restac_token_in_ae', 67_587)],
)
def test_published_sizes_add_the_published_number_of_values(name: str, added: int) -> None:
    """Beyond pi0.5's own parameters, with the published gate, as counted in the reference implementation."""
    config = dataclasses.replace(PRESETS[name], gate='scaled_necessity', tactile=None)
    state = nnx.state(nnx.eval_shape(lambda: create_model(config, nnx.Rngs(0))))
    total = sum(int(np.prod(leaf.shape)) for _, leaf in nnx.to_flat_state(state))
    assert total == 3_353_433_872 + added


@pytest.mark.parametrize('name', [name for name, config in PRESETS.items() if config.fusion != 'none'])
def test_presets_with_touch_hold_their_tactile_encoder(name: str) -> None:
    model = nnx.eval_shape(lambda: create_model(PRESETS[name], nnx.Rngs(0)))
    assert isinstance(model, ResTacForceVLA if PRESETS[name].fusion == 'forcevla' else ResTacTokenInAE)
    assert model.tactile is not None


_TINY = PRESETS['tiny']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'gate': 'neccesity'}, r"ModelConfig\.gate: found 'neccesity', expected one of \('necessity',"),
        ({'image_size': 225}, r'image_size: found 225, expected a multiple of patch_size = 14'),
        ({'action_horizon': 0}, r'action_horizon: found 0'),
        ({'fusion': 'none'}, r"tactile: found .* expected None, since fusion = 'none'"),
        ({'fusion': 'forcevla', 'fusion_heads': 7}, r'fusion_heads: found 7, expected a divisor'),
        ({'image_size': 112}, r'tactile: found .* expected a prophet that reads 3 views of image_size = 112'),
        ({'time_conditioning': 'concat'}, r"fusion: found 'token_in_ae', expected 'none'"),
        (
            {'action_expert': GemmaConfig(32, 3, 96, num_heads=4, num_kv_heads=1, head_dim=16)},
            r'action_expert: .* expected depth = 2, as in paligemma',
        ),
    ],
)
def test_contradictions_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(_TINY, **changes)


def test_heads_that_do_not_share_keys_are_refused() -> None:
    with pytest.raises(ValueError, match='num_kv_heads: found 4, expected a proper divisor of num_heads = 4'):
        GemmaConfig(32, 3, 96, num_heads=4, num_kv_heads=4, head_dim=16)


def test_an_unknown_entry_is_refused_by_name() -> None:
    data = _TINY.to_dict()
    data['fusion_dims'] = 3
    with pytest.raises(ValueError, match='fusion_dims'):
        ModelConfig.from_dict(data)


def test_a_wrong_type_is_refused_by_its_path() -> None:
    data = _TINY.to_dict()
    data['siglip']['depth'] = '2'
    with pytest.raises(ValueError, match=r"siglip\.depth: found '2', expected int"):
        ModelConfig.from_dict(data)
