"""Third stage: what contradicts the expectation, as one of a few codes that a decoder can read back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from restac_ros.model.tactile import vector_quantizer as vq
from restac_ros.model.tactile.config import QuantizerConfig
from restac_ros.training.evaluation.surprise import codebook_use
from restac_ros.training.step import NamedLeaves
from restac_ros.training.tactile.config import StageName
from restac_ros.training.tactile.losses import squared_error
from restac_ros.training.tactile.prophet_stage import felt_and_expected
from restac_ros.training.tactile.samples import TouchBatch
from restac_ros.training.tactile.stage import FrameValues
from restac_ros.training.tactile.trainee import UNIT, Trainee

HEALTHY_SHARE = 0.3
"""Of perplexity in the number of codes: our own line under which a codebook is called too large."""


@dataclass(frozen=True)
class EventStage:
    """Error of the decoded residual, in shares of the residual's mean square, and the commitment to codes.

    Attributes:
        quantizer: of the codebook.
        warmup_steps: steps in which events pass unquantized; the codebook starts after them, by k-means.
        vectors: event vectors that k-means starts from.
        batch_size: samples of a step.
        restart_share: a code is dead under this share of an even use, batch size / codes.
        restart_every: steps between restarts; 0: never.
        seed: of k-means.
    """

    quantizer: QuantizerConfig
    warmup_steps: int
    vectors: int
    batch_size: int
    restart_share: float
    restart_every: int
    seed: int
    name: StageName = 'event'
    parts: tuple[str, ...] = (
        f'{UNIT}/event_encoder',
        f'{UNIT}/quantizer',
        'event_decoder',
        'recent',
        'restarts',
        'residual_square',
    )
    reads_views: bool = True

    @property
    def restart_below(self) -> float:
        """Vectors per batch under which a code is dead."""
        return self.restart_share * self.batch_size / self.quantizer.num_codes

    def loss(
        self, model: Trainee, batch: TouchBatch, step: Int[Array, ''], key: PRNGKeyArray
    ) -> tuple[Float[Array, ''], dict[str, Array]]:
        """Return the loss; the codebook moves with its codes, and dead ones restart."""
        latent, prior = felt_and_expected(model, batch)
        event = model.unit.event(prior, latent)
        quantized = model.unit.quantizer(event)
        warming = step < self.warmup_steps
        code = jnp.where(warming, quantized.source, vq.straight_through(quantized))
        residual = latent - prior.mean
        error = squared_error(model.event_decoder(prior.mean, code), residual)
        unexplained = jnp.mean(error) / model.residual_square[...]
        commitment = jnp.where(warming, 0.0, vq.commitment_loss(quantized, self.quantizer))
        self._move(model, quantized, step, key)
        numbers = {
            'unexplained': unexplained,
            'commitment': commitment,
            'perplexity': vq.perplexity(
                quantized.code_index, self.quantizer.num_codes, jnp.mean(residual**2, axis=(1, 2, 3))
            ),
            'restarts': model.restarts[...],
        }
        return unexplained + commitment, numbers

    def _move(self, model: Trainee, quantized: vq.Quantized, step: Int[Array, ''], key: PRNGKeyArray) -> None:
        """Update codebook, recent vectors and the count of restarts, once the warm-up is over."""
        source = jax.lax.stop_gradient(quantized.source)
        before = model.unit.quantizer.codebook
        codebook = vq.ema_update(before, quantized, self.quantizer)
        recent = jnp.concatenate([source, model.recent[...]])[: model.recent.shape[0]]
        if self.restart_every:
            since = step + 1 - self.warmup_steps
            restarted, dead = vq.restart_dead(codebook, recent, self.restart_below, self.quantizer, key)
            due = (since > 0) & (since % self.restart_every == 0)
            codebook = _chosen(due, restarted, codebook)
            model.restarts[...] = model.restarts[...] + jnp.where(due, dead, 0)
        model.unit.quantizer.codebook = _chosen(step < self.warmup_steps, before, codebook)
        model.recent[...] = recent

    def measure(self, model: Trainee, batch: TouchBatch) -> dict[str, Array]:
        """Return event vectors, codes, and squares of the residual and of what codes leave of it."""
        latent, prior = felt_and_expected(model, batch)
        quantized = model.unit.quantizer(model.unit.event(prior, latent))
        residual = latent - prior.mean
        decoded = model.event_decoder(prior.mean, quantized.code)
        return {
            'event': quantized.source,
            'code_index': quantized.code_index,
            'residual_square': jnp.mean(residual**2, axis=(1, 2, 3)),
            'error': squared_error(decoded, residual),
        }

    def health(self, measured: FrameValues) -> dict[str, float]:
        """Return explained share of the residual, and the use of the codebook.

        `perplexity` counts each frame by the mean square of its residual, as frames that contradict nothing
        share one code: where 2 of 3 do, 32 codes that the others use evenly are 6 over all frames. `events`
        is the most that it could be, were each frame an event of its own.
        """
        index, square, codes = measured['code_index'], measured['residual_square'], self.quantizer.num_codes
        use = codebook_use(index, np.zeros(len(index), bool), codes)
        frames = jnp.arange(len(square))
        return {
            'explained': 1 - float(measured['error'].mean() / square.mean()),
            'perplexity': float(vq.perplexity(jnp.asarray(index), codes, jnp.asarray(square))),
            'perplexity_of_frames': use.perplexity,
            'codes_used': use.used / codes,
            'events': float(vq.perplexity(frames, len(square), jnp.asarray(square))),
        }

    def describe(self, health: Mapping[str, float]) -> str:
        """Return the health in words."""
        codes, events = self.quantizer.num_codes, health['events']
        text = (
            f'codes explain {health["explained"]:.0%} of what contradicts the prior, in which '
            f'{health["perplexity"]:.1f} of {codes} codes are in effect (over all frames '
            f'{health["perplexity_of_frames"]:.1f}, as those that contradict nothing share one); '
            f'{health["codes_used"]:.0%} are used'
        )
        if health['perplexity'] >= HEALTHY_SHARE * codes:
            return text
        if events < codes:
            return (
                f'{text}; the held-out frames contradict it {events:.0f} times in effect, fewer than there '
                'are codes: hold out more (--validation-share), or ask for fewer codes (--codebook.codes)'
            )
        return f'{text}; few are used evenly: fewer codes (--codebook.codes) may do, or more data of contact'

    def before(self, step: int, measured: Callable[[int], FrameValues]) -> NamedLeaves:
        """Measure the residual before the first step; start the codebook after the warm-up."""
        leaves: NamedLeaves = {}
        if step == 0:
            leaves['residual_square'] = jnp.mean(jnp.asarray(measured(self.vectors)['residual_square']))
        if step == self.warmup_steps:
            events = jnp.asarray(measured(self.vectors)['event'])
            codebook = started_codebook(events, self.quantizer, self.batch_size, self.seed)
            leaves |= {f'{UNIT}/quantizer/{name}': value for name, value in codebook._asdict().items()}
        return leaves


def started_codebook(
    events: Float[Array, 'N code'], config: QuantizerConfig, batch_size: int, seed: int
) -> vq.Codebook:
    """Return a codebook of k-means over event vectors of many batches.

    A batch alone may hold fewer vectors than there are codes. `cluster_size` counts vectors per batch: it is
    brought from the number gathered to the size of a batch.
    """
    codebook = vq.kmeans_codebook(events, config, jax.random.key(seed))
    size = codebook.cluster_size / codebook.cluster_size.sum() * batch_size
    return vq.Codebook(codebook.embed, size, codebook.embed * size[:, None])


def _chosen(condition: Array, one: vq.Codebook, other: vq.Codebook) -> vq.Codebook:
    return vq.Codebook(*(jnp.where(condition, a, b) for a, b in zip(one, other, strict=True)))
