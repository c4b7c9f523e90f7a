"""Input and output of every tactile encoder."""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int

NO_CODE = -1
"""`code_index` of an encoder that has no codebook."""


class TactileCode(NamedTuple):
    """What was felt and vision did not predict. B is the batch; maps are channel first.

    Encoders without a prior or a codebook (`cnn`) leave the maps None and give NO_CODE.
    """

    q_event: Float[Array, 'B code']  # event code that the policy reads
    code_index: Int[Array, ' B']  # row of the codebook, int32
    logvar: Float[Array, 'B 1']  # log variance of the prior, raw (not standardised)
    h_event: Float[Array, 'B code']  # event vector before quantisation
    prior: Float[Array, 'B 3 h w'] | None  # tactile latent expected from views and action
    z_real: Float[Array, 'B 3 h w'] | None  # tactile latent measured
    residual: Float[Array, 'B 3 h w'] | None  # z_real - prior


@runtime_checkable
class TactileEncoder(Protocol):
    """The calls behind which encoders are exchanged; images are float32 in [-1, 1], channel last.

    Views stand in the order base_0_rgb, left_wrist_0_rgb, right_wrist_0_rgb. `encode_views` runs at camera
    rate, `encode` at the tactile sensor's. Both raise TactileInputError.
    """

    def encode_views(self, views: Float[Array, 'B V H W 3']) -> Float[Array, 'B F']:
        """Return what the prior needs of the camera views."""

    def encode(
        self,
        tactile: Float[Array, 'B h w 3'],
        view_features: Float[Array, 'B F'],
        action_prev: Float[Array, 'B 7'],
    ) -> TactileCode:
        """Return the code of one tactile image; `action_prev` is raw (m, rad), never normalised."""
