"""AdamW with warm-up and cosine decay, as pi0.5 and ResTac were trained; shortened runs keep the shape."""

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
        optax.clip_by_global_norm(config.clip),
        optax.adamw(
            schedule(config, steps),
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
        ),
    )
