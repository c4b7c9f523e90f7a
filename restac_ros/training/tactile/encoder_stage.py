"""First stage: the tactile image encoder, with a decoder that draws the image again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from restac_ros.training.step import NamedLeaves
from restac_ros.training.tactile.config import StageName
from restac_ros.training.tactile.samples import TouchBatch
from restac_ros.training.tactile.stage import FrameValues
from restac_ros.training.tactile.trainee import UNIT, Trainee

GREY_LEVELS = 127.5  # of an image in [-1, 1]
SCALE_WEIGHT = 0.1
"""Of the loss that keeps the latent's mean square at 1: reconstruction alone leaves its scale free, and
variances are stated in it."""


@dataclass(frozen=True)
class EncoderStage:
    """Mean square of the reconstructed image, and the scale of the latent."""

    name: StageName = 'encoder'
    parts: tuple[str, ...] = (f'{UNIT}/encoder', f'{UNIT}/quant_conv', 'image_decoder')
    reads_views: bool = False

    def loss(
        self, model: Trainee, batch: TouchBatch, step: Int[Array, ''], key: PRNGKeyArray
    ) -> tuple[Float[Array, ''], dict[str, Array]]:
        """Return the loss, and the error in grey levels."""
        rngs = nnx.Rngs(key)
        tactile = jnp.asarray(batch.tactile)
        latent = model.unit.latent(tactile, rngs)
        square = jnp.mean((model.image_decoder(latent, rngs) - tactile) ** 2)
        scale = jnp.mean(latent**2)
        loss = square + SCALE_WEIGHT * (scale - 1) ** 2
        return loss, {'reconstruction_grey': jnp.sqrt(square) * GREY_LEVELS, 'latent_square': scale}

    def measure(self, model: Trainee, batch: TouchBatch) -> dict[str, Array]:
        """Return each image's and each reconstruction's values, in small squares, and the error."""
        tactile = jnp.asarray(batch.tactile)
        image = model.image_decoder(model.unit.latent(tactile))
        return {'image': _small(tactile), 'error': jnp.mean((image - tactile) ** 2, axis=(1, 2, 3))}

    def health(self, measured: FrameValues) -> dict[str, float]:
        """Return the error, and the share of the images' variation (4x4 pixel means) beside it."""
        image = measured['image']
        error = float(measured['error'].mean())
        spread = float(np.mean((image - image.mean(axis=0)) ** 2))
        return {
            'reconstruction_grey': float(np.sqrt(error) * GREY_LEVELS),
            'spread_grey': float(np.sqrt(spread) * GREY_LEVELS),
        }

    def describe(self, health: Mapping[str, float]) -> str:
        """Return the health in words."""
        return (
            f'reconstructs images to {health["reconstruction_grey"]:.2f} grey levels (RMS, sensor noise '
            f'included); they vary by {health["spread_grey"]:.2f} from frame to frame'
        )

    def before(self, step: int, measured: Callable[[int], FrameValues]) -> NamedLeaves:
        """Return no leaves: none is replaced."""
        return {}


def _small(image: Float[Array, 'B h w c']) -> Float[Array, 'B i j c']:
    """Means over 4x4 pixels: changes of the gel without the sensor's noise."""
    return nnx.avg_pool(image, (4, 4), strides=(4, 4))
