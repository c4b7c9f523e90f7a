"""The gate is set by recorded touch, and a gate that cannot be is refused with the reason."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.network import initial_params, leaf_shapes
from restac_ros.model.checkpoint.orbax_layout import write_orbax
from restac_ros.model.checkpoint.provenance import GateCalibration
from restac_ros.model.checkpoint.store import checkpoint_fingerprint, load_info, load_params, save_checkpoint
from restac_ros.model.observation import pixels_to_float
from restac_ros.model.presets import PRESETS
from restac_ros.model.tactile.interface import NO_CODE
from restac_ros.model.tactile.unit_align_checkpoint import save_lightning
from restac_ros.policy.demo_tokenizer import train_demo_tokenizer
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.init_checkpoint import import_checkpoint, init_checkpoint
from restac_ros.policy.policy import Policy
from restac_ros.training import calibration
from restac_ros.training.calibration import calibrate, fit_gate
from restac_ros.training.calibration_figure import calibration_png
from restac_ros.training.contact import contact_labels
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.errors import TrainingError
from restac_ros.training.gate_goal import GateGoal
from restac_ros.training.tactile.prepare import prepare_tactile
from restac_ros.training.tactile.samples import TouchSource
from tactile_runs import SHORT_TACTILE

GOAL = GateGoal()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_the_fit_puts_the_asked_share_of_frames_on_either_side() -> None:
    rng = np.random.default_rng(0)
    free, contact = rng.normal(-1, 0.3, 1000), rng.normal(1, 0.3, 500)
    threshold, temperature = fit_gate(free, contact, GOAL)
    gate = [sigmoid((x - threshold) / temperature) for x in (free, contact)]
    assert np.mean(gate[0] < GOAL.free_below) == pytest.approx(GOAL.share, abs=0.002)
    assert np.mean(gate[1] > GOAL.contact_above) == pytest.approx(GOAL.share, abs=0.003)


def test_frames_that_overlap_are_refused_with_how_far() -> None:
    rng = np.random.default_rng(0)
    free, contact = rng.normal(0, 1, 4000), rng.normal(0.5, 1, 4000)
    with pytest.raises(
        TrainingError, match=r'they overlap by 2\.0\d+ \(AUROC 0\.6\d+\), expected a gap of 0\.02'
    ):
        fit_gate(free, contact, GOAL)


@pytest.mark.parametrize(
    'goal', [{'free_below': 0.8}, {'contact_above': 1.0}, {'share': 0.4}, {'share': 1.0}, {'free_below': 0.0}]
)
def test_goals_that_no_gate_reaches_are_refused(goal: dict) -> None:
    with pytest.raises(TrainingError, match='expected'):
        GateGoal(**goal)


@pytest.fixture(scope='module')
def random_checkpoint(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of random weights; tests do not write to it."""
    path = tmp_path_factory.mktemp('random') / 'tiny'
    init_checkpoint('tiny', contract, path)
    return path


@pytest.fixture
def foretold(episodes: Episodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder whose logvar foretells contact, as a trained one's does; only the numbers are put in."""
    truth = {number: label.in_contact for number, label in contact_labels(episodes, range(4)).items()}
    rng = np.random.default_rng(0)

    def read(config, params, opened, places):
        touching = np.array([truth[episode][frame] for episode, frame in places.tolist()])
        return np.where(touching, -4.0, -9.0) + 0.2 * rng.standard_normal(len(places)), touching.astype(int)

    monkeypatch.setattr(calibration, '_read', read)


def test_a_random_encoder_is_refused_and_its_checkpoint_stays(
    random_checkpoint: Path, touch_data: Path
) -> None:
    before = checkpoint_fingerprint(random_checkpoint)
    with pytest.raises(TrainingError, match=r'they overlap by \d.*AUROC'):
        calibrate(random_checkpoint, touch_data, goal=GateGoal(share=0.99))
    assert checkpoint_fingerprint(random_checkpoint) == before


def test_the_calibration_is_written_where_policies_read_it(
    random_checkpoint: Path, touch_data: Path, episodes: Episodes, tmp_path: Path, foretold: None
) -> None:
    to = tmp_path / 'calibrated'
    report = calibrate(random_checkpoint, touch_data, goal=GOAL, to=to)
    before, after = load_info(random_checkpoint), load_info(to)
    contact = after.calibration.contact
    assert contact.data == (episodes.identity,)
    assert str(touch_data.parent) not in contact.data[0], 'checkpoints are passed on'
    assert contact.labels == 'tactile image'
    assert contact.auroc == 1.0
    assert (contact.codes_used, contact.free_frames + contact.contact_frames) == (2, 248)
    assert after.config.logvar_calibration.mean == after.calibration.mean
    assert after.origin == before.origin
    old, new = (load_params(path, before.config) for path in (random_checkpoint, to))
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert changed == {'gate/threshold', 'gate/temperature'}
    assert float(new['gate/threshold']) == pytest.approx(contact.threshold, rel=1e-6)
    text = '\n'.join(report.describe())
    assert '90% of free frames below 0.2' in text
    assert 'codes: 2 of 32 used' in text


def test_an_encoder_without_codes_is_calibrated_without_them(
    random_checkpoint: Path, touch_data: Path, tmp_path: Path, foretold: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `cnn` encoders are, whose readings say that there is no code."""
    read = calibration._read

    def uncoded(*given):
        logvar, codes = read(*given)
        return logvar, np.full_like(codes, NO_CODE)

    monkeypatch.setattr(calibration, '_read', uncoded)
    report = calibrate(random_checkpoint, touch_data, goal=GOAL, to=tmp_path / 'calibrated')
    assert report.codes is None
    assert report.describe()[-1] == 'codes: none'
    contact = load_info(tmp_path / 'calibrated').calibration.contact
    assert (contact.codes_used, contact.perplexity) == (None, None)


def test_a_checkpoint_is_replaced_whole_and_a_place_that_is_taken_is_kept(
    random_checkpoint: Path, touch_data: Path, tmp_path: Path, foretold: None
) -> None:
    own = shutil.copytree(random_checkpoint, tmp_path / 'own')
    calibrate(own, touch_data, goal=GOAL)
    assert load_info(own).calibration.contact is not None
    assert [path.name for path in tmp_path.iterdir()] == ['own']
    with pytest.raises(ValueError, match='already exists and stays as it is'):
        calibrate(random_checkpoint, touch_data, goal=GOAL, to=own)


def test_the_picture_is_drawn(
    random_checkpoint: Path, touch_data: Path, tmp_path: Path, foretold: None
) -> None:
    report = calibrate(random_checkpoint, touch_data, goal=GOAL, to=tmp_path / 'calibrated')
    assert calibration_png(report, 'tiny on touch').startswith(b'\x89PNG')


def test_policies_without_such_a_gate_are_refused(
    random_checkpoint: Path, touch_data: Path, contract: Contract, tmp_path: Path
) -> None:
    init_checkpoint('tiny_no_touch', contract, tmp_path / 'blind')
    with pytest.raises(TrainingError, match=r"found fusion 'none', expected a policy with a tactile encoder"):
        calibrate(tmp_path / 'blind', touch_data, goal=GOAL)
    init_checkpoint(replace(PRESETS['tiny_cnn'], gate='learnable'), contract, tmp_path / 'learnable')
    with pytest.raises(TrainingError, match=r"found gate 'learnable', expected .* 'necessity'"):
        calibrate(tmp_path / 'learnable', touch_data, goal=GOAL)


def test_data_of_another_robot_are_refused(
    random_checkpoint: Path, touch_data: Path, contract_with: Callable[..., Contract], tmp_path: Path
) -> None:
    info = load_info(random_checkpoint)
    other = replace(info, contract_text=dump_contract(contract_with(fps=10)))
    save_checkpoint(tmp_path / 'other', load_params(random_checkpoint, info.config), other)
    with pytest.raises(PolicyError, match='fps'):
        calibrate(tmp_path / 'other', touch_data, goal=GOAL)


def test_data_without_enough_contact_are_refused(random_checkpoint: Path, touch_data: Path) -> None:
    with pytest.raises(
        TrainingError, match=r'found 5 frames in free space, 5 frames in contact, expected 20'
    ):
        calibrate(random_checkpoint, touch_data, goal=GOAL, most_frames=10)


def test_a_calibration_of_an_older_version_is_read(random_checkpoint: Path, tmp_path: Path) -> None:
    info = load_info(random_checkpoint)
    stored = {'mean': -9.0, 'std': 0.5, 'samples': 3, 'source': 'here'}
    assert GateCalibration.from_stored(stored, 'calibration').contact is None
    params = load_params(random_checkpoint, info.config)
    save_checkpoint(tmp_path / 'same', params, replace(info, calibration=GateCalibration(-9.0, 0.5)))
    assert load_info(tmp_path / 'same').calibration == GateCalibration(-9.0, 0.5)


PLACES = [(episode, frame) for episode in range(4) for frame in range(0, 62, 3)]


@pytest.fixture(scope='module')
def foretelling(touch_data: Path, episodes: Episodes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published file of an encoder whose logvar was fitted to contact, in place of training."""
    leaves = prepare_tactile(SHORT_TACTILE, [touch_data]).leaves
    unit = leaves.unit(leaves.initial(0))
    source = TouchSource(episodes, np.array(PLACES), 0)
    batch = source.joined([source[index] for index in range(len(source))])
    hidden = np.asarray(jax.jit(hidden_features)(nnx.split(unit), batch.views, batch.action_prev), np.float64)
    labels = contact_labels(episodes, range(4))
    wanted = np.array([2.0 * labels[episode].in_contact[frame] - 1 for episode, frame in PLACES])
    design = np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)
    weights = np.linalg.solve(design.T @ design + 1e-3 * np.eye(design.shape[1]), design.T @ wanted)
    unit.prophet.head_logvar.kernel[...] = jnp.asarray(weights[:-1, None], jnp.float32)
    unit.prophet.head_logvar.bias[...] = jnp.asarray(weights[-1:], jnp.float32)
    path = tmp_path_factory.mktemp('foretelling') / 'unit_align.ckpt'
    save_lightning(path, unit, 1)
    return path


def hidden_features(unit: tuple[nnx.GraphDef, nnx.State], views: jax.Array, action: jax.Array) -> jax.Array:
    """What the heads of the prophet read."""
    prophet = nnx.merge(*unit).prophet
    features = prophet.encode_views(pixels_to_float(views))
    h = jnp.concatenate([features, nnx.relu(prophet.action_in(action))], axis=-1)
    for layer in prophet.fusion:
        h = layer(h)
    return h


def test_a_calibrated_gate_opens_in_contact_and_shuts_in_free_space(
    foretelling: Path, touch_data: Path, episodes: Episodes, contract: Contract, tmp_path: Path
) -> None:
    """By the road of deployment: `import-checkpoint --unit-align`, `Policy.load`, one frame at a time."""
    base = PRESETS['tiny_no_touch']
    write_orbax(tmp_path / 'base', initial_params(base, leaf_shapes(base), 0))
    words = tmp_path / 'words.model'
    words.write_bytes(train_demo_tokenizer())
    own = tmp_path / 'own'
    import_checkpoint(tmp_path / 'base', 'tiny', contract, own, unit_align=foretelling, tokenizer=words)
    calibrate(own, touch_data, goal=GateGoal(share=0.8), most_frames=64)
    policy = Policy.load(own, contract, 'slide', use_compile_cache=False)
    label = contact_labels(episodes, [1])[1].in_contact
    frames = range(1, len(label), 4)
    gates = []
    for frame in frames:
        sample = episodes.sample(1, frame, 1)
        prefix = policy.encode_prefix(sample.images, 0)
        gates.append(policy.encode_tactile(sample.tactile, prefix, sample.action_prev, 0).gate)
    gate, touching = np.array(gates), label[list(frames)]
    assert gate[touching].mean() > 0.6
    assert gate[~touching].mean() < 0.4
