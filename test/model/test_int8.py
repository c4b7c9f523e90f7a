"""Weights of 8-bit integers: their products, their files, and a whole network on them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from restac_ros.model.checkpoint.base_weights import merge_base_weights
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.int8_leaves import (
    becomes_int8,
    check_scales,
    quantised,
    scale_shape,
    with_scales,
    without_scales,
)
from restac_ros.model.checkpoint.network import leaf_shapes
from restac_ros.model.checkpoint.orbax_layout import OrbaxParams, write_orbax
from restac_ros.model.checkpoint.params import CastRule
from restac_ros.model.int8 import Int8Weight, apply_weight, dense
from restac_ros.model.presets import PRESETS

LARGEST_ERROR, MEDIAN_ERROR = 0.05, 0.01  # of actions up to 4: a few integers of 48 a channel


@pytest.mark.parametrize(
    ('name', 'equation', 'x_shape', 'shape'),
    [
        ('PaliGemma/llm/layers/attn/q_einsum/w', 'BTD,NDH->BTNH', (2, 3, 5), (4, 5, 6)),
        ('PaliGemma/llm/layers/attn/kv_einsum_1/w', 'BSD,cKDH->cBSKH', (2, 3, 5), (2, 1, 5, 6)),
        ('PaliGemma/llm/layers/attn/attn_vec_einsum/w', 'BTNH,NHD->BTD', (2, 3, 4, 6), (4, 6, 5)),
        ('PaliGemma/llm/layers/mlp/gating_einsum', 'cBTW,cWM->cBTM', (2, 3, 1, 5), (2, 5, 6)),
        ('PaliGemma/llm/layers/mlp_1/linear', 'BTM,MW->BTW', (2, 3, 5), (5, 6)),
        (
            'PaliGemma/img/Transformer/encoderblock/MultiHeadDotProductAttention_0/query/kernel',
            'BSW,WNH->BSNH',
            (2, 3, 5),
            (5, 2, 3),
        ),
        (
            'PaliGemma/img/Transformer/encoderblock/MultiHeadDotProductAttention_0/out/kernel',
            'BSNH,NHW->BSW',
            (2, 3, 2, 4),
            (2, 4, 5),
        ),
    ],
)
def test_scales_after_the_product_give_what_the_rounded_weight_gives(
    name: str, equation: str, x_shape: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """The twin: the weight that the integers stand for, in one einsum."""
    rng = np.random.default_rng(0)
    exact = (rng.standard_normal(shape) * rng.uniform(0.1, 9, shape[-1])).astype(np.float32)
    weight, x = quantised(name, exact), jnp.asarray(rng.standard_normal(x_shape), jnp.float32)
    assert weight.values.dtype == np.int8
    assert np.abs(weight.values).max() == 127
    step = np.broadcast_to(weight.scale, shape)
    assert (np.abs(np.asarray(weight.astype(jnp.float32)) - exact) <= step / 2 * 1.001).all()
    expected = jnp.einsum(equation, x, weight.astype(jnp.float32))
    np.testing.assert_allclose(apply_weight(equation, x, weight), expected, rtol=2e-5, atol=2e-5)
    integers = replace(weight, integer_products=True)
    error = np.abs(apply_weight(equation, x, integers) - expected).max() / np.abs(expected).max()
    assert 0 < error < 0.02


def test_a_channel_of_zeros_stays_zero_and_large_stacks_are_rounded_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = 'PaliGemma/llm/layers/mlp/linear'
    exact = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
    exact[:, :, 1] = 0
    whole = quantised(name, exact)
    monkeypatch.setattr('restac_ros.model.checkpoint.int8_leaves._SLAB_BYTES', 2 * exact[0].nbytes)
    pieces = quantised(name, exact)
    np.testing.assert_array_equal(whole.values, pieces.values)
    np.testing.assert_array_equal(whole.scale, pieces.scale)
    assert np.isfinite(whole.scale).all()
    assert (np.asarray(dense(whole))[:, :, 1] == 0).all()


@pytest.mark.parametrize('preset', ['pi05', 'pi05_restac', 'pi05_restac_token_in_ae', 'mid'])
def test_integers_take_at_most_52_hundredths_of_bfloat16(preset: str) -> None:
    """By the sizes alone; touch and gate are float32 in both."""
    bf16 = int8 = 0
    for name, shape in leaf_shapes(PRESETS[preset]).items():
        size = int(np.prod(shape))
        stays = CastRule('bfloat16')(name, np.dtype(np.float32)).itemsize * size
        bf16 += stays
        int8 += size + 4 * int(np.prod(scale_shape(name, shape))) if becomes_int8(name) else stays
    assert 0.5 < int8 / bf16 <= 0.52


def _stored(folder: Path, **leaves: np.ndarray) -> OrbaxParams:
    write_orbax(folder / 'params', {f'PaliGemma/img/head/{name}': leaf for name, leaf in leaves.items()})
    return OrbaxParams(folder)


def test_integers_are_stored_beside_their_scales_and_refused_without(tmp_path: Path) -> None:
    name = 'PaliGemma/img/head/kernel'
    weight = quantised(name, np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32))
    write_orbax(tmp_path / 'good' / 'params', with_scales({name: weight}))
    stored = OrbaxParams(tmp_path / 'good')
    assert check_scales(stored.arrays, 'here') == [f'{name}_scale']
    read = without_scales(stored.read(cast=CastRule('bfloat16')))
    assert read[name].values.dtype == np.int8
    assert read[name].scale.dtype == np.float32
    np.testing.assert_array_equal(read[name].values, weight.values)
    np.testing.assert_array_equal(read[name].scale, weight.scale)
    lone = _stored(tmp_path / 'lone', kernel=weight.values)
    with pytest.raises(CheckpointError, match=r'head/kernel.*found scales none, expected float32 \(1, 4\)'):
        check_scales(lone.arrays, 'here')
    wrong = _stored(tmp_path / 'wrong', kernel=weight.values, kernel_scale=np.ones((6, 1), np.float32))
    with pytest.raises(CheckpointError, match=r'found scales float32 \(6, 1\)'):
        check_scales(wrong.arrays, 'here')


def test_weights_of_integers_start_no_training(tmp_path: Path) -> None:
    _stored(tmp_path, kernel=np.ones((6, 4), np.int8), kernel_scale=np.ones((1, 4), np.float32))
    with pytest.raises(CheckpointError, match=r'1 leaves of 8-bit integers .*give the one that it was made'):
        merge_base_weights(PRESETS['tiny'], tmp_path, 0)


def test_a_network_of_integers_is_near_the_reference(golden: Callable, load_parameters, as_pure) -> None:
    file = golden('openpi_pi05_tiny')
    config = file.config()
    exact = file.parameters()
    rounded = {name: quantised(name, leaf) if becomes_int8(name) else leaf for name, leaf in exact.items()}
    assert sum(isinstance(leaf, Int8Weight) for leaf in rounded.values()) > 15

    def sample(model, observation, noise):
        plan = model.plan_sampling(10)
        assert isinstance(plan.expert[0].qkv, Int8Weight)  # no floating copy of the expert
        return model.sample_actions(
            model.encode_prefix(*observation.prefix), None, observation.state, noise, plan
        )[0]

    actions = as_pure(load_parameters(config, rounded), sample)(
        file.observation(config), file['in/sample_noise']
    )
    error = np.abs(actions - file['out/sample_actions'])
    assert 0 < error.max() < LARGEST_ERROR
    assert np.median(error) < MEDIAN_ERROR
