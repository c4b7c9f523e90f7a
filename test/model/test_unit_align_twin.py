"""Unit-Align at small, uneven widths against a plain torch twin, in evaluation and in training.

The twin is written from the published description, function by function; a tensor comes into being, under
its published name, when the twin first asks for it. So names, shapes and arithmetic are all its own.
"""

import dataclasses
import zlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn import functional as F  # noqa: N812, the name everybody knows it by

from restac_ros.model.tactile import vector_quantizer
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.model.tactile.unit_align import UnitAlign
from restac_ros.model.tactile.unit_align_checkpoint import (
    load_unit_align,
    tensor_table,
    unit_align_from_tensors,
)

HYPER_PARAMETERS = {
    'use_event_encoder': True,
    'ddconfig': {
        'double_z': False,
        'z_channels': 3,
        'resolution': 16,
        'in_channels': 3,
        'out_ch': 3,
        'ch': 32,
        'ch_mult': [1, 2],
        'num_res_blocks': 2,
        'attn_resolutions': [8],
        'dropout': 0.0,
    },
    'prophet_config': {
        'visual_backbone': 'resnet18',
        'visual_pretrained': False,
        'action_dim': 7,
        'history_len': 1,
        'num_views': 2,
        'view_fusion': 'concat',
        'latent_shape': [3, 4, 6],
        'bottleneck_resolution': [2, 3],  # unlike the published file: the prior is enlarged
        'hidden_dims': [12],
        'mid_dim': 20,
        'fusion_depth': 4,
    },
    'residual_vq_config': {'n_e': 11, 'e_dim': 10, 'beta': 0.25, 'use_ema': True, 'ema_decay': 0.9},
}
BACKBONE_WIDTH = 8
EVENT_WIDTH = 16
VIEW_SIZE = 64


class TwinOutput(NamedTuple):
    view_features: torch.Tensor
    mu: torch.Tensor
    logvar: torch.Tensor
    z_real: torch.Tensor
    h_event: torch.Tensor
    index: torch.Tensor
    code: torch.Tensor


class Twin:
    """Published forward over a dict of named tensors; `train` means batch statistics, dropout is left out."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.train = False

    def tensor(self, name: str, *shape: int, offset: float = 0.0, scale: float = 0.1) -> torch.Tensor:
        if name not in self.tensors:
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            values = offset + scale * rng.standard_normal(shape).astype(np.float32)
            self.tensors[name] = torch.from_numpy(values.astype(np.float32)).requires_grad_()
        assert self.tensors[name].shape == shape
        return self.tensors[name]

    def conv(self, name: str, x: torch.Tensor, out: int, size: int, stride: int = 1, bias: bool = True,
             padding: int | None = None) -> torch.Tensor:  # fmt: skip
        fan_in = x.shape[1] * size**2
        weight = self.tensor(f'{name}.weight', out, x.shape[1], size, size, scale=(2 / fan_in) ** 0.5)
        padding = size // 2 if padding is None else padding
        return F.conv2d(x, weight, self.tensor(f'{name}.bias', out) if bias else None, stride, padding)

    def linear(self, name: str, x: torch.Tensor, out: int, scale: float = 1.0) -> torch.Tensor:
        weight = self.tensor(f'{name}.weight', out, x.shape[1], scale=scale * (2 / x.shape[1]) ** 0.5)
        return F.linear(x, weight, self.tensor(f'{name}.bias', out))

    def affine(self, name: str, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.tensor(f'{name}.weight', width, offset=1), self.tensor(f'{name}.bias', width)

    def group_norm(self, name: str, x: torch.Tensor, groups: int, eps: float) -> torch.Tensor:
        return F.group_norm(x, groups, *self.affine(name, x.shape[1]), eps)

    def batch_norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        mean = self.tensor(f'{name}.running_mean', x.shape[1])
        var = self.tensor(f'{name}.running_var', x.shape[1], offset=1, scale=0.05)
        self.tensors.setdefault(f'{name}.num_batches_tracked', torch.tensor(1000))
        affine = self.affine(name, x.shape[1])
        return F.batch_norm(x, mean.detach(), var.detach(), *affine, self.train, momentum=0.1, eps=1e-5)

    def resnet(self, x: torch.Tensor) -> torch.Tensor:
        name = 'prophet_encoder.visual_backbone'
        x = F.relu(self.batch_norm(f'{name}.1', self.conv(f'{name}.0', x, BACKBONE_WIDTH, 7, 2, bias=False)))
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(4):
            for block in range(2):
                stride, width = 2 if stage and not block else 1, BACKBONE_WIDTH * 2**stage
                x = self.basic_block(f'{name}.{stage + 4}.{block}', x, width, stride)
        return x.mean(dim=(2, 3))

    def basic_block(self, name: str, x: torch.Tensor, width: int, stride: int) -> torch.Tensor:
        h = self.batch_norm(f'{name}.bn1', self.conv(f'{name}.conv1', x, width, 3, stride, bias=False))
        h = self.batch_norm(f'{name}.bn2', self.conv(f'{name}.conv2', F.relu(h), width, 3, bias=False))
        if stride != 1:
            shortcut = self.conv(f'{name}.downsample.0', x, width, 1, stride, bias=False)
            x = self.batch_norm(f'{name}.downsample.1', shortcut)
        return F.relu(h + x)

    def prophet(self, views: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, ...]:
        config = HYPER_PARAMETERS['prophet_config']
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        images = ((views.flatten(0, 1) + 1) / 2 - mean) / std
        features = self.resnet(images).reshape(len(views), -1)
        h = F.relu(self.linear('prophet_encoder.action_mlp.0', action, config['hidden_dims'][0], scale=3))
        h = torch.cat([features, h], dim=1)
        for i in range(config['fusion_depth'] - 1):
            h = self.linear(f'prophet_encoder.fusion_body.{4 * i}', h, config['mid_dim'])
            affine = self.affine(f'prophet_encoder.fusion_body.{4 * i + 1}', config['mid_dim'])
            h = F.gelu(F.layer_norm(h, h.shape[1:], *affine))
        mu = self.linear('prophet_encoder.head_mu', h, 3 * 2 * 3).view(-1, 3, 2, 3)
        mu = F.interpolate(mu, config['latent_shape'][1:], mode='bilinear', align_corners=False)
        return features, mu, self.linear('prophet_encoder.head_logvar', h, 1)

    def encoder_block(self, name: str, x: torch.Tensor, width: int) -> torch.Tensor:
        h = self.conv(f'{name}.conv1', F.silu(self.group_norm(f'{name}.norm1', x, 32, 1e-6)), width, 3)
        h = self.conv(f'{name}.conv2', F.silu(self.group_norm(f'{name}.norm2', h, 32, 1e-6)), width, 3)
        return h + (x if x.shape[1] == width else self.conv(f'{name}.nin_shortcut', x, width, 1))

    def attention(self, name: str, x: torch.Tensor) -> torch.Tensor:
        normed = self.group_norm(f'{name}.norm', x, 32, 1e-6)
        q, k, v = (self.conv(f'{name}.{part}', normed, x.shape[1], 1).flatten(2) for part in 'qkv')
        weights = torch.softmax(torch.einsum('bci,bcj->bij', q, k) / x.shape[1] ** 0.5, dim=2)
        mixed = torch.einsum('bij,bcj->bci', weights, v).view(x.shape)
        return x + self.conv(f'{name}.proj_out', mixed, x.shape[1], 1)

    def encoder(self, x: torch.Tensor) -> torch.Tensor:
        config = HYPER_PARAMETERS['ddconfig']
        x = self.conv('obs_encoder.conv_in', x, config['ch'], 3)
        for i, mult in enumerate(config['ch_mult']):
            name = f'obs_encoder.down.{i}'
            for j in range(config['num_res_blocks']):
                x = self.encoder_block(f'{name}.block.{j}', x, config['ch'] * mult)
                if config['resolution'] // 2**i in config['attn_resolutions']:
                    x = self.attention(f'{name}.attn.{j}', x)
            if i < len(config['ch_mult']) - 1:
                padded = F.pad(x, (0, 1, 0, 1))
                x = self.conv(f'{name}.downsample.conv', padded, x.shape[1], 3, 2, padding=0)
        x = self.encoder_block('obs_encoder.mid.block_1', x, x.shape[1])
        x = self.attention('obs_encoder.mid.attn_1', x)
        x = self.encoder_block('obs_encoder.mid.block_2', x, x.shape[1])
        x = F.silu(self.group_norm('obs_encoder.norm_out', x, 32, 1e-6))
        return self.conv('quant_conv', self.conv('obs_encoder.conv_out', x, 3, 3), 3, 1)

    def event(self, mu: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.conv('event_encoder.head.0', torch.cat([mu, residual], 1), EVENT_WIDTH, 3))
        for i in range(3):
            name = f'event_encoder.body.{i}'
            h = self.conv(
                f'{name}.conv1', F.gelu(self.group_norm(f'{name}.norm1', x, 8, 1e-5)), EVENT_WIDTH, 3
            )
            h = self.conv(
                f'{name}.conv2', F.gelu(self.group_norm(f'{name}.norm2', h, 8, 1e-5)), EVENT_WIDTH, 3
            )
            x = x + h
        return self.conv('event_encoder.pre_pool', x, 10, 1).amax(dim=(2, 3))

    def forward(self, tactile: torch.Tensor, views: torch.Tensor, action: torch.Tensor) -> TwinOutput:
        features, mu, logvar = self.prophet(views, action)
        z_real = self.encoder(tactile)
        h_event = self.event(mu, (z_real.detach() if self.train else z_real) - mu)
        embed = self.tensor('residual_vq.embed', 11, 10, offset=1, scale=1.0)
        size = self.tensor('residual_vq.cluster_size', 11, offset=3, scale=0.5)
        self.tensors.setdefault('residual_vq.embed_avg', embed.detach() * size.detach()[:, None])
        index = torch.cdist(h_event, embed).argmin(dim=1)
        return TwinOutput(features, mu, logvar, z_real, h_event, index, embed[index])


@pytest.fixture(scope='module')
def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    tactile = rng.uniform(-1, 1, (3, 8, 12, 3)).astype(np.float32)
    views = rng.uniform(-1, 1, (3, 2, VIEW_SIZE, VIEW_SIZE, 3)).astype(np.float32)
    return tactile, views, rng.uniform(-1, 1, (3, 7)).astype(np.float32)


@pytest.fixture(scope='module')
def torch_inputs(inputs: tuple[np.ndarray, ...]) -> tuple[torch.Tensor, ...]:
    tactile, views, action = map(torch.from_numpy, inputs)
    # Contiguous: torch 2.11's backward of channel-last strides corrupts its heap on some CPUs.
    return tactile.permute(0, 3, 1, 2).contiguous(), views.permute(0, 1, 4, 2, 3).contiguous(), action


@pytest.fixture(scope='module')
def twin(torch_inputs: tuple[torch.Tensor, ...]) -> Twin:
    """Twin whose tensors all exist."""
    twin = Twin()
    with torch.no_grad():
        twin.forward(*torch_inputs)
    return twin


@pytest.fixture(scope='module')
def module(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> UnitAlign:
    """Our module, by way of a Lightning checkpoint that also holds what a trainer leaves in one."""
    path: Path = tmp_path_factory.mktemp('twin') / 'small.ckpt'
    others = {'decoder.conv_in.weight': torch.ones(2), 'loss.scale': torch.ones(1)}
    content = {
        'state_dict': {name: value.detach() for name, value in twin.tensors.items()} | others,
        'hyper_parameters': HYPER_PARAMETERS,
        'pytorch-lightning_version': '2.4.0',
        'optimizer_states': [],
    }
    torch.save(content, path)
    module, report = load_unit_align(path)
    assert report.ignored == {'decoder.': 1, 'loss.': 1}
    assert module.config.prophet.view_size == 224  # what a checkpoint cannot state
    small_views = dataclasses.replace(module.config.prophet, view_size=VIEW_SIZE)
    module.config = dataclasses.replace(module.config, prophet=small_views)
    return module


def encode(module: UnitAlign, tactile: np.ndarray, views: np.ndarray, action: np.ndarray) -> TactileCode:
    return module.encode(tactile, module.encode_views(views), action)


def test_defect_04_the_encoder_runs_inside_jit_and_equals_the_twin(
    module: UnitAlign, twin: Twin, inputs: tuple[np.ndarray, ...], torch_inputs: tuple[torch.Tensor, ...]
) -> None:
    twin.train = False
    with torch.no_grad():
        expected = twin.forward(*torch_inputs)
    code: TactileCode = nnx.jit(encode)(module, *inputs)
    view_features = nnx.jit(lambda m, views: m.encode_views(views))(module, inputs[1])
    for found, wanted in [
        (view_features, expected.view_features),
        (code.prior, expected.mu),
        (code.logvar, expected.logvar),
        (code.z_real, expected.z_real),
        (code.residual, expected.z_real - expected.mu),
        (code.h_event, expected.h_event),
    ]:
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=2e-5)
    np.testing.assert_array_equal(code.code_index, expected.index)
    np.testing.assert_array_equal(code.q_event, expected.code)


class Step(NamedTuple):
    """One training step of ours."""

    module: UnitAlign  # after it
    loss: jax.Array
    gradients: nnx.State


@pytest.fixture(scope='module')
def step(module: UnitAlign, twin: Twin, inputs: tuple[np.ndarray, ...]) -> Step:
    """A step without dropout, which no twin could draw the same, from a loss that needs every part."""
    prophet = dataclasses.replace(module.config.prophet, dropout=0.0)
    tensors = {name: value.detach().numpy().copy() for name, value in twin.tensors.items()}
    fresh = unit_align_from_tensors(dataclasses.replace(module.config, prophet=prophet), tensors)

    def loss(module: UnitAlign) -> jax.Array:
        tactile, views, action_prev = map(jnp.asarray, inputs)
        rngs = nnx.Rngs(0)
        prior = module.prophet.predict(module.prophet.encode_views(views, train=True), action_prev, rngs)
        z_real = module.latent(tactile, rngs)
        quantized = module.quantizer(module.event(prior, jax.lax.stop_gradient(z_real)))
        event = vector_quantizer.commitment_loss(quantized, module.config.quantizer)
        event += jnp.sum(vector_quantizer.straight_through(quantized) * jnp.arange(10.0))
        return event + jnp.mean((z_real - prior.mean) ** 2) * jnp.exp(-prior.logvar).mean()

    value, gradients = nnx.jit(nnx.value_and_grad(loss))(fresh)
    return Step(fresh, value, gradients)


@pytest.fixture(scope='module')
def twin_loss(step: Step, twin: Twin, torch_inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The same step of the twin, after ours has copied its tensors."""
    twin.train = True
    out = twin.forward(*torch_inputs)
    twin.train = False
    commitment = 0.25 * ((out.code.detach() - out.h_event) ** 2).mean()
    straight_through = out.h_event + (out.code - out.h_event).detach()
    event = commitment + (straight_through * torch.arange(10.0)).sum()
    loss = event + ((out.z_real - out.mu) ** 2).mean() * torch.exp(-out.logvar).mean()
    loss.backward()
    return loss.detach()


def test_training_loss_and_gradients_equal_the_twin(step: Step, twin: Twin, twin_loss: torch.Tensor) -> None:
    np.testing.assert_allclose(step.loss, twin_loss, rtol=1e-5)
    gradients = dict(nnx.to_flat_state(step.gradients))
    compared = 0
    for name, (path, layout) in tensor_table(step.module.config).items():
        if path in gradients:
            wanted = layout.from_torch(twin.tensors[name].grad.numpy())
            # Some biases stand before a norm, which makes their gradient zero up to rounding.
            tolerance = 1e-3 * np.abs(wanted).max() + 1e-4
            np.testing.assert_allclose(gradients[path][...], wanted, rtol=0, atol=tolerance, err_msg=name)
            compared += 1
    assert compared == len(gradients)


def test_batch_statistics_equal_the_twin(step: Step, twin: Twin, twin_loss: torch.Tensor) -> None:
    name = 'prophet_encoder.visual_backbone.1.running'
    norm = step.module.prophet.backbone.norm_in
    np.testing.assert_allclose(norm.mean[...], twin.tensors[f'{name}_mean'].detach(), atol=1e-5)
    # torch's running variance is the unbiased one, flax's the biased: 1.6e-4 apart for 3 * 2 * 32**2 values.
    np.testing.assert_allclose(norm.var[...], twin.tensors[f'{name}_var'].detach(), rtol=2e-4)


def test_dropout_is_active_in_training_only(module: UnitAlign, inputs: tuple[np.ndarray, ...]) -> None:
    features = jnp.ones((3, module.config.view_feature_dim))
    action = jnp.asarray(inputs[2])
    predict = nnx.jit(lambda p, *arrays: p.predict(*arrays).logvar)
    train = nnx.jit(lambda p, f, a, key: p.predict(f, a, nnx.Rngs(key)).logvar)
    prophet = module.prophet
    np.testing.assert_array_equal(predict(prophet, features, action), predict(prophet, features, action))
    one, other = (train(prophet, features, action, jax.random.key(seed)) for seed in (0, 1))
    assert np.abs(one - other).min() > 1e-4
