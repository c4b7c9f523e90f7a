"""Two Gemma experts that share one attention (pi0, arXiv 2410.24164), with adaRMS in the second (pi0.5).

Expert 0 reads images and text (the prefix), expert 1 state and noisy actions (the suffix). Module and
parameter names are openpi's: what belongs to expert 1 ends in `_1`. Weights are cast to the activations'
dtype at use; norms, rotary embeddings, attention logits and softmax are float32.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from restac_ros.model.attention import (
    RotaryAngles,
    Segment,
    grouped_query_attention,
    insulated_attention,
    rotate,
    rotation_of,
    segment_of,
)
from restac_ros.model.config import Dtype, GemmaConfig
from restac_ros.model.int8 import Int8Weight, apply_weight
from restac_ros.model.layers import layer_at, layer_of, scan_layers, stack_layers
from restac_ros.model.lora import FeedForward, LoraEinsum
from restac_ros.model.norms import AdaptiveRMSNorm, RMSNorm, add_gated, modulated_norm
from restac_ros.model.present import present

_SUFFIXES = ('', '_1')

EINSUMS = {
    'q_einsum': 'BTD,NDH->BTNH',
    'kv_einsum': 'BSD,cKDH->cBSKH',
    'attn_vec_einsum': 'BTNH,NHD->BTD',
}
"""What attention's projections compute, by openpi's names."""

type Configs = tuple[GemmaConfig, GemmaConfig]
type PerExpert = tuple[Float[Array, 'B _ _'] | None, Float[Array, 'B _ _'] | None]
"""Tokens [B, tokens, width] of expert 0 and of expert 1; None where an expert is left out of a pass."""

type Gates = tuple[Float[Array, '_ _ _'] | None, Float[Array, '_ _ _'] | None]
"""What each expert's norm multiplies the residual branch with; None is one."""


class KeysValues(NamedTuple):
    """Rotated keys, and values, of every layer (leading axis L) or of one."""

    keys: Float[Array, '*L B S K H']
    values: Float[Array, '*L B S K H']


class TokenSlots(NamedTuple):
    """Room for the keys and values of tokens that are decoded one after another; C is the capacity."""

    held: KeysValues  # of one layer, or of all
    number: Int[Array, '']  # slot of the token that is decoded now
    readable: Bool[Array, ' C']  # slots that it reads


class LayerModulation(NamedTuple):
    """adaRMS scale, shift and gate, concatenated, of the norms of one of expert 1's layers."""

    attention: Float[Array, 'N 3*W']
    feed_forward: Float[Array, 'N 3*W']


class Modulation(NamedTuple):
    """adaRMS scale, shift and gate, concatenated, of all of expert 1's norms, at N flow times; L layers.

    N is the batch in training and the number of Euler steps in a sampling plan; with N = 1 all samples
    share one flow time. Where every token of the suffix has its own flow time, axes B and T stand in place of
    N.
    """

    attention: Float[Array, 'N L 3*W']
    feed_forward: Float[Array, 'N L 3*W']
    final: Float[Array, 'N 3*W']


class Embedder(nnx.Module):
    """Token embeddings, scaled by sqrt(width) in the table's dtype."""

    def __init__(self, vocab_size: int, width: int, *, rngs: nnx.Rngs) -> None:
        table = nnx.initializers.normal()(rngs.params(), (vocab_size, width), jnp.float32)
        self.input_embedding = nnx.Param(table)

    def __call__(self, tokens: Int[Array, 'B T']) -> Float[Array, 'B T W']:
        """Return one row per token."""
        rows = self.input_embedding[tokens]
        if isinstance(rows, Int8Weight):
            rows = rows.astype(jnp.float32)
        return rows * jnp.sqrt(rows.shape[-1]).astype(rows.dtype)


class Attention(nnx.Module):
    """Each expert projects its own tokens; all tokens attend together."""

    def __init__(self, configs: Configs, *, rngs: nnx.Rngs) -> None:
        self.head_dim = configs[0].head_dim
        per_head = nnx.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))
        per_kv_head = nnx.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0, 1))
        merge_heads = nnx.initializers.lecun_normal(in_axis=(-3, -2), out_axis=-1)
        for suffix, config in zip(_SUFFIXES, configs, strict=True):
            q_shape = (config.num_heads, config.width, config.head_dim)
            kv_shape = (2, config.num_kv_heads, config.width, config.head_dim)
            out_shape = (config.num_heads, config.head_dim, config.width)
            lora = config.lora_attention
            makers = {
                'q_einsum': (q_shape, per_head),
                'kv_einsum': (kv_shape, per_kv_head),
                'attn_vec_einsum': (out_shape, merge_heads),
            }
            for name, (shape, init) in makers.items():
                einsum = LoraEinsum(EINSUMS[name], shape, init, lora, rngs=rngs)
                setattr(self, f'{name}{suffix}', einsum)

    def __call__(
        self,
        xs: PerExpert,
        rotation: RotaryAngles,
        mask: Bool[Array, 'B _ T'],
        insulated: bool = False,
    ) -> tuple[PerExpert, KeysValues]:
        """Return each expert's output, and the keys and values; see `insulated_attention`."""
        queries, keys_values = self.project(xs, rotation)
        if insulated:
            encoded = insulated_attention(queries, *keys_values, mask, present(xs[0], 'prefix').shape[1])
        else:
            encoded = grouped_query_attention(queries, [segment_of(*keys_values, mask)])
        return self._project_out(encoded, xs), keys_values

    def extend(
        self, x: Float[Array, 'B 1 W'], rotation: RotaryAngles, cache: Segment, slots: TokenSlots
    ) -> tuple[Float[Array, 'B 1 W'], KeysValues]:
        """Let one token of expert 0 read a prefix and the tokens before it; its slot is filled first."""
        query, own = self.project((x, None), rotation)
        filled = KeysValues(
            *(
                jax.lax.dynamic_update_slice_in_dim(held, new, slots.number, axis=1)
                for held, new in zip(slots.held, own, strict=True)
            )
        )
        encoded = grouped_query_attention(query, [cache, segment_of(*filled, slots.readable[None, None])])
        return present(self._project_out(encoded, (x, None))[0], 'prefix'), filled

    def project(self, xs: PerExpert, rotation: RotaryAngles) -> tuple[Float[Array, 'B T N H'], KeysValues]:
        """Scaled queries, keys and values of all tokens, the first two rotated to their positions."""
        parts = []
        for suffix, x in zip(_SUFFIXES, xs, strict=True):
            if x is not None:
                k, v = getattr(self, f'kv_einsum{suffix}')(x)
                parts.append((getattr(self, f'q_einsum{suffix}')(x), k, v))
        q, k, v = (jnp.concatenate(tensors, axis=1) for tensors in zip(*parts, strict=True))
        q = rotate(q, rotation) * self.head_dim**-0.5
        return q, KeysValues(rotate(k, rotation), v)

    def _project_out(self, encoded: Float[Array, 'B T N H'], xs: PerExpert) -> PerExpert:
        outs: list[Float[Array, 'B T W'] | None] = []
        start = 0
        for suffix, x in zip(_SUFFIXES, xs, strict=True):
            if x is None:
                outs.append(None)
                continue
            end = start + x.shape[1]
            outs.append(getattr(self, f'attn_vec_einsum{suffix}')(encoded[:, start:end]))
            start = end
        return outs[0], outs[1]


class Block(nnx.Module):
    """Pre-norm transformer layer of both experts."""

    mlp: FeedForward
    mlp_1: FeedForward
    pre_attention_norm: RMSNorm
    pre_ffw_norm: RMSNorm
    pre_attention_norm_1: RMSNorm | AdaptiveRMSNorm
    pre_ffw_norm_1: RMSNorm | AdaptiveRMSNorm

    def __init__(self, configs: Configs, adaptive: bool, *, rngs: nnx.Rngs) -> None:
        self.attn = Attention(configs, rngs=rngs)
        for suffix, config in zip(_SUFFIXES, configs, strict=True):
            norm = AdaptiveRMSNorm if adaptive and suffix else RMSNorm
            feed_forward = FeedForward(config.width, config.mlp_dim, config.lora_mlp, rngs=rngs)
            setattr(self, f'pre_attention_norm{suffix}', norm(config.width, rngs=rngs))
            setattr(self, f'pre_ffw_norm{suffix}', norm(config.width, rngs=rngs))
            setattr(self, f'mlp{suffix}', feed_forward)

    def __call__(
        self,
        xs: PerExpert,
        rotation: RotaryAngles,
        mask: Bool[Array, 'B _ T'],
        modulation: LayerModulation | None,
        insulated: bool = False,
    ) -> tuple[PerExpert, KeysValues]:
        """Return the tokens after this layer, and their keys and values; expert 1 needs a modulation."""
        attention, feed_forward = (None, None) if modulation is None else modulation
        normed, gates = _normalise(self, 'pre_attention_norm', xs, attention)
        attended, keys_values = self.attn(normed, rotation, mask, insulated)
        xs = _add(xs, attended, gates)
        (prefix, suffix), gates = _normalise(self, 'pre_ffw_norm', xs, feed_forward)
        fed = (None if prefix is None else self.mlp(prefix), None if suffix is None else self.mlp_1(suffix))
        return _add(xs, fed, gates), keys_values

    def extend(
        self, x: Float[Array, 'B 1 W'], rotation: RotaryAngles, cache: Segment, slots: TokenSlots
    ) -> tuple[Float[Array, 'B 1 W'], KeysValues]:
        """Return one token of expert 0 after this layer, and the layer's slots with it."""
        attended, held = self.attn.extend(self.pre_attention_norm(x), rotation, cache, slots)
        x = x + attended
        return x + self.mlp(self.pre_ffw_norm(x)), held

    def keys_values(self, xs: PerExpert, rotation: RotaryAngles) -> KeysValues:
        """The keys and values alone, for a layer whose output is not read."""
        normed, _ = _normalise(self, 'pre_attention_norm', xs, None)
        return self.attn.project(normed, rotation)[1]


class Gemma(nnx.Module):
    """The two experts: embeddings, stacked layers, final norms.

    Two passes: `joint` trains; `prefill`, with `decoder.decode`, splits the same computation for inference.
    """

    def __init__(
        self, configs: Configs, vocab_size: int, dtype: Dtype, adaptive: bool, *, rngs: nnx.Rngs
    ) -> None:
        """`adaptive` gives expert 1 adaRMS norms (pi0.5)."""
        self.dtype = jnp.dtype(dtype)
        self.depth = configs[0].depth
        self.head_dim = configs[0].head_dim
        self.embedder = Embedder(vocab_size, configs[0].width, rngs=rngs)
        self.layers = stack_layers(
            lambda layer_rngs: Block(configs, adaptive, rngs=layer_rngs), configs[0].depth, rngs
        )
        self.final_norm = RMSNorm(configs[0].width, rngs=rngs)
        self.final_norm_1 = (AdaptiveRMSNorm if adaptive else RMSNorm)(configs[1].width, rngs=rngs)

    def embed(self, tokens: Int[Array, 'B T']) -> Float[Array, 'B T W']:
        """Token embeddings in the compute dtype."""
        return self.embedder(tokens).astype(self.dtype)

    def modulate(self, condition: Float[Array, 'N W']) -> Modulation:
        """Modulation of every norm of expert 1 by N flow-time codes.

        It depends on nothing else, so for a fixed list of flow times it is computed once per checkpoint.
        """
        condition = condition.astype(self.dtype)
        return Modulation(
            self.layers.pre_attention_norm_1.modulation(condition),
            self.layers.pre_ffw_norm_1.modulation(condition),
            self.final_norm_1.modulation(condition),
        )

    def joint(
        self,
        prefix: Float[Array, 'B P W'],
        suffix: Float[Array, 'B T V'],
        positions: Int[Array, 'B S'],
        mask: Bool[Array, 'B S S'],
        modulation: Modulation,
        insulated: bool = False,
    ) -> tuple[Float[Array, 'B P W'], Float[Array, 'B T V']]:
        """One pass over prefix and suffix together (training); positions and mask cover both, prefix first.

        Returns both experts' tokens after their final norm. `insulated`: see `insulated_attention`.
        """
        rotation = rotation_of(positions, self.head_dim)

        def body(block: Block, xs: PerExpert, layer_modulation: LayerModulation) -> tuple[PerExpert, None]:
            return block(xs, rotation, mask, layer_modulation, insulated)[0], None

        attention, feed_forward, _ = modulation
        by_layer = LayerModulation(jnp.moveaxis(attention, -2, 0), jnp.moveaxis(feed_forward, -2, 0))
        xs = (prefix.astype(self.dtype), suffix.astype(self.dtype))
        (prefix, suffix), _ = scan_layers(self.layers, body, xs, by_layer)
        return self.final_norm(prefix), modulated_norm(suffix, modulation.final)[0]

    def read(
        self, tokens: Float[Array, 'B P W'], positions: Int[Array, 'B P'], mask: Bool[Array, 'B P P']
    ) -> Float[Array, 'B P W']:
        """One pass of expert 0 alone (training); returns its tokens after the final norm."""
        rotation = rotation_of(positions, self.head_dim)

        def body(block: Block, xs: PerExpert, _: None) -> tuple[PerExpert, None]:
            return block(xs, rotation, mask, None)[0], None

        (out, _), _ = scan_layers(self.layers, body, (tokens.astype(self.dtype), None))
        return self.final_norm(present(out, 'prefix'))

    def logits(self, x: Float[Array, 'B T W']) -> Float[Array, 'B T V']:
        """Float32 logits of the next token from tokens after the final norm: the head is the embedding."""
        table = self.embedder.input_embedding[...]
        if isinstance(table, Int8Weight):
            return apply_weight('BTW,VW->BTV', x, table).astype(jnp.float32)
        return jnp.einsum('BTW,VW->BTV', x, table.astype(x.dtype), preferred_element_type=jnp.float32)

    def extend(
        self,
        x: Float[Array, 'B 1 W'],
        positions: Int[Array, 'B 1'],
        cache: KeysValues,
        cache_mask: Bool[Array, 'B S'],
        slots: TokenSlots,
        apart: Sequence[nnx.State] | None = None,
    ) -> tuple[Float[Array, 'B 1 W'], KeysValues]:
        """Decode one token on a prefix's cache; returns it after the final norm, and all slots with it.

        `apart` holds the parameters of each layer, where those are to be read in place of the stack's slices.
        """
        rotation = rotation_of(positions, self.head_dim)
        layers = []
        x = x.astype(self.dtype)
        for index in range(self.depth):
            segment = segment_of(cache.keys[index], cache.values[index], cache_mask[:, None, :])
            own = slots._replace(held=KeysValues(*(held[index] for held in slots.held)))
            layer = layer_of(self.layers, apart[index]) if apart else layer_at(self.layers, index)
            x, held = layer.extend(x, rotation, segment, own)
            layers.append(held)
        return self.final_norm(x), KeysValues(*(jnp.stack(parts) for parts in zip(*layers, strict=True)))

    def prefill(
        self,
        prefix: Float[Array, 'B P W'],
        positions: Int[Array, 'B P'],
        mask: Bool[Array, 'B _ P'],
        with_output: bool,
        layers: tuple[int, int] | None = None,
    ) -> tuple[KeysValues, Float[Array, 'B P W'] | None]:
        """Keys and values of the prefix, and, only `with_output`, its tokens after the final norm.

        Without them, the last layer stops at its keys and values. Of a part of the `layers`, first to last
        exclusive, tokens are those after it, for the next part.
        """
        rotation = rotation_of(positions, self.head_dim)

        def body(xs: PerExpert, index: Int[Array, '']) -> tuple[PerExpert, KeysValues]:
            return layer_at(self.layers, index)(xs, rotation, mask, None)

        xs: PerExpert = (prefix.astype(self.dtype), None)
        first, last = layers or (0, self.depth)
        stops_short = last == self.depth and not with_output
        xs, cache = jax.lax.scan(body, xs, jnp.arange(first, last - stops_short))
        if last < self.depth:
            return cache, xs[0]
        if with_output:
            return cache, self.final_norm(present(xs[0], 'prefix'))
        end = layer_at(self.layers, self.depth - 1).keys_values(xs, rotation)
        return jax.tree.map(lambda some, one: jnp.concatenate([some, one[None]]), cache, end), None


def _normalise(
    owner: nnx.Module,
    name: str,
    xs: PerExpert,
    modulation: Float[Array, 'N 3*W'] | Float[Array, 'B T 3*W'] | None,
) -> tuple[PerExpert, Gates]:
    """Each expert's norm of this name, and the gate it sets on the residual branch."""
    prefix, suffix = xs
    normed_0 = None if prefix is None else getattr(owner, name)(prefix)
    if suffix is None:
        return (normed_0, None), (None, None)
    normed_1, gate = modulated_norm(suffix, present(modulation, 'modulation'))
    return (normed_0, normed_1), (None, gate)


def _add(xs: PerExpert, ys: PerExpert, gates: Gates) -> PerExpert:
    prefix, suffix = (
        None if x is None or y is None else add_gated(x, y, gate)
        for x, y, gate in zip(xs, ys, gates, strict=True)
    )
    return prefix, suffix
