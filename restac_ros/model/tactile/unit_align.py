"""Unit-Align: what the finger feels, against what the cameras made one expect (ResTac, arXiv 2607.03387).

    views, action_prev -> prophet -> prior, logvar
    tactile            -> encoder, quant_conv -> z_real
    [prior, z_real - prior] -> event_encoder -> h_event -> quantizer -> q_event, code_index

Frozen in the policy; it has a training of its own, part by part.
"""

from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.tactile import inputs
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.encoder import TactileImageEncoder
from restac_ros.model.tactile.event import EventEncoder
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.model.tactile.prophet import Prior, Prophet
from restac_ros.model.tactile.vector_quantizer import VectorQuantizer


class UnitAlign(nnx.Module):
    """A TactileEncoder with a visual prior and a codebook."""

    def __init__(self, config: TactileConfig, rngs: nnx.Rngs):
        z_channels = config.encoder.z_channels
        code_dim = config.quantizer.code_dim
        self.config = config
        self.prophet = Prophet(config.prophet, z_channels, config.latent_size, rngs)
        self.encoder = TactileImageEncoder(config.encoder, rngs)
        self.quant_conv = nnx.Conv(z_channels, z_channels, (1, 1), rngs=rngs)
        self.event_encoder = EventEncoder(config.event, z_channels, code_dim, rngs)
        self.quantizer = VectorQuantizer(config.quantizer, rngs)

    def encode_views(self, views: Float[Array, 'B V H W 3']) -> Float[Array, 'B F']:
        """Return the prophet's view features, at camera rate."""
        inputs.check_views(views, self.config)
        return self.prophet.encode_views(views)

    def encode(
        self,
        tactile: Float[Array, 'B h w 3'],
        view_features: Float[Array, 'B F'],
        action_prev: Float[Array, 'B 7'],
    ) -> TactileCode:
        """Return the event code of a tactile image; q_event is a row of the codebook, exactly.

        Without codes ('unit_align_uncoded'), q_event is the event vector, and the nearest code is named.
        """
        inputs.check_all(tactile, view_features, action_prev, self.config)
        prior = self.prophet.predict(view_features, action_prev)
        z_real = self.latent(tactile)
        h_event = self.event(prior, z_real)
        quantized = self.quantizer(h_event)
        q_event = h_event if self.config.kind == 'unit_align_uncoded' else quantized.code
        return _tactile_code(q_event, quantized.code_index, h_event, prior, z_real)

    def latent(
        self, tactile: Float[Array, 'B h w 3'], rngs: nnx.Rngs | None = None
    ) -> Float[Array, 'B h w z']:
        """Return the latent map of what is felt, channel last; `rngs` given means training (dropout)."""
        return self.quant_conv(self.encoder(tactile, rngs))

    def event(self, prior: Prior, z_real: Float[Array, 'B h w z']) -> Float[Array, 'B code']:
        """Return the event vector, before it is quantized."""
        return self.event_encoder(prior.mean, z_real - prior.mean)


def _tactile_code(
    q_event: Array, index: Array, h_event: Array, prior: Prior, z_real: Float[Array, 'B h w z']
) -> TactileCode:
    """Collect the named values, maps channel first as the published code stores them."""

    def channel_first(x: Array) -> Array:
        return rearrange(x, 'B h w z -> B z h w')

    return TactileCode(
        q_event=q_event,
        code_index=index,
        logvar=prior.logvar,
        h_event=h_event,
        prior=channel_first(prior.mean),
        z_real=channel_first(z_real),
        residual=channel_first(z_real - prior.mean),
    )
