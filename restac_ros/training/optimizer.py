"""AdamW with warm-up and cosine decay, as pi0.5 and ResTac were trained; shortened runs keep the shape."""

from dataclasses import dataclass

import optax

PUBLISHED_STEPS = 30_000


@dataclass(frozen=True)
class OptimizerConfig:
    """Values as published.

    Attributes:
        peak: learning rate after the warm-up.
        end: learning rate from `decay_steps` on.
        warmup_steps, decay_steps: of a run of `decay_steps` or more; shorter runs scale both down in proportion.
        b1, b2, eps, weight_decay: AdamW's.
        clip: largest global norm of a gradient.
    """

    peak: float = 2.5e-5
    end: float = 2.5e-6
    warmup_steps: int = 1_000
    decay_steps: int = PUBLISHED_STEPS
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 1e-10
    clip: float = 1.0

    def scaled(self, steps: int) -> tuple[int, int]:
        """Warm-up and decay steps of a run of `steps`."""
        if steps >= self.decay_steps:
            return self.warmup_steps, self.decay_steps
        share = steps / self.decay_steps
        return max(1, round(self.warmup_steps * share)), max(2, steps)

    def schedule(self, steps: int) -> optax.Schedule:
        """Learning rate by step: linear from peak / (warm-up + 1), then half a cosine."""
        warmup, decay = self.scaled(steps)
        return optax.warmup_cosine_decay_schedule(self.peak / (warmup + 1), self.peak, warmup, decay, self.end)

    def transformation(self, steps: int) -> optax.GradientTransformation:
        """Clip, then AdamW, over the trained leaves only: frozen ones never enter it."""
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.adamw(self.schedule(steps), b1=self.b1, b2=self.b2, eps=self.eps, weight_decay=self.weight_decay),
        )

    def describe(self, steps: int) -> str:
        """One line; says when the schedule was shortened."""
        warmup, decay = self.scaled(steps)
        shortened = ' (shortened with the run)' if steps < self.decay_steps else ''
        return f'AdamW, {self.peak:g} after {warmup} steps, {self.end:g} after {decay}{shortened}, clip {self.clip:g}'
