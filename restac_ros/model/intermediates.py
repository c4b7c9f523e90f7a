"""The named values between touch and action, which logs, messages and tests read."""

from typing import NamedTuple

from jaxtyping import Array, Float, Int


class Intermediates(NamedTuple):
    """prior -> residual -> code -> gate -> what enters the action expert. B is the batch.

    Maps are None for tactile encoders without a prior. `surprise_token` belongs to the token fusion,
    `correction` (gated, one row per action step) to the other, once the prefix has been read.
    """

    prior: Float[Array, 'B 3 h w'] | None  # tactile latent expected from cameras and previous action
    z_real: Float[Array, 'B 3 h w'] | None  # tactile latent measured
    residual: Float[Array, 'B 3 h w'] | None  # z_real - prior
    code: Float[Array, 'B E']  # q_event
    code_index: Int[Array, ' B']  # row of the codebook
    logvar: Float[Array, 'B 1']  # of the prior, raw
    logvar_standardised: Float[Array, 'B 1']  # by the checkpoint's calibration
    gate: Float[Array, 'B 1']  # 0: touch is ignored, 1: it enters in full
    tactile_features: Float[Array, 'B F'] | None = None
    surprise_token: Float[Array, 'B 1 W'] | None = None
    correction: Float[Array, 'B T W'] | None = None
