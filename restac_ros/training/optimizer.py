"""AdamW with warm-up and cosine decay, as pi0.5 and ResTac were trained; shortened runs keep the shape."""

from functools import partial

import jax.numpy as jnp
import optax

from restac_ros.training.config import OptimizerConfig


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate by step of a run of `steps`: linear from peak / (warm-up + 1), then half a cosine."""
    warmup, decay = config.scaled(steps)
    return optax.warmup_cosine_decay_schedule(
        config.peak / (warmup + 1), config.peak, warmup, decay, config.end
    )


def transformation(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Clip, then AdamW, over the trained leaves only: frozen ones never enter it."""
    return optax.chain(
        optax.stateless(partial(_clipped, largest=config.clip)),
        optax.adamw(
            schedule(config, steps),
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
        ),
    )


def _clipped(gradient: optax.Updates, _: optax.Params | None, largest: float) -> optax.Updates:
    """Scale a gradient to a global norm of at most `largest`.

    As `optax.clip_by_global_norm`, whose choice between two trees is not fused with AdamW by XLA on a CPU:
    clipping then takes longer than AdamW itself.
    """
    return optax.tree.scale(jnp.minimum(1.0, largest / optax.tree.norm(gradient)), gradient)
