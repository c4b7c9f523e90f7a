"""Unit-Align learns from the touch task, stage by stage, and its files give the same encoder back."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.encoder_source import unit_align_params
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.tactile.config import TactileConfig
from restac_ros.model.tactile.unit_align import UnitAlign
from restac_ros.model.tactile.unit_align_checkpoint import load_unit_align
from restac_ros.training.config import LoaderConfig
from restac_ros.training.data.pictures import StoredPictures
from restac_ros.training.data.tables import EpisodeRows
from restac_ros.training.errors import TrainingError
from restac_ros.training.optimizer import transformation
from restac_ros.training.run_store import RunStore
from restac_ros.training.step import NamedLeaves, TrainingState
from restac_ros.training.tactile import config as sizes
from restac_ros.training.tactile.config import CodebookConfig
from restac_ros.training.tactile.event_stage import EventStage, started_codebook
from restac_ros.training.tactile.prepare import PreparedTactile, prepare_tactile
from restac_ros.training.tactile.results import LIGHTNING_FILE, save_touch_picture, write_unit_align
from restac_ros.training.tactile.stage import StageStep
from restac_ros.training.tactile.trainee import leaves_of
from tactile_runs import SHORT_TACTILE, train_tactile


def equal(one: NamedLeaves, other: NamedLeaves) -> bool:
    return set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


def test_each_stage_learns_and_reports_its_health(tactile_run) -> None:
    _, outcome, numbers = tactile_run
    assert outcome.stopped_in is None
    for stage, value in (('encoder', 'loss'), ('prophet', 'latent_error'), ('event', 'unexplained')):
        told = numbers.of[stage]
        first, last = (np.mean([told[step][value] for step in steps]) for steps in ((1, 2), list(told)[-3:]))
        assert last < 0.95 * first, (stage, first, last)
    assert outcome.health['encoder']['reconstruction_grey'] > 0
    for stage, value in (
        ('prophet', 'nll_constant'),
        ('prophet', 'rank_correlation'),
        ('event', 'perplexity'),
    ):
        assert np.isfinite(outcome.health[stage][value])


def test_a_stage_moves_its_own_parts_and_no_others(tactile_run) -> None:
    """The prophet predicts a latent that it cannot move, and the event encoder a residual."""
    prepared, outcome, _ = tactile_run
    start = prepared.leaves.initial(prepared.config.seed)
    moved_by = {}
    leaves = start
    for stage in prepared.stages:
        store = RunStore(prepared.config.to / stage.name, 1, prepared.identity(stage.name))
        function = StageStep(stage, prepared.leaves, _optimizer(), 0)
        state = store.restore(function.start(leaves))
        store.close()
        after = {**function.frozen(leaves), **state['moving'], **state['trained']}
        moved_by[stage.name] = {name for name in leaves if not np.array_equal(leaves[name], after[name])}
        leaves = after
    assert equal(leaves, outcome.leaves)
    for stage in prepared.stages:
        assert moved_by[stage.name]
        assert all(name.startswith(stage.parts) for name in moved_by[stage.name])
    assert any(name.endswith('/var') for name in moved_by['prophet'])
    assert not any(name.startswith('unit/encoder') for name in moved_by['prophet'] | moved_by['event'])


def _optimizer() -> optax.GradientTransformation:
    return transformation(SHORT_TACTILE.adam, 16)


def test_an_interrupted_run_goes_on_to_the_same_bits(tactile_run, tmp_path: Path) -> None:
    """In the second stage, and before and after the third's codebook starts; the first is killed below."""
    prepared, outcome, _ = tactile_run
    again = replace(prepared, config=replace(prepared.config, to=tmp_path / 'other'))
    for stage, step in (('prophet', 6), ('event', 3), ('event', 7)):
        stopped, _ = train_tactile(again, stop_in=(stage, step))
        assert (stopped.stopped_in, stopped.step) == (stage, step)
    resumed, _ = train_tactile(again)
    assert equal(resumed.leaves, outcome.leaves)
    assert resumed.health == outcome.health


def test_a_run_with_other_settings_is_not_resumed(tactile_run) -> None:
    prepared, _, _ = tactile_run
    other = replace(prepared, config=replace(prepared.config, seed=1))
    with pytest.raises(TrainingError, match=r'seed: 42 != 1.*--allow-changes'):
        train_tactile(other)


def test_a_loss_that_is_not_finite_names_stage_and_samples(tactile_run, tmp_path: Path, monkeypatch) -> None:
    prepared, _, _ = tactile_run
    broken = replace(prepared, config=replace(prepared.config, to=tmp_path / 'broken'))
    initial = prepared.leaves.initial(1)
    initial['image_decoder/conv_out/bias'] = jnp.full(3, jnp.nan)
    monkeypatch.setattr(prepared.leaves, 'initial', lambda seed: initial)
    said = r'encoder, step 1: found loss nan.*episode \d+ frame \d+.*no state was saved before it'
    with pytest.raises(TrainingError, match=said):
        train_tactile(broken)


def test_both_layouts_give_the_same_encoder_back(tactile_run, tmp_path: Path) -> None:
    prepared, outcome, _ = tactile_run
    own, published = write_unit_align(prepared, outcome)
    trained = prepared.leaves.unit(outcome.leaves)
    config, leaves = unit_align_params(own)
    assert config == prepared.network
    assert equal(leaves, _as_parts(trained))
    config, leaves = unit_align_params(published)
    assert config == prepared.network
    assert equal(leaves, _as_parts(trained))
    module, report = load_unit_align(published)
    assert not report.ignored
    assert not report.ignored_hyper_parameters
    batch = prepared.held_out(reads_views=True)[0]
    tactile, views = (np.asarray(pixels, np.float32) / 255 * 2 - 1 for pixels in (batch.tactile, batch.views))
    inputs = tactile, views, batch.action_prev
    encode = nnx.jit(lambda unit, tactile, views, prev: unit.encode(tactile, unit.encode_views(views), prev))
    for found, wanted in zip(encode(module, *inputs), encode(trained, *inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)


def _as_parts(unit: UnitAlign) -> NamedLeaves:
    return {f'tactile/{name}': leaf for name, leaf in leaves_of(unit).items()}


def test_a_file_of_ours_holds_tensors_and_plain_values_only(tactile_run) -> None:
    import pickletools
    import zipfile

    prepared, outcome, _ = tactile_run
    write_unit_align(prepared, outcome)
    with zipfile.ZipFile(prepared.config.to / LIGHTNING_FILE) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith('data.pkl')]
        operations = list(pickletools.genops(archive.read(name)))
    asked = {argument for code, argument, _ in operations if code.name == 'GLOBAL'}
    assert asked <= {
        'torch._utils _rebuild_tensor_v2',
        'torch FloatStorage',
        'torch LongStorage',
        'collections OrderedDict',
    }


def test_a_damaged_directory_is_refused_by_file(tactile_run, tmp_path: Path) -> None:
    prepared, outcome, _ = tactile_run
    own, _ = write_unit_align(prepared, outcome)
    with pytest.raises(CheckpointError, match=r'found no unit_align\.json'):
        unit_align_params(own.parent / 'encoder')
    text = (own / 'tactile_config.json').read_text()
    (own / 'tactile_config.json').write_text(text.replace('8', '9', 1))
    with pytest.raises(CheckpointError, match=r'tactile_config\.json: content does not match'):
        unit_align_params(own)
    write_unit_align(prepared, outcome)
    unit_align_params(own)


def test_the_picture_shows_what_is_felt_drawn_expected_and_corrected(tactile_run) -> None:
    import cv2

    prepared, outcome, _ = tactile_run
    image = cv2.imread(str(save_touch_picture(prepared, outcome.leaves)))
    height, width = image.shape[:2]
    assert (height - 24) % 128 == 0
    assert width == 4 * 160
    columns = np.split(image[24:].astype(float), 4, axis=1)
    assert np.abs(columns[0] - columns[1]).mean() < 30
    assert not np.array_equal(columns[2], columns[3])


def test_the_codebook_starts_from_more_vectors_than_a_batch_holds() -> None:
    quantizer = replace(SHORT_TACTILE.network.quantizer, num_codes=6)
    rng = np.random.default_rng(0)
    centres = 20 * rng.standard_normal((6, 64))
    events = np.concatenate([centre + 0.1 * rng.standard_normal((20, 64)) for centre in centres])
    codebook = started_codebook(jnp.asarray(events, jnp.float32), quantizer, batch_size=3, seed=0)
    assert float(codebook.cluster_size.sum()) == pytest.approx(3)
    distance = np.linalg.norm(np.asarray(codebook.embed)[:, None] - centres[None], axis=-1)
    assert sorted(distance.argmin(axis=1).tolist()) == list(range(6))
    np.testing.assert_allclose(codebook.embed_avg, codebook.embed * codebook.cluster_size[:, None], rtol=1e-6)


def test_dead_codes_restart_and_a_rare_use_in_small_batches_does_not_kill(tactile_run) -> None:
    prepared, outcome, numbers = tactile_run
    stage = prepared.stages[2]
    assert stage.restart_below == pytest.approx(0.1 * 4 / 4)
    restarts = [told['restarts'] for told in numbers.of['event'].values() if 'restarts' in told]
    assert restarts == sorted(restarts)
    assert restarts[stage.warmup_steps] == 0
    embed = np.asarray(outcome.leaves['unit/quantizer/embed'])
    assert np.isfinite(embed).all()


@pytest.mark.parametrize(
    ('codes', 'code_of', 'in_effect', 'said'),
    [
        (8, [0, 1, 2, 3] * 6, 4, None),
        (16, [0, 1, 2, 3] * 6, 4, r'few are used evenly: fewer codes'),
        (
            32,
            [0, 1, 2, 3] * 6,
            4,
            r'contradict it 24 times in effect, fewer than there are codes: hold out more',
        ),
    ],
)
def test_the_use_of_codes_is_told_of_what_contradicts(
    codes: int, code_of: list[int], in_effect: float, said: str | None
) -> None:
    """Two hundred frames of free space beside 24 in contact are no sign of a collapsed codebook."""
    quantizer = replace(SHORT_TACTILE.network.quantizer, num_codes=codes)
    stage = EventStage(quantizer, 1, 8, 4, 0.1, 2, 0)
    health = stage.health(
        {
            'code_index': np.array([codes - 1] * 200 + code_of),
            'residual_square': np.array([0.0] * 200 + [0.5] * len(code_of)),
            'error': np.array([0.0] * 200 + [0.1] * len(code_of)),
        }
    )
    assert health['explained'] == pytest.approx(0.8)
    assert health['perplexity'] == pytest.approx(in_effect, rel=1e-5)
    assert health['perplexity_of_frames'] < 2.1
    assert health['codes_used'] == 5 / codes
    text = stage.describe(health)
    assert f'{in_effect:.1f} of {codes} codes are in effect' in text
    assert text.endswith('are used') if said is None else re.search(said, text)


def test_the_published_sizes_are_written_as_published(golden_dir: Path) -> None:
    import json

    from restac_ros.model.tactile.hyper_parameters import config_from_hyper_parameters, hyper_parameters_of

    stated = json.loads((golden_dir / 'unit_align_hparams.json').read_text())
    ours = hyper_parameters_of(sizes.TactileTrainConfig().network)
    for section in ('ddconfig', 'prophet_config', 'residual_vq_config'):
        shared = set(stated[section]) & set(ours[section])
        assert shared
        assert {key: ours[section][key] for key in shared} == {key: stated[section][key] for key in shared}
    widths = {
        'prophet_encoder.visual_backbone.0.weight': np.zeros((64, 1)),
        'event_encoder.head.0.weight': np.zeros((64, 1)),
    }
    assert config_from_hyper_parameters(ours, widths).config == TactileConfig()


def test_cosine_codes_are_told_apart_in_the_layout(tactile_run) -> None:
    from restac_ros.model.tactile.hyper_parameters import hyper_parameters_of

    cosine = replace(SHORT_TACTILE, codebook=replace(SHORT_TACTILE.codebook, cosine=True)).network
    assert hyper_parameters_of(cosine)['residual_vq_config']['metric'] == 'cosine'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'batch_size': 0}, r'batch_size'),
        ({'encoder_steps': 0}, r'encoder_steps: found 0, expected 1 or more'),
        ({'learning_rate': float('nan')}, r'learning_rate: found nan'),
        ({'validation_share': 0.0}, r'found no held-out episode at 0.*--validation-share'),
        ({'codebook': CodebookConfig(codes=4096)}, r'frames to train on.*4096 codes.*--codebook\.codes'),
        ({'codebook': CodebookConfig(warmup_share=1.0)}, r'codebook\.warmup_share: found 1, expected'),
        (
            {'codebook': CodebookConfig(codes=4, warmup_share=0.97)},
            r'codebook\.warmup_share: found 0\.97, which is all 16 steps of stage event',
        ),
    ],
)
def test_settings_that_cannot_be_trained_are_refused(touch_data: Path, changes: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        prepare_tactile(replace(SHORT_TACTILE, **changes), [touch_data])


def test_pictures_are_read_from_the_cache_that_the_loader_names(touch_data: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    cached = replace(SHORT_TACTILE, loader=LoaderConfig(cache=tmp_path))
    own, decoded = (
        prepare_tactile(cached, [touch_data], lines.append),
        prepare_tactile(SHORT_TACTILE, [touch_data]),
    )
    assert lines[-1].endswith(f'frames decoded into {tmp_path}')
    assert all(episodes.pictures.folder.parent == tmp_path for episodes in own.opened)
    (source,), (other,) = (prepared.sources(reads_views=True) for prepared in (own, decoded))
    for one, another in zip(source[3], other[3], strict=True):
        np.testing.assert_array_equal(one, another)
    assert own.identity('event') == decoded.identity('event')


def test_a_tactile_image_is_decoded_once_a_sample(touch_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    touch = StoredPictures.touch

    def counted(self: StoredPictures, column: str, span: EpisodeRows, frame: int) -> np.ndarray:
        reads.append(frame)
        return touch(self, column, span, frame)

    prepared = prepare_tactile(SHORT_TACTILE, [touch_data])
    monkeypatch.setattr(StoredPictures, 'touch', counted)
    for reads_views in (True, False):
        (source,) = prepared.sources(reads_views)
        source[3]
        assert len(reads) == 1
        reads.clear()


def test_no_data_set_is_refused() -> None:
    with pytest.raises(TrainingError, match='datasets: found none'):
        prepare_tactile(SHORT_TACTILE, [])


@pytest.fixture
def contract_without(contract: Contract, tmp_path: Path) -> Callable[[str], Path]:
    """contract_without(column) -> the file of a contract that looks for that image column elsewhere."""

    def make(column: str) -> Path:
        path = tmp_path / f'{column}.yaml'
        path.write_text(
            dump_contract(contract).replace(f'observation.images.{column}', 'observation.images.none')
        )
        return path

    return make


@pytest.mark.parametrize('column', ['gelsight_left_rgb', 'side_realsense_rgb'])
def test_a_contract_with_other_columns_than_the_recorded_one_is_refused(
    touch_data: Path, contract_without: Callable[[str], Path], column: str
) -> None:
    with pytest.raises(TrainingError, match=f"contradicts the one it was recorded under.*images.{column}'"):
        prepare_tactile(replace(SHORT_TACTILE, contract=contract_without(column)), [touch_data])


def test_a_killed_run_goes_on_to_the_same_bits(tactile_run, touch_data: Path, tmp_path: Path) -> None:
    """A closed terminal, then kill -9 in the middle of a stage, as a power cut would, by the command line."""
    prepared, _, _ = tactile_run
    line = [sys.executable, '-m', 'restac_ros.cli', 'train-tactile', str(touch_data)]
    line += ['--size', 'tiny', '--validation-share', '0.3', '--batch-size', '4', '--learning-rate', '3e-3']
    line += ['--encoder-steps', '10', '--log-every', '1', '--save-every', '4', '--validation-frames', '16']
    line += ['--codebook.codes', '4', '--codebook.vectors-per-code', '4', '--codebook.restart-every', '2']
    whole = r'encoder: reconstructs images to', signal.SIGKILL, -signal.SIGKILL
    killed = r'encoder  step +6 ', signal.SIGKILL, -signal.SIGKILL
    ends = [('cut', r'encoder  step +2 ', signal.SIGHUP, 130), ('cut', *killed), ('cut', *whole)]
    for name, last, number, status in [*ends, ('uncut', *whole)]:
        command = [*line, '--to', str(tmp_path / name)]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for told in run.stdout:
            if re.match(last, told):
                os.kill(run.pid, number)
        assert run.wait() == status
    states = [encoder_state(prepared, tmp_path / name) for name in ('uncut', 'cut')]
    assert int(states[0]['step']) == 10
    for found, wanted in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(found, wanted)


def encoder_state(prepared: PreparedTactile, directory: Path) -> TrainingState:
    """The last state of the first stage of a run."""
    stage = prepared.stages[0]
    store = RunStore(directory / stage.name, 1, prepared.identity(stage.name))
    function = StageStep(stage, prepared.leaves, _optimizer(), 0)
    state = store.restore(function.start(prepared.leaves.initial(0)))
    store.close()
    return state


def test_pixels_of_a_step_are_those_of_deployment(tactile_run) -> None:
    """The encoder's checks of range and type run on what training gives it."""
    prepared, outcome, _ = tactile_run
    batch = prepared.held_out(reads_views=True)[0]
    assert batch.tactile.dtype == batch.views.dtype == np.uint8
    assert batch.views.shape[1:] == prepared.network.view_shape
    stage = prepared.stages[1]
    measured = StageStep(stage, prepared.leaves, _optimizer(), 0).measure(outcome.leaves, batch)
    assert measured['logvar'].shape == (4,)
    assert jax.tree.all(jax.tree.map(lambda x: bool(np.isfinite(x).all()), measured))
