"""A TorchScript file behind the tactile call: someone else's encoder, run by torch on the host.

The program takes what torch modules take, channel first and float32:
    forward(tactile [B, 3, h, w], views [B, V, 3, H, W], action_prev [B, 7])
        -> (q_event [B, code], logvar [B, 1])
with images in [-1, 1] and action_prev raw. It is frozen: nothing differentiates through it.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from restac_ros.model.tactile import inputs
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.errors import TorchScriptOutputError, UntrustedTorchScriptError
from restac_ros.model.tactile.interface import NO_CODE, TactileCode


class TorchScriptEncoder(nnx.Module):
    """A TactileEncoder that calls a TorchScript program; it has no parameters of its own."""

    def __init__(self, config: TactileConfig, path: Path, trusted: bool):
        """Load the program, which executes code from `path`.

        Raises:
            UntrustedTorchScriptError: `trusted` is not True.
            TactileFileError: the file is damaged or is not the one of `config.torchscript_sha256`.
        """
        if trusted is not True:
            raise UntrustedTorchScriptError(
                f'{path}: TorchScript is a program, and opening it executes its code; found '
                f'trusted={trusted!r}, expected True. Say so only for a file whose origin you trust'
            )
        from restac_ros.model.tactile import lightning  # torch is loaded only where a torch file is opened

        self.config = config
        self.program = lightning.open_torchscript(path, config.torchscript_sha256 or '')

    def encode_views(self, views: Float[Array, 'B V H W 3']) -> Float[Array, 'B F']:
        """Return the views, flattened: such a program has one call and takes them itself."""
        inputs.check_views(views, self.config)
        return views.reshape(views.shape[0], -1)

    def encode(
        self,
        tactile: Float[Array, 'B h w 3'],
        view_features: Float[Array, 'B F'],
        action_prev: Float[Array, 'B 7'],
    ) -> TactileCode:
        """Return what the program returns, with NO_CODE as index and no maps.

        Outside jit and inside it, a wrong output of the program raises; inside, jax wraps the message of
        TorchScriptOutputError in its own runtime error.
        """
        inputs.check_all(tactile, view_features, action_prev, self.config)
        batch = tactile.shape[0]
        shapes = (batch, self.config.quantizer.code_dim), (batch, 1)
        q_event, logvar = jax.pure_callback(
            _host_call(self.program, shapes),
            tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes),
            rearrange(tactile, 'B h w c -> B c h w'),
            rearrange(view_features.reshape(batch, *self.config.view_shape), 'B V H W c -> B V c H W'),
            action_prev,
        )
        return TactileCode(
            q_event=q_event,
            code_index=jnp.full(batch, NO_CODE, jnp.int32),
            logvar=logvar,
            h_event=q_event,
            prior=None,
            z_real=None,
            residual=None,
        )

    def __call__(
        self,
        tactile: Float[Array, 'B h w 3'],
        views: Float[Array, 'B V H W 3'],
        action_prev: Float[Array, 'B 7'],
    ) -> TactileCode:
        """Return `encode(tactile, encode_views(views), action_prev)`."""
        return self.encode(tactile, self.encode_views(views), action_prev)


def _host_call(
    program: Callable[..., list[np.ndarray]], shapes: tuple[tuple[int, ...], ...]
) -> Callable[..., tuple[np.ndarray, ...]]:
    """Wrap the program with the check of what it returns."""

    def call(*arrays: jax.Array) -> tuple[np.ndarray, ...]:
        outputs = program(*map(np.asarray, arrays))
        found = [(output.shape, str(output.dtype)) for output in outputs]
        expected = [(shape, 'float32') for shape in shapes]
        if found != expected:
            raise TorchScriptOutputError(
                f'TorchScript program: found outputs {found}, expected q_event and logvar {expected}'
            )
        if not all(np.isfinite(output).all() for output in outputs):
            raise TorchScriptOutputError('TorchScript program: found NaN or infinite outputs, expected none')
        return tuple(outputs)

    return call
