"""Adapters: what they compute."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from restac_ros.model.config import LoraConfig
from restac_ros.model.lora import FeedForward, LoraEinsum

_LORA = LoraConfig(rank=3, alpha=6.0)
_INIT = nnx.initializers.normal(0.5)


def test_an_adapter_adds_a_low_rank_weight_to_each_query_head() -> None:
    layer = LoraEinsum('BTD,NDH->BTNH', (2, 5, 4), _INIT, _LORA, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 3, 5)), jnp.float32)
    by_hand = layer.w[...] + 2.0 * jnp.einsum('NDr,NrH->NDH', layer.lora_a[...], layer.lora_b[...])
    np.testing.assert_allclose(layer(x), jnp.einsum('BTD,NDH->BTNH', x, by_hand), atol=1e-5)
    np.testing.assert_allclose(layer.merged(), by_hand, atol=1e-6)


def test_the_output_adapter_sums_over_the_heads_in_each_factor() -> None:
    """No low-rank update of the merged weight: openpi's form, kept so that its adapters load."""
    layer = LoraEinsum('BTNH,NHD->BTD', (2, 4, 5), _INIT, _LORA, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 3, 2, 4)), jnp.float32)
    low = jnp.einsum('BTNH,NHr->BTr', x, layer.lora_a[...])
    expected = jnp.einsum('BTNH,NHD->BTD', x, layer.w[...]) + 2.0 * low @ layer.lora_b[...].sum(0)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    np.testing.assert_allclose(jnp.einsum('BTNH,NHD->BTD', x, layer.merged()), expected, atol=1e-5)


def test_an_adapter_of_keys_and_values_merges_into_their_weight() -> None:
    layer = LoraEinsum('BSD,cKDH->cBSKH', (2, 1, 5, 4), _INIT, _LORA, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 3, 5)), jnp.float32)
    merged = jnp.einsum('BSD,cKDH->cBSKH', x, layer.merged())
    np.testing.assert_allclose(layer(x), merged, atol=1e-5)


def test_the_feed_forward_adapter_is_not_scaled_by_alpha() -> None:
    layer = FeedForward(5, 7, _LORA, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 3, 5)), jnp.float32)
    merged = FeedForward(5, 7, None, rngs=nnx.Rngs(0))
    merged.gating_einsum[...] = layer.gating_einsum[...] + (
        layer.gating_einsum_lora_a[...] @ layer.gating_einsum_lora_b[...]
    )
    merged.linear[...] = layer.linear[...] + layer.linear_lora_a[...] @ layer.linear_lora_b[...]
    np.testing.assert_allclose(layer(x), merged(x), atol=1e-5)
    for found, expected in zip(layer.merged(), merged.merged(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize('lora', [None, _LORA])
def test_one_token_is_fed_forward_as_among_others(lora: LoraConfig | None) -> None:
    """Its two branches are one product, which a decoded token takes; several tokens take two."""
    layer = FeedForward(5, 7, lora, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5)), jnp.float32)
    np.testing.assert_allclose(layer(x[:, :1]), layer(x)[:, :1], atol=1e-6)
