"""How each pi0.5 leaf stands in LeRobot's PyTorch checkpoint: names and layouts, as one table.

PyTorch keeps layers as separate modules and weights as (out, in); JAX stacks layers on axis 0 and keeps heads
as axes of their own. Names follow Hugging Face's PaliGemma, Gemma and SigLIP modules.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from einops import rearrange

VECTOR = 'a -> a'
MATRIX = 'a b -> a b'
LINEAR = 'i o -> o i'
CONVOLUTION = 'h w i o -> o i h w'
_POSITIONS = 'one p w -> (one p) w'
HEADS_IN = 'n w h -> (n h) w'
HEADS_OUT = 'n h w -> w (n h)'
VIT_HEADS_IN = 'w n h -> (n h) w'
VIT_HEADS_BIAS = 'n h -> (n h)'

PREFIX = 'model.'
"""LeRobot wraps the network in a policy class; openpi's own conversion does not. Both are read."""

_PALIGEMMA = 'paligemma_with_expert.paligemma.model.'
EMBEDDING = f'{_PALIGEMMA}language_model.embed_tokens.weight'
TIED_HEAD = 'paligemma_with_expert.paligemma.lm_head.weight'
"""The output head shares the embedding's memory; published files hold only this one of the two names."""

UNUSED = re.compile(r'(lm_head\.weight|\.position_ids)$')
"""Tensors that PyTorch keeps and the policy never reads."""


@dataclass(frozen=True)
class Tensor:
    """One PyTorch tensor inside one JAX leaf.

    Attributes:
        leaf: JAX name.
        name: PyTorch name; '{layer}' stands for the layer number.
        layout: einops pattern from the JAX axes (without layer and part) to PyTorch's.
        part: index on the axis after the layer, where JAX packs two tensors (keys and values, gate and up).
    """

    leaf: str
    name: str
    layout: str
    part: int | None = None

    @property
    def layered(self) -> bool:
        """Whether the leaf stacks one tensor per layer on axis 0."""
        return '{layer}' in self.name

    def places(self, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
        """PyTorch names with their index into a leaf of `shape`."""
        part = () if self.part is None else (self.part,)
        if not self.layered:
            yield self.name, part
            return
        for layer in range(shape[0]):
            yield self.name.format(layer=layer), (layer, *part)

    def piece_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """JAX shape of one piece of a leaf of `shape`."""
        return shape[self.layered + (self.part is not None) :]

    def torch_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """PyTorch shape of one piece of a leaf of `shape`."""
        sizes = self._sizes(shape)
        groups = re.findall(r'\([^)]*\)|\S+', self.layout.split(' -> ')[1])
        return tuple(prod(sizes[axis] for axis in group.strip('()').split()) for group in groups)

    def to_jax(self, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Rearrange one PyTorch tensor into its piece of a leaf of `shape`."""
        jax_side, torch_side = self.layout.split(' -> ')
        sizes = {axis: size for axis, size in self._sizes(shape).items() if '(' in torch_side}
        return rearrange(tensor, f'{torch_side} -> {jax_side}', **sizes)

    def _sizes(self, shape: tuple[int, ...]) -> dict[str, int]:
        return dict(zip(self.layout.split(' -> ')[0].split(), self.piece_shape(shape), strict=True))


def _with_bias(leaf: str, name: str, layout: str = LINEAR) -> list[Tensor]:
    return [
        Tensor(f'{leaf}/kernel', f'{name}.weight', layout),
        Tensor(f'{leaf}/bias', f'{name}.bias', VECTOR),
    ]


def _norm(leaf: str, name: str) -> list[Tensor]:
    return [Tensor(f'{leaf}/scale', f'{name}.weight', VECTOR), Tensor(f'{leaf}/bias', f'{name}.bias', VECTOR)]


def _siglip() -> list[Tensor]:
    leaf, name = 'PaliGemma/img', f'{_PALIGEMMA}vision_tower.vision_model.'
    block, layer = f'{leaf}/Transformer/encoderblock', name + 'encoder.layers.{layer}.'
    attention = f'{block}/MultiHeadDotProductAttention_0'
    tensors = [
        *_with_bias(f'{leaf}/embedding', f'{name}embeddings.patch_embedding', CONVOLUTION),
        Tensor(f'{leaf}/pos_embedding', f'{name}embeddings.position_embedding.weight', _POSITIONS),
        *_norm(f'{block}/LayerNorm_0', f'{layer}layer_norm1'),
        *_norm(f'{block}/LayerNorm_1', f'{layer}layer_norm2'),
        *_with_bias(f'{block}/MlpBlock_0/Dense_0', f'{layer}mlp.fc1'),
        *_with_bias(f'{block}/MlpBlock_0/Dense_1', f'{layer}mlp.fc2'),
        *_with_bias(f'{attention}/out', f'{layer}self_attn.out_proj', HEADS_OUT),
        *_norm(f'{leaf}/Transformer/encoder_norm', f'{name}post_layernorm'),
        *_with_bias(f'{leaf}/head', f'{_PALIGEMMA}multi_modal_projector.linear'),
    ]
    for role, short in (('query', 'q'), ('key', 'k'), ('value', 'v')):
        projection = f'{layer}self_attn.{short}_proj'
        tensors.append(Tensor(f'{attention}/{role}/kernel', f'{projection}.weight', VIT_HEADS_IN))
        tensors.append(Tensor(f'{attention}/{role}/bias', f'{projection}.bias', VIT_HEADS_BIAS))
    return tensors


def _gemma(suffix: str, module: str, *, adaptive: bool) -> list[Tensor]:
    """One expert; `adaptive` norms are a dense layer on the flow-time condition."""
    leaf, layer = 'PaliGemma/llm/layers', module + 'layers.{layer}.'
    attention, mlp = f'{layer}self_attn.', f'{layer}mlp.'
    tensors = [
        Tensor(f'{leaf}/attn/q_einsum{suffix}/w', f'{attention}q_proj.weight', HEADS_IN),
        Tensor(f'{leaf}/attn/kv_einsum{suffix}/w', f'{attention}k_proj.weight', HEADS_IN, part=0),
        Tensor(f'{leaf}/attn/kv_einsum{suffix}/w', f'{attention}v_proj.weight', HEADS_IN, part=1),
        Tensor(f'{leaf}/attn/attn_vec_einsum{suffix}/w', f'{attention}o_proj.weight', HEADS_OUT),
        Tensor(f'{leaf}/mlp{suffix}/gating_einsum', f'{mlp}gate_proj.weight', LINEAR, part=0),
        Tensor(f'{leaf}/mlp{suffix}/gating_einsum', f'{mlp}up_proj.weight', LINEAR, part=1),
        Tensor(f'{leaf}/mlp{suffix}/linear', f'{mlp}down_proj.weight', LINEAR),
    ]
    norms = {
        f'{leaf}/pre_attention_norm{suffix}': f'{layer}input_layernorm',
        f'{leaf}/pre_ffw_norm{suffix}': f'{layer}post_attention_layernorm',
        f'PaliGemma/llm/final_norm{suffix}': f'{module}norm',
    }
    for norm, name in norms.items():
        if adaptive:
            tensors += _with_bias(f'{norm}/Dense_0', f'{name}.dense')
        else:
            tensors.append(Tensor(f'{norm}/scale', f'{name}.weight', VECTOR))
    return tensors


PI05_TENSORS: tuple[Tensor, ...] = (
    *_siglip(),
    Tensor('PaliGemma/llm/embedder/input_embedding', EMBEDDING, MATRIX),
    *_gemma('', f'{_PALIGEMMA}language_model.', adaptive=False),
    *_gemma('_1', 'paligemma_with_expert.gemma_expert.model.', adaptive=True),
    *(
        t
        for name in ('action_in_proj', 'action_out_proj', 'time_mlp_in', 'time_mlp_out')
        for t in _with_bias(name, name)
    ),
)
"""Every tensor of pi0.5."""


def canonical(name: str) -> str:
    """Bring a stored name to the form of the table, whatever its module nesting and prefix."""
    name = name.removeprefix(PREFIX)
    base = 'paligemma_with_expert.paligemma.'
    name = name.replace(f'{base}language_model.model.', f'{base}model.language_model.')
    name = name.replace(f'{base}language_model.lm_head.', f'{base}lm_head.')
    name = re.sub(rf'^{re.escape(base)}(vision_tower|multi_modal_projector)\.', rf'{base}model.\1.', name)
    return re.sub(r'\bvision_tower\.(?!vision_model\.)', 'vision_tower.vision_model.', name)
