"""Small trainable tactile encoder: convolutions on the image, no pretrained prior and no codebook.

For policies trained before a Unit-Align exists, and as the ablation of it. q_event is continuous; logvar
sees only views and previous action, as the prior's uncertainty must.
"""

import itertools

import jax.numpy as jnp
from einops import rearrange, reduce
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.tactile import inputs
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.interface import NO_CODE, TactileCode

LOGVAR_BOUND = 3.0
"""This logvar learns from the policy's loss, which first shuts the gate, while touch does not help yet.
Within the bound the gate stays above 0.04 and can open again."""

VIEW_BLOCK = 4
"""Pixels a side that are averaged before the views are convolved: what to expect of touch needs no detail."""


class ConvStack(nnx.Module):
    """3x3 convolutions of stride 2 with GELU, what is kept of their map, and LayerNorm.

    Of a contact somewhere in the image the maximum over positions stays, where an average would drown it. Of
    an imprint that always fills the image, and whose shift and tilt carry the information, the map is kept.

    Args:
        widths: channels of each convolution.
        size: rows and columns of the images.
        whole_map: keep the map, else its maximum.
    """

    def __init__(
        self, widths: tuple[int, ...], rngs: nnx.Rngs, size: tuple[int, int], *, whole_map: bool = False
    ):
        pairs = itertools.pairwise((3, *widths))
        self.convs = nnx.List([nnx.Conv(i, o, (3, 3), strides=2, padding=1, rngs=rngs) for i, o in pairs])
        self.whole_map = whole_map
        rows, columns = (-(-side // 2 ** len(widths)) for side in size)
        self.features = widths[-1] * (rows * columns if whole_map else 1)
        self.norm = nnx.LayerNorm(self.features, rngs=rngs)

    def __call__(self, images: Float[Array, 'B H W 3']) -> Float[Array, 'B c']:
        x = images
        for conv in self.convs:
            x = nnx.gelu(conv(x))
        return self.norm(rearrange(x, 'B h w c -> B (h w c)') if self.whole_map else x.max(axis=(1, 2)))


class CnnEncoder(nnx.Module):
    """A TactileEncoder without prior map and codebook; every parameter is trainable."""

    def __init__(self, config: TactileConfig, rngs: nnx.Rngs):
        sizes = config.cnn
        context_dim = config.view_feature_dim + config.prophet.action_dim
        self.config = config
        views_px = config.prophet.view_size // VIEW_BLOCK
        self.view_stack = ConvStack(sizes.view_widths, rngs, (views_px, views_px))
        self.tactile_stack = ConvStack(
            sizes.tactile_widths, rngs, config.tactile_size, whole_map=config.kind == 'cnn_map'
        )
        self.context_in = nnx.Linear(context_dim, sizes.hidden_dim, rngs=rngs)
        self.event_in = nnx.Linear(
            self.tactile_stack.features + sizes.hidden_dim, sizes.hidden_dim, rngs=rngs
        )
        self.event_out = nnx.Linear(sizes.hidden_dim, config.quantizer.code_dim, rngs=rngs)
        self.head_logvar = nnx.Linear(sizes.hidden_dim, 1, rngs=rngs)

    def encode_views(self, views: Float[Array, 'B V H W 3']) -> Float[Array, 'B F']:
        """Return the features of all views, concatenated."""
        inputs.check_views(views, self.config)
        coarse = reduce(views, 'B V (H p) (W q) c -> (B V) H W c', 'mean', p=VIEW_BLOCK, q=VIEW_BLOCK)
        features = self.view_stack(coarse)
        return rearrange(features, '(B V) c -> B (V c)', V=views.shape[1])

    def encode(
        self,
        tactile: Float[Array, 'B h w 3'],
        view_features: Float[Array, 'B F'],
        action_prev: Float[Array, 'B 7'],
    ) -> TactileCode:
        """Return the event vector as code, NO_CODE as its index and no maps."""
        inputs.check_all(tactile, view_features, action_prev, self.config)
        context = nnx.gelu(self.context_in(jnp.concatenate([view_features, action_prev], axis=-1)))
        joined = jnp.concatenate([self.tactile_stack(tactile), context], axis=-1)
        event = self.event_out(nnx.gelu(self.event_in(joined)))
        return TactileCode(
            q_event=event,
            code_index=jnp.full(tactile.shape[0], NO_CODE, jnp.int32),
            logvar=softly_bounded(self.head_logvar(context)),
            h_event=event,
            prior=None,
            z_real=None,
            residual=None,
        )


def softly_bounded(values: Array) -> Array:
    """Return values pressed into (-LOGVAR_BOUND, LOGVAR_BOUND); far out the gradient falls as 1 / x^2."""
    return values / (1.0 + jnp.abs(values) / LOGVAR_BOUND)
