"""Sizes of a Unit-Align checkpoint: from its `hyper_parameters` and, where they are silent, its tensors."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from restac_ros.model.tactile.config import (
    EncoderConfig,
    EventConfig,
    ProphetConfig,
    QuantizerConfig,
    TactileConfig,
)
from restac_ros.model.tactile.errors import TactileConfigError

# Values that change the arithmetic, each with the only one that this implementation computes.
_REQUIRED_VALUES: dict[str, dict[str, Any]] = {
    'ddconfig': {'double_z': False, 'resamp_with_conv': True},
    'prophet_config': {'visual_backbone': 'resnet18', 'history_len': 1},
    'residual_vq_config': {'use_ema': True},
}
# Values by which the published modules are built where the file does not state them.
_DEFAULTS: dict[str, dict[str, Any]] = {
    'ddconfig': {'double_z': True, 'resamp_with_conv': True, 'dropout': 0.0, 'norm_groups': 32},
    'prophet_config': {
        'visual_backbone': 'resnet18',
        'history_len': 1,
        'action_dim': 7,
        'num_views': 3,
        'view_fusion': 'concat',
        'latent_shape': (3, 16, 20),
        'bottleneck_resolution': (16, 20),
        'hidden_dims': (128,),
        'mid_dim': 256,
        'fusion_depth': 3,
    },
    'residual_vq_config': {
        'use_ema': True,
        'beta': 0.25,
        'ema_decay': 0.99,
        'ema_epsilon': 1e-5,
        'metric': 'l2',
    },
}
# Sizes that the published code does not vary; files of ours state them, there and in 'event_config'.
_EVENT_DEFAULTS: dict[str, Any] = {'num_blocks': 3, 'norm_groups': 8}
# Read below, besides the keys with a default.
_STATED = {
    'ddconfig': (
        'ch',
        'ch_mult',
        'num_res_blocks',
        'attn_resolutions',
        'resolution',
        'in_channels',
        'z_channels',
    ),
    'prophet_config': (),
    'residual_vq_config': ('n_e', 'e_dim'),
}
# Known to have no bearing here: the decoder's width, where weights came from, what was frozen in training.
_HARMLESS: dict[str, tuple[str, ...]] = {
    'ddconfig': ('out_ch',),
    'prophet_config': ('visual_pretrained', 'freeze_visual_backbone'),
    'residual_vq_config': (),
}
_DROPOUT = 0.1  # fixed in the published prophet


class StatedSizes(NamedTuple):
    """A configuration and the hyper-parameters of its sections that had no part in it."""

    config: TactileConfig
    ignored: list[str]


def config_from_hyper_parameters(
    hyper_parameters: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> StatedSizes:
    """Return the sizes a checkpoint was trained with; the codebook's are those of its tensor.

    Raises:
        TactileConfigError: a section or key is missing, mistyped, contradicts the tensors, or asks for a
            variant whose arithmetic is another.
    """
    if hyper_parameters.get('use_event_encoder') is not True:
        found = hyper_parameters.get('use_event_encoder')
        raise TactileConfigError(
            f'hyper_parameters.use_event_encoder: found {found!r}, expected True; a checkpoint without event '
            'encoder quantizes another vector'
        )
    dd, prophet, vq = (_section(hyper_parameters, name) for name in _DEFAULTS)
    latent = prophet['latent_shape']
    if not isinstance(latent, list | tuple) or len(latent) != 3 or latent[0] != dd['z_channels']:
        raise TactileConfigError(
            f'hyper_parameters.prophet_config.latent_shape: found {latent!r}, expected three sizes, '
            f"the first being ddconfig's z_channels = {dd['z_channels']!r}"
        )
    encoder = _encoder_config(dd)
    config = TactileConfig(
        tactile_size=(latent[1] * encoder.stride, latent[2] * encoder.stride),
        encoder=encoder,
        prophet=_prophet_config(
            prophet, _first_dimension(tensors, 'prophet_encoder.visual_backbone.0.weight')
        ),
        event=_event_config(hyper_parameters, _first_dimension(tensors, 'event_encoder.head.0.weight')),
        quantizer=_quantizer_config(vq, tensors),
    )
    return StatedSizes(
        TactileConfig.from_dict(config.to_dict(), 'hyper_parameters'), _ignored(hyper_parameters)
    )


def hyper_parameters_of(config: TactileConfig) -> dict[str, Any]:
    """Return what `config_from_hyper_parameters` reads back: plain dicts, lists and numbers.

    What the published code does not vary is stated too, for ours to read: norm_groups, metric and
    event_config. The number of pixels of a view is not part of the layout.
    """
    encoder, prophet, quantizer = config.encoder, config.prophet, config.quantizer
    return {
        'use_event_encoder': True,
        'ddconfig': {
            **{key: _listed(getattr(encoder, key)) for key in _STATED['ddconfig']},
            'out_ch': encoder.in_channels,
            'double_z': False,
            'resamp_with_conv': True,
            'dropout': encoder.dropout,
            'norm_groups': encoder.norm_groups,
        },
        'prophet_config': {
            **_REQUIRED_VALUES['prophet_config'],
            'visual_pretrained': False,
            'action_dim': prophet.action_dim,
            'num_views': prophet.num_views,
            'view_fusion': prophet.view_fusion,
            'latent_shape': [encoder.z_channels, *config.latent_size],
            'bottleneck_resolution': list(prophet.bottleneck_size),
            'hidden_dims': [prophet.action_width],
            'mid_dim': prophet.mid_dim,
            'fusion_depth': prophet.fusion_depth,
        },
        'residual_vq_config': {
            'n_e': quantizer.num_codes,
            'e_dim': quantizer.code_dim,
            'use_ema': True,
            'beta': quantizer.commitment,
            'ema_decay': quantizer.decay,
            'ema_epsilon': quantizer.epsilon,
            'metric': quantizer.metric,
        },
        'event_config': {key: getattr(config.event, key) for key in _EVENT_DEFAULTS},
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _section(hyper_parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = hyper_parameters.get(name)
    if not isinstance(section, Mapping):
        raise TactileConfigError(f'hyper_parameters.{name}: found {section!r}, expected a dict of sizes')
    missing = [key for key in _STATED[name] if key not in section]
    if missing:
        raise TactileConfigError(
            f'hyper_parameters.{name}: missing {missing}, found {sorted(map(str, section))}'
        )
    section = _DEFAULTS[name] | dict(section)
    for key, expected in _REQUIRED_VALUES[name].items():
        if section[key] != expected:
            raise TactileConfigError(
                f'hyper_parameters.{name}.{key}: found {section[key]!r}, expected {expected!r}, '
                'the only variant this encoder computes'
            )
    return section


def _encoder_config(dd: Mapping[str, Any]) -> EncoderConfig:
    same = (*_STATED['ddconfig'], 'dropout', 'norm_groups')
    return _build(EncoderConfig, 'ddconfig', {key: dd[key] for key in same})


def _prophet_config(prophet: Mapping[str, Any], backbone_width: int) -> ProphetConfig:
    hidden = prophet['hidden_dims']
    values = {
        'backbone_width': backbone_width,
        'action_width': hidden[0] if isinstance(hidden, list | tuple) and hidden else hidden,
        'bottleneck_size': prophet['bottleneck_resolution'],
        'dropout': _DROPOUT,
    }
    same = ('num_views', 'view_fusion', 'action_dim', 'mid_dim', 'fusion_depth')
    return _build(ProphetConfig, 'prophet_config', values | {key: prophet[key] for key in same})


def _event_config(hyper_parameters: Mapping[str, Any], width: int) -> EventConfig:
    stated = hyper_parameters.get('event_config', {})
    if not isinstance(stated, Mapping) or set(stated) - set(_EVENT_DEFAULTS):
        raise TactileConfigError(
            f'hyper_parameters.event_config: found {stated!r}, expected a dict of {list(_EVENT_DEFAULTS)}'
        )
    return _build(EventConfig, 'event_config', _EVENT_DEFAULTS | dict(stated) | {'width': width})


def _quantizer_config(vq: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> QuantizerConfig:
    names = {'commitment': 'beta', 'decay': 'ema_decay', 'epsilon': 'ema_epsilon', 'metric': 'metric'}
    stated = (vq['n_e'], vq['e_dim'])
    embed = tensors.get('residual_vq.embed')
    if embed is not None and embed.shape != stated:
        raise TactileConfigError(
            f'hyper_parameters.residual_vq_config: states {stated[0]} codes of {stated[1]}, '
            f'but residual_vq.embed has shape {embed.shape}'
        )
    values = {ours: vq[theirs] for ours, theirs in names.items()}
    return _build(
        QuantizerConfig, 'residual_vq_config', values | {'num_codes': stated[0], 'code_dim': stated[1]}
    )


def _build[T: (EncoderConfig, ProphetConfig, EventConfig, QuantizerConfig)](
    kind: type[T], section: str, values: Mapping[str, Any]
) -> T:
    """Check types as strictly as our own files', with defaults for what a checkpoint cannot state."""
    return kind.from_dict(kind().to_dict() | dict(values), f'hyper_parameters.{section}')


def _first_dimension(tensors: Mapping[str, np.ndarray], name: str) -> int:
    if name not in tensors or tensors[name].ndim == 0:
        raise TactileConfigError(f'state_dict[{name!r}]: missing or scalar, expected a convolution')
    return tensors[name].shape[0]


def _ignored(hyper_parameters: Mapping[str, Any]) -> list[str]:
    """Keys within the sections that nothing here knows."""
    ignored = []
    for name in _DEFAULTS:
        known = {*_DEFAULTS[name], *_STATED[name], *_HARMLESS[name]}
        ignored += sorted(f'{name}.{key}' for key in map(str, hyper_parameters[name]) if key not in known)
    return ignored
