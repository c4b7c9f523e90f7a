"""The tactile configuration: strict JSON round trip, and sizes that fit together."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restac_ros.model.tactile.config import (
    CNN,
    UNIT_ALIGN,
    UNIT_ALIGN_TINY,
    EncoderConfig,
    EventConfig,
    ProphetConfig,
    QuantizerConfig,
    TactileConfig,
)
from restac_ros.model.tactile.errors import TactileConfigError


@pytest.mark.parametrize('config', [UNIT_ALIGN, UNIT_ALIGN_TINY, CNN])
def test_presets_survive_json(config: TactileConfig) -> None:
    assert TactileConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(
    ch=st.integers(1, 8),
    mults=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    views=st.integers(1, 4),
    fusion=st.sampled_from(['concat', 'mean']),
    codes=st.integers(1, 512),
    metric=st.sampled_from(['l2', 'cosine']),
)
@settings(max_examples=50, deadline=None)
def test_any_valid_configuration_survives_json(
    ch: int, mults: list[int], views: int, fusion: str, codes: int, metric: str
) -> None:
    config = TactileConfig(
        tactile_size=(16, 24),
        encoder=EncoderConfig(ch=4 * ch, ch_mult=tuple(mults), norm_groups=4),
        prophet=ProphetConfig(num_views=views, view_fusion=fusion),
        quantizer=QuantizerConfig(num_codes=codes, metric=metric),
    )
    assert TactileConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.latent_size == (16 // 2 ** (len(mults) - 1), 24 // 2 ** (len(mults) - 1))
    assert config.view_feature_dim == 512 * (views if fusion == 'concat' else 1)


def test_published_sizes() -> None:
    assert UNIT_ALIGN.latent_size == (16, 20)
    assert UNIT_ALIGN.view_feature_dim == 1536
    assert UNIT_ALIGN.encoder.widths == (128, 128, 256, 512)
    assert UNIT_ALIGN.prophet.num_fusion_layers == 2
    assert UNIT_ALIGN.tactile_shape == (128, 160, 3)


def bent(*keys: str, value: Any) -> dict[str, Any]:
    """The published configuration with one entry replaced."""
    data = UNIT_ALIGN.to_dict()
    section = data
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    return data


@pytest.mark.parametrize(
    ('data', 'part'),
    [
        (bent('encoder', 'ch', value=128.0), 'TactileConfig.encoder.ch: found 128.0, expected int'),
        (bent('encoder', 'ch', value=True), 'TactileConfig.encoder.ch: found True, expected int'),
        (bent('encoder', 'chanels', value=1), "TactileConfig.encoder: unknown keys ['chanels']"),
        (bent('encoder', 'ch_mult', value=[1, '2']), "TactileConfig.encoder.ch_mult[1]: found '2'"),
        (bent('encoder', value=[1]), 'TactileConfig.encoder: expected a mapping, found list'),
        (bent('kind', value='resnet'), "TactileConfig.kind: found 'resnet'"),
        (bent('tactile_size', value=[128]), 'TactileConfig.tactile_size: found [128]'),
        (bent('tactile_size', value=[100, 160]), 'found (100, 160), expected positive multiples'),
        (bent('prophet', 'dropout', value=1.0), 'ProphetConfig.dropout: found 1.0'),
        (bent('prophet', 'dropout', value=float('nan')), 'TactileConfig.prophet.dropout: found nan'),
        (bent('quantizer', 'num_codes', value=0), 'QuantizerConfig.num_codes: found 0'),
        (
            bent('encoder', 'num_res_blocks', value=10**9),
            'num_res_blocks: found 1000000000, expected at most',
        ),
        (bent('encoder', 'ch_mult', value=[1] * 9), 'EncoderConfig.ch_mult: found (1, 1, 1'),
        (bent('encoder', 'ch_mult', value=[]), 'EncoderConfig.ch_mult: found ()'),
        (bent('prophet', 'fusion_depth', value=10**9), 'fusion_depth: found 1000000000, expected 2 to 64'),
        (bent('torchscript_sha256', value='abc'), "unknown keys ['torchscript_sha256']"),
        ({'kind': 'cnn'}, "missing keys ['tactile_size'"),
    ],
)
def test_what_is_wrong_is_named(data: dict[str, Any], part: str) -> None:
    with pytest.raises(TactileConfigError) as caught:
        TactileConfig.from_dict(data)
    assert part in str(caught.value)


def test_an_empty_option_that_was_removed_is_no_fault() -> None:
    assert TactileConfig.from_dict(bent('torchscript_sha256', value=None)) == TactileConfig()


def test_widths_must_split_into_norm_groups() -> None:
    with pytest.raises(TactileConfigError, match='multiples of norm_groups=32'):
        EncoderConfig(ch=48)
    with pytest.raises(TactileConfigError, match='a multiple of 8'):
        EventConfig(width=12)


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        UNIT_ALIGN.kind = 'cnn'
