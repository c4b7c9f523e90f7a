"""Distillation: a student plans in one step what its teacher plans in ten, and is deployed so alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restac_ros.commands.distilling import Distil
from restac_ros.contract.schema import Contract
from restac_ros.model import flow_matching
from restac_ros.model.checkpoint.store import load_info, load_params, save_checkpoint
from restac_ros.model.pi05 import TimeCode
from restac_ros.policy.chunking import Chunking
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.policy import Policy
from restac_ros.training.batch import Batch
from restac_ros.training.config import TrainConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.loader import batches
from restac_ros.training.deploy import write_checkpoint
from restac_ros.training.distillation import Distillation, distilled_errors, trajectory
from restac_ros.training.distributed import on_host
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.subject import open_subjects
from restac_ros.training.prepare import Prepared, prepare
from restac_ros.training.trainer import deployable
from training_run import train

PROMPT = 'press upon the edge'


@pytest.fixture(scope='module')
def teacher(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with noise on its weights, whose flow is curved: fresh ones do not depend on flow time."""
    rng = np.random.default_rng(0)
    weights = {
        name: leaf + rng.normal(0, 0.05, leaf.shape).astype(leaf.dtype)
        for name, leaf in prepared.trained.items()
    }
    to = tmp_path_factory.mktemp('teacher')
    return write_checkpoint(replace(prepared, train=replace(prepared.train, to=to)), weights, 1)


@pytest.fixture(scope='module')
def distilling(teacher: Path, touch_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Distil:
    return Distil(
        teacher,
        [touch_data],
        tmp_path_factory.mktemp('student'),
        updates=30,
        batch_size=4,
        noises=2,
        learning_rate=1e-3,
        ema_decay=0.5,
        augment=False,
        validation_share=0.3,
        validate_every=30,
        save_every=30,
    )


@pytest.fixture(scope='module')
def run(distilling: Distil) -> Prepared:
    return prepare(distilling.config())


@pytest.fixture(scope='module')
def student(run: Prepared) -> tuple[Path, dict]:
    """The distilled checkpoint, and what its run reported by step."""
    outcome, numbers = train(run)
    return write_checkpoint(run, on_host(deployable(outcome.state)), outcome.step), numbers.steps


@pytest.fixture(scope='module')
def batch(run: Prepared) -> Batch:
    return next(batches(run.sources, [], 4, 3, 0, run.train.loader))


def test_a_teacher_is_its_own_student_at_its_own_steps_alone(run: Prepared, batch: Batch) -> None:
    @jax.jit
    def errors(params: dict) -> list[jax.Array]:
        model = run.step.model(params, {})
        cache = model.encode_prefix(*batch.observation.prefix)
        reading = model.read_touch(model.observe_touch(batch.observation))
        state = jnp.asarray(batch.observation.state)
        return [
            distilled_errors(how, model, model, cache, reading, state, jax.random.key(0))
            for how in (Distillation(2, 2), Distillation(1, 2))
        ]

    own, fewer = errors(run.weights.params)
    assert float(own.max()) < 1e-8
    assert float(fewer.mean()) > 1e-4


def test_the_last_stop_is_the_chunk_that_is_sampled() -> None:
    noise = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32))
    code = TimeCode(jnp.linspace(0.1, 0.9, 5)[:, None], None)

    def velocity(x: jax.Array, code: TimeCode) -> jax.Array:
        return x * code.embedding[..., :1, None]

    stops = trajectory(velocity, noise, code)
    by_step = flow_matching.integrate(
        lambda x, at: velocity(x, jax.tree.map(lambda leaf: leaf[None], at)), noise, code, 5
    )
    np.testing.assert_array_equal(stops[0], noise)
    np.testing.assert_allclose(stops[-1], by_step, rtol=1e-6)
    assert len(stops) == 6


def test_what_turns_noise_into_actions_is_trained_and_nothing_else(
    run: Prepared, student: tuple[Path, dict], teacher: Path
) -> None:
    names = set(run.split.trained)
    assert {'action_in_proj/kernel', 'action_out_proj/bias', 'time_mlp_in/kernel'} < names
    assert all(name.startswith(('action_', 'time_mlp_')) or '_1' in name for name in names)
    before, after = (load_params(path, run.config) for path in (teacher, student[0]))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed <= names
    assert 'action_out_proj/kernel' in changed


def chunk_of(path: Path, contract: Contract, sample: object) -> np.ndarray:
    """Normalised chunk as deployed, from fixed noise."""
    policy = Policy.load(path, contract, PROMPT, use_compile_cache=False)
    prefix = policy.encode_prefix(sample.images, 0)
    touch = policy.encode_tactile(sample.tactile, prefix, sample.action_prev, 0)
    planned = policy.act(prefix, touch, sample.state, seed=1, index=0)
    values = np.concatenate([planned.delta_pose, planned.gripper_opening_m[:, None]], axis=1)
    return policy.inputs.actions_from_deltas(values)[:, :7]


def test_one_step_of_the_student_is_nearer_to_its_teacher_than_one_step_of_the_teacher(
    student: tuple[Path, dict], teacher: Path, contract: Contract, episodes: Episodes, tmp_path: Path
) -> None:
    """All three deployed, from the same noise; the plain one is the teacher, said to be distilled."""
    path, numbers = student
    info = load_info(teacher)
    naive = tmp_path / 'naive'
    said = replace(info, origin=replace(info.origin, flow_steps=1), versions={})
    save_checkpoint(naive, load_params(teacher, info.config), said)
    sample = episodes.sample(0, 3, info.config.action_horizon)
    exact, found, plain = (chunk_of(one, contract, sample) for one in (teacher, path, naive))
    assert np.abs(found - exact).mean() < 0.5 * np.abs(plain - exact).mean()
    assert numbers[30]['validation_flow_loss'] < 0.5 * numbers[1]['flow_loss']


def test_a_student_is_deployed_with_its_own_number_of_steps(
    student: tuple[Path, dict], teacher: Path, contract: Contract, touch_data: Path, episodes: Episodes
) -> None:
    path, _ = student
    origin = load_info(path).origin
    assert (origin.flow_steps, origin.made_by, origin.weights) == (1, 'distil --steps 1', str(teacher))
    assert any(data.endswith(episodes.fingerprint) for data in origin.data)
    assert len(origin.data) == len(set(origin.data)) == 2, "the teacher's data are known as well"
    before = load_info(teacher).origin.episodes
    assert set() < set(before) <= set(origin.episodes), 'and its episodes'
    assert origin.knows_episodes
    with pytest.raises(PolicyError, match=r'flow_steps: found 10, expected 1: the checkpoint was distilled'):
        Policy.load(path, contract, PROMPT, num_steps=10)
    with pytest.raises(PolicyError, match=r"'rtc_max_guidance' is 5, above 'flow_steps', which is 1"):
        Policy.load(path, contract, PROMPT, chunking=Chunking('rtc_guided'))
    with pytest.raises(PolicyError, match=r'found 2, expected at least 3.*`restac-ros distil --steps 2`'):
        Policy.load(teacher, contract, PROMPT, num_steps=2)
    taught, own = open_subjects([teacher, path], episodes)
    assert (taught.flow_steps[0], own.flow_steps) == (10, (1,))


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'steps': 3}, r'steps: found 3, expected one of 1, 2, 5: .* is sampled in 10'),
        ({'checkpoint': Path('nowhere')}, 'nowhere'),
        ({'noises': 0}, 'at least one noise'),
    ],
)
def test_what_cannot_be_distilled_is_refused(distilling: Distil, changes: dict, expected: str) -> None:
    with pytest.raises((TrainingError, ValueError), match=expected):
        prepare(replace(distilling, **changes).config())


def test_training_options_that_contradict_distilling_are_refused(
    distilling: Distil, run_of: Callable[..., TrainConfig]
) -> None:
    config = replace(distilling.config(), part='all', max_delay_steps=2)
    with pytest.raises(TrainingError, match=r"part: found 'all', expected 'flow'.*max-delay-steps: found 2"):
        prepare(config)


def test_a_student_of_one_step_has_nothing_left_to_teach(
    distilling: Distil, student: tuple[Path, dict]
) -> None:
    with pytest.raises(TrainingError, match=r'expected a checkpoint that takes more than one step'):
        prepare(replace(distilling, checkpoint=student[0]).config())
