"""One step of training as a pure function: loss, gradient, update, moving average."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from restac_ros.contract.schema import Contract
from restac_ros.framing.values import STATE_DIM
from restac_ros.model import flow_matching
from restac_ros.model import real_time_chunking as rtc
from restac_ros.model.flow_loss import flow_errors
from restac_ros.model.gate import is_saturated
from restac_ros.model.intermediates import Intermediates
from restac_ros.model.joint_pass import Beside, TextTarget
from restac_ros.model.observation import Observation, pixels_to_float
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.policy.flow_steps import USUAL_FLOW_STEPS
from restac_ros.training.augmentation import AugmentationConfig, augment
from restac_ros.training.batch import Batch
from restac_ros.training.distillation import TEACHER, Distillation, distilled_errors
from restac_ros.training.objective import (
    ACTIONS_ALONE,
    PLAIN_SUMS,
    LossWeights,
    Objective,
    means,
    step_weights,
    text_sums,
)

type NamedLeaves = dict[str, Array]
type TrainingState = dict[str, Any]
"""{'step': int32, 'trained': NamedLeaves, 'optimizer': optax's, 'ema': NamedLeaves or None}."""


class FlowDraw(NamedTuple):
    """What is random in a flow loss: noise [B, T, D], times [B], and simulated delays [B] or none."""

    noise: Float[Array, 'B T D']
    time: Float[Array, ' B']
    delay: Int[Array, ' B'] | None


@dataclass(frozen=True)
class StepFunction:
    """What a step computes; everything here is static under jit.

    Attributes:
        graph, paths: the model without its leaves, and the place of each leaf by name.
        transformation: optimiser of the trained leaves.
        augmentation: of camera images.
        dims: robot's own action dimensions, of the network's: see `action_dims`.
        max_delay_steps: training-time real-time chunking; 0: off.
        accumulate: micro-batches a batch is cut into.
        ema_decay: None: no moving average.
        sources: number of data sets, for the loss of each.
        seed: of noise, flow times, delays and augmentation.
        objective: which losses there are; texts are learnt where a batch holds them.
        distillation: the velocities of a teacher are learnt, in place of the data's; its own leaves are among
            the frozen ones. None: no teacher.
    """

    graph: nnx.GraphDef
    paths: Mapping[str, tuple[tuple, nnx.Variable]]
    transformation: optax.GradientTransformation
    augmentation: AugmentationConfig
    dims: int
    max_delay_steps: int = 0
    accumulate: int = 1
    ema_decay: float | None = None
    sources: int = 1
    seed: int = 0
    objective: Objective = ACTIONS_ALONE
    distillation: Distillation | None = None

    def start(self, trained: NamedLeaves) -> TrainingState:
        """TrainingState before the first step; the moving average is a copy, as buffers are donated."""
        ema = None if self.ema_decay is None else jax.tree.map(jnp.copy, trained)
        return {
            'step': jnp.zeros((), jnp.int32),
            'trained': trained,
            'optimizer': self.transformation.init(trained),
            'ema': ema,
        }

    def __call__(
        self, state: TrainingState, frozen: NamedLeaves, batch: Batch
    ) -> tuple[TrainingState, dict[str, Array]]:
        """Update the state. The result's numbers are scalars, or one value per data set."""
        key = jax.random.fold_in(jax.random.key(self.seed), state['step'])
        total, gradient, report = self._accumulated(state['trained'], frozen, batch, key)
        updates, optimizer = self.transformation.update(gradient, state['optimizer'], state['trained'])
        trained = optax.apply_updates(state['trained'], updates)
        ema = state['ema']
        if self.ema_decay is not None:
            ema = optax.incremental_update(trained, ema, 1.0 - self.ema_decay)
        norm = optax.tree.norm(gradient)
        report |= {'loss': total, 'gradient_norm': norm, 'finite': jnp.isfinite(total) & jnp.isfinite(norm)}
        after = {'step': state['step'] + 1, 'trained': trained, 'optimizer': optimizer, 'ema': ema}
        return after, report

    def validate(
        self, trained: NamedLeaves, frozen: NamedLeaves, batch: Batch, number: Array
    ) -> dict[str, Array]:
        """Sums over a held-out batch, for `means`: of the losses, and of the errors of sampled chunks.

        Noise and times depend on the batch's number alone.
        """
        key, sampling = jax.random.split(jax.random.fold_in(jax.random.key(self.seed), number))
        sums = self.loss(trained, frozen, batch, key, train=False)[1]
        if not self.objective.acts:
            return sums
        model, observation = self.model(trained, frozen), self._on_device(batch.observation, key, train=False)
        noise = jax.random.normal(sampling, batch.actions.shape)
        steps = self.distillation.steps if self.distillation else USUAL_FLOW_STEPS
        chunk, _ = model.sample_actions(
            model.encode_prefix(*observation.prefix),
            _touch(model, observation),
            observation.state,
            noise,
            model.plan_sampling(steps),
        )
        squares = jnp.square(chunk - batch.actions)[..., : self.dims]
        counted = jnp.asarray(batch.step_mask)[..., None]
        return sums | {'action_error_by_dim': jnp.sum(jnp.where(counted, squares, 0.0), axis=(0, 1))}

    def loss(
        self,
        trained: NamedLeaves,
        frozen: NamedLeaves,
        batch: Batch,
        key: PRNGKeyArray,
        weights: LossWeights = PLAIN_SUMS,
        *,
        train: bool = True,
    ) -> tuple[Float[Array, ''], dict[str, Array]]:
        """Weighted sum of the losses, and the sums and counts that the metrics are made of.

        Touch is encoded with the views as recorded, as it is calibrated and deployed: a frozen prior would
        be surprised by what augmentation does.
        """
        model = self.model(trained, frozen)
        recorded = batch.observation
        image_key, noise_key, time_key, delay_key = jax.random.split(key, 4)
        batch = batch._replace(observation=self._on_device(recorded, image_key, train))
        total, sums = jnp.zeros(()), dict[str, Array]()
        if self.distillation is not None:
            teacher = self.model({name: frozen[TEACHER + name] for name in trained}, frozen)
            touch = _touch(teacher, recorded)
            return self._distilled(model, teacher, self.distillation, batch, touch, noise_key, weights)
        if self.objective.acts:
            draw = FlowDraw(
                jax.random.normal(noise_key, batch.actions.shape),
                flow_matching.sample_time(time_key, batch.actions.shape[0]),
                self._delay(delay_key, batch.actions.shape[0]) if self.max_delay_steps and train else None,
            )
            total, sums = self.loss_at(model, batch, _touch(model, recorded), draw, weights)
        elif batch.codes is not None:
            logits = model.text_logits(*batch.observation.prefix, batch.codes)
            total, sums = self._codes_sums(logits, batch.codes, weights)
        if (lesson := batch.subtask) is not None:
            images, masks, *_ = batch.observation.prefix
            logits = model.text_logits(images, masks, lesson.prompt, lesson.prompt_mask, lesson.target)
            part, more = text_sums('subtask', logits, lesson.target, weights.subtask)
            total, sums = total + part, sums | more
        return total, sums

    def loss_at(
        self,
        model: Any,
        batch: Batch,
        touch: TactileCode | None,
        draw: 'FlowDraw',
        weights: LossWeights = PLAIN_SUMS,
    ) -> tuple[Float[Array, ''], dict[str, Array]]:
        """Flow loss at given noise, times and delays, with touch encoded already, and that of action tokens.

        The tokens stand in the same pass, unread by the action expert.
        """
        actions, step_mask = jnp.asarray(batch.actions), jnp.asarray(batch.step_mask)
        beside = Beside(batch.codes, self.objective.insulated)
        errors = flow_errors(
            model, batch.observation, actions, draw.noise, draw.time, touch, draw.delay, beside
        )
        reading = errors.joint.reading
        squares, valid = errors.squares[..., : self.dims], step_mask & errors.asked
        per_step = flow_matching.step_loss(squares, step_mask=valid)
        total = jnp.sum(per_step) + jnp.sum(valid) * model.auxiliary_loss(reading)
        sums = self._sums(batch, per_step, squares, valid, reading)
        if batch.codes is None:
            return total * weights.actions, sums
        logits = model.PaliGemma.llm.logits(errors.joint.target_readers)
        part, more = self._codes_sums(logits, batch.codes, weights)
        return total * weights.actions + part, sums | more

    def _distilled(
        self,
        student: Any,
        teacher: Any,
        how: Distillation,
        batch: Batch,
        touch: TactileCode | None,
        key: PRNGKeyArray,
        weights: LossWeights,
    ) -> tuple[Float[Array, ''], dict[str, Array]]:
        """The loss of a student, as `loss_at` gives that of the flow."""
        observation = batch.observation
        prefix = teacher.encode_prefix(*observation.prefix)
        reading = teacher.correct(teacher.read_touch(touch), prefix.prefix_out, prefix.mask)
        squares = distilled_errors(how, student, teacher, prefix, reading, observation.state, key)
        step_mask = jnp.asarray(batch.step_mask)
        per_step = jnp.where(step_mask, jnp.mean(squares[..., : self.dims], axis=-1), 0.0)
        sums = self._sums(batch, per_step, squares[..., : self.dims], step_mask, reading)
        return jnp.sum(per_step) * weights.actions, sums

    def _codes_sums(
        self, logits: Float[Array, 'B F V'], codes: TextTarget, weights: LossWeights
    ) -> tuple[Float[Array, ''], dict[str, Array]]:
        return text_sums('codes', logits, codes, weights.codes, self.objective.label_smoothing)

    def model(self, trained: NamedLeaves, frozen: NamedLeaves) -> Any:
        """The network with these leaves."""
        leaves = {**trained, **frozen}
        flat = [(path, variable.replace(leaves[name])) for name, (path, variable) in self.paths.items()]
        return nnx.merge(self.graph, nnx.from_flat_state(flat))

    def _accumulated(
        self, trained: NamedLeaves, frozen: NamedLeaves, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ''], NamedLeaves, dict[str, Array]]:
        """Loss and gradient over all micro-batches, each loss a mean over the batch; and the metrics.

        Every n-th row is of one micro-batch: rows that follow each other are on one device, and each
        micro-batch is to be spread over all.
        """
        gradient_of = jax.value_and_grad(self.loss, has_aux=True)
        parts = jax.tree.map(
            lambda x: jnp.swapaxes(x.reshape(-1, self.accumulate, *x.shape[1:]), 0, 1), batch
        )
        keys = key[None] if self.accumulate == 1 else jax.random.split(key, self.accumulate)
        weights = step_weights(self.objective, batch, self._count_steps(parts.step_mask, keys))
        if self.accumulate == 1:
            (total, sums), gradient = gradient_of(trained, frozen, batch, key, weights)
            return total, gradient, means(sums)

        def add(carry: Any, part: tuple[Batch, PRNGKeyArray]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, carry, gradient_of(trained, frozen, *part, weights)), None

        first = jax.tree.map(lambda x: x[0], parts)
        shapes = jax.eval_shape(gradient_of, trained, frozen, first, keys[0], weights)
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        ((total, sums), gradient), _ = jax.lax.scan(add, zero, (parts, keys))
        return total, gradient, means(sums)

    def _count_steps(self, step_mask: Bool[Array, 'N B T'], keys: PRNGKeyArray) -> Float[Array, '']:
        """Number of action steps that are learnt: those of each micro-batch that its delays leave."""
        if not self.max_delay_steps:
            return jnp.sum(step_mask)

        def asked(mask: Bool[Array, 'B T'], key: PRNGKeyArray) -> Float[Array, '']:
            delay = self._delay(jax.random.split(key, 4)[3], mask.shape[0])
            return jnp.sum(mask & ~rtc.is_decided(delay, mask.shape[1]))

        return jnp.sum(jax.vmap(asked)(step_mask, keys))

    def _delay(self, key: PRNGKeyArray, rows: int) -> Int[Array, ' B']:
        return rtc.sample_delay(key, rows, self.max_delay_steps)

    def _on_device(self, observation: Observation, key: PRNGKeyArray, train: bool) -> Observation:
        images = (
            augment(observation.images, key, self.augmentation)
            if train
            else {slot: pixels_to_float(pixels) for slot, pixels in observation.images.items()}
        )
        return observation._replace(images=images)

    def _sums(
        self,
        batch: Batch,
        per_step: Float[Array, 'B T'],
        squares: Float[Array, 'B T d'],
        valid: Bool[Array, 'B T'],
        reading: Intermediates | None,
    ) -> dict[str, Array]:
        """Sums and counts; added over micro-batches, then divided by `means`."""
        own = jax.nn.one_hot(batch.source, self.sources)
        sums = {
            'valid': jnp.sum(valid),
            'flow_loss': jnp.sum(per_step),
            'flow_loss_by_dim': jnp.sum(jnp.where(valid[..., None], squares, 0.0), axis=(0, 1)),
            'source_loss': own.T @ jnp.sum(per_step, axis=1),
            'source_valid': own.T @ jnp.sum(valid, axis=1).astype(jnp.float32),
        }
        if reading is not None:
            sums |= {
                'samples': jnp.asarray(batch.source.shape[0], jnp.float32),
                'gate': jnp.sum(reading.gate),
                'gate_saturated': jnp.sum(is_saturated(reading.gate)).astype(jnp.float32),
                'logvar': jnp.sum(reading.logvar),
            }
        return sums


def action_dims(contract: Contract) -> int:
    """Number of dimensions of an action that the robot has: the opening of an absent gripper is none."""
    return STATE_DIM - 1 if contract.gripper.absent else STATE_DIM


def _touch(model: Any, observation: Observation) -> TactileCode | None:
    return None if observation.tactile is None else model.observe_touch(observation)
