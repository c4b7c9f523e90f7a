"""What cannot be trained on is refused before anything is compiled, by item, value, expectation and "
"remedy."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import read_info, write_info
from restac_ros.training.config import AugmentationConfig, LoaderConfig, OptimizerConfig, TrainConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.data.selection import select
from restac_ros.training.errors import TrainingError
from restac_ros.training.norm_stats import measure_norm_stats
from restac_ros.training.prepare import Prepared, prepare
from restac_ros.training.run_identity import selection_digest, weights_digest
from restac_ros.training.run_store import RunStore
from restac_ros.training.tactile.prepare import prepare_tactile
from tactile_runs import SHORT_TACTILE

COMPILED: list[str] = []


@pytest.fixture(scope='module', autouse=True)
def _count_compilations() -> None:
    def note(event: str, _: float, **__: object) -> None:
        if 'backend_compile' in event:
            COMPILED.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)


@pytest.fixture(autouse=True)
def _nothing_is_compiled(_count_compilations: None) -> Iterator[None]:
    before = len(COMPILED)
    yield
    assert len(COMPILED) == before


def test_the_count_of_compilations_counts() -> None:
    before = len(COMPILED)
    jax.jit(lambda x: x * 3 + len(COMPILED))(np.ones(3)).block_until_ready()
    assert len(COMPILED) == before + 1
    COMPILED.pop()


@pytest.fixture
def copy_of(touch_data: Path, tmp_path: Path) -> Callable[[], Path]:
    """A whole data set of the test's own."""

    def make() -> Path:
        return shutil.copytree(touch_data, tmp_path / 'copy')

    return make


def rewrite(path: Path, change: Callable[[dict], dict]) -> None:
    """Change the rows of a Parquet file, under the same columns."""
    table = pq.read_table(path)
    rows = [change(row) for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'datasets': ()}, r'data\.datasets: found none, expected one or more'),
        ({'weights': (1.0, 2.0)}, r'data\.weights: found 2, expected 1, one per data set'),
        ({'weights': (-1.0,)}, r'data\.weights: found \(-1\.0,\), expected numbers above 0'),
        ({'validation_share': 1.0}, r'validation-share: found 1\.0, expected 0 or more, below 1'),
        (
            {'norm_stats': Path('none.json')},
            r'data\.norm-stats: found no file none\.json.*leave the option out',
        ),
        ({'save_every': 0, 'log_every': 0}, r'log-every: found 0, expected at least 1; save-every: found 0'),
        ({'accumulate': 3}, 'accumulate: found 3, expected a divisor of the batch size 4'),
        ({'fsdp': 2}, r'fsdp: found 2, expected a divisor of \d+ devices'),
        ({'preset': 'smal'}, r"preset: found 'smal', expected one of"),
        ({'episodes': (1, 9)}, r'found no episode \[9\], expected numbers from 0 to 3'),
        (
            {'weights': (float('nan'),)},
            r'data\.weights: found \(nan,\), expected numbers above 0, all finite',
        ),
        ({'max_delay_steps': -1}, r'max-delay-steps: found -1, expected 0 or more; 0: none'),
        ({'max_delay_steps': 16}, r'max-delay-steps: found 16, expected at most 15: a chunk has 16 steps'),
        ({'loader': LoaderConfig(threads=-1)}, r'threads: found -1, expected 0 or more; 0: two per core'),
        ({'loader': LoaderConfig(workers=-2)}, r'workers: found -2, expected 0 or more; 0: threads only'),
        ({'optimizer': OptimizerConfig(peak=float('nan'))}, r'optimizer\.peak: found nan, expected above 0'),
        ({'optimizer': OptimizerConfig(peak=0.0)}, r'optimizer\.peak: found 0\.0, expected above 0, finite'),
        ({'optimizer': OptimizerConfig(end=-1.0)}, r'optimizer\.end: found -1\.0, expected 0 or more'),
        (
            {'optimizer': OptimizerConfig(clip=0.0)},
            r'clip: found 0\.0, expected .* above 0; inf: no clipping',
        ),
        (
            {'optimizer': OptimizerConfig(warmup_steps=40_000)},
            r'warmup-steps: found 40000 beside 30000 decay-steps \(5 and 4 in a run of 4\).*fewer steps',
        ),
        (
            {'augmentation': AugmentationConfig(crop=0.0)},
            r'augmentation\.crop: found 0\.0, expected above 0, at most 1',
        ),
        (
            {'augmentation': AugmentationConfig(contrast=1.0, brightness=-0.1, probability=2.0)},
            r'brightness: found -0\.1, .*contrast: found 1\.0, expected .*below 1.*probability: found 2\.0',
        ),
        (
            {'augmentation': AugmentationConfig(rotation_deg=float('nan'))},
            r'rotation-deg: found nan, expected 0 to 180',
        ),
        ({'verdict': 'good'}, r'found verdicts on 0 episodes, expected 4: run `restac-ros quality'),
        ({'validation_share': 0.999}, r'found no frame to train on among 4 episodes.*leave out less'),
    ],
)
def test_settings_that_cannot_be_are_refused(
    run_of: Callable[..., TrainConfig], changes: dict, expected: str
) -> None:
    with pytest.raises(TrainingError, match=expected):
        prepare(run_of(**changes))


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (
            {'rotation': {'convention': 'rotvec', 'branch_centre_rad': [np.pi, 0.0, 0.0]}},
            r"rotation\.convention: 'rpy' != 'rotvec'.*leave --data\.contract out",
        ),
        (
            {'action': {'space': 'absolute_pose', 'delta': 'so3', 'source': 'next_state'}},
            r"action\.delta: 'elementwise' != 'so3'.*leave --data\.contract out",
        ),
        ({'fps': 10}, r'fps: found 15 frames/s, expected 10 by the contract: give the contract'),
    ],
    ids=['rotation convention', 'delta rule', 'frame rate'],
)
def test_data_and_contract_that_disagree_are_refused(
    run_of: Callable[..., TrainConfig],
    contract_with: Callable[..., Contract],
    tmp_path: Path,
    changes: dict,
    expected: str,
) -> None:
    given = tmp_path / 'contract.yaml'
    given.write_text(dump_contract(contract_with(**changes)))
    with pytest.raises(TrainingError, match=expected):
        prepare(run_of(contract=given))


@pytest.mark.parametrize(
    'begin',
    [
        lambda run_of, mixed: prepare(run_of(datasets=mixed)),
        lambda _, mixed: prepare_tactile(SHORT_TACTILE, mixed),
        lambda _, mixed: measure_norm_stats([open_episodes(root) for root in mixed], [[0], [0]], 5),
    ],
    ids=['train', 'train-tactile', 'norm-stats'],
)
def test_data_sets_of_two_rotation_conventions_are_not_mixed(
    run_of: Callable[..., TrainConfig],
    copy_of: Callable[[], Path],
    touch_data: Path,
    contract_with: Callable[..., Contract],
    begin: Callable,
) -> None:
    root = copy_of()
    other = contract_with(rotation={'convention': 'rotvec', 'branch_centre_rad': [np.pi, 0.0, 0.0]})
    (root / 'meta' / 'restac_ros' / 'contract.yaml').write_text(dump_contract(other))
    with pytest.raises(TrainingError, match=r"rotation\.convention: found 'rotvec', expected 'rpy'.*anew"):
        begin(run_of, (touch_data, root))


def test_a_data_set_without_touch_is_refused_for_a_policy_with_touch(
    run_of: Callable[..., TrainConfig], info_with: Callable[..., Path]
) -> None:
    root = info_with(lambda info: info['features'].pop('observation.images.gelsight_left_rgb'))
    with pytest.raises(
        TrainingError, match=r'no tactile images, expected a column .*gelsight_left_rgb.*pi05'
    ):
        prepare(run_of(datasets=(root,)))


@pytest.mark.parametrize('shape', [[96, 128, 3], [3, 96, 128]])
def test_touch_of_another_size_is_refused_before_a_sample_is_read(
    run_of: Callable[..., TrainConfig], info_with: Callable[..., Path], shape: list[int]
) -> None:
    column = 'observation.images.gelsight_left_rgb'
    root = info_with(lambda info: info['features'][column].update(shape=shape))
    with pytest.raises(
        TrainingError, match=r'left_rgb: found images of \(96, 128\) px .*\(128, 160\): convert.*anew'
    ):
        prepare(run_of(datasets=(root,)))


@pytest.mark.parametrize(
    ('preset', 'expected'),
    [('tiny', 'the tactile prior reads every'), ('tiny_no_touch', 'contract requires')],
)
def test_a_missing_camera_is_refused(
    run_of: Callable[..., TrainConfig], info_with: Callable[..., Path], preset: str, expected: str
) -> None:
    """Also for a policy without touch: the robot would show it a view that it never saw in training."""
    root = info_with(lambda info: info['features'].pop('observation.images.side_realsense_rgb'))
    named = r'no images for right_wrist_0_rgb \(observation\.images\.side_'
    with pytest.raises(TrainingError, match=f'{named}.*{expected}'):
        prepare(run_of(datasets=(root,), preset=preset))


def test_statistics_of_other_data_are_refused(
    run_of: Callable[..., TrainConfig], prepared: Prepared, tmp_path: Path
) -> None:
    path = tmp_path / 'stats.json'
    path.write_text(json.dumps({**prepared.stats.to_dict(), 'identity': 'f00d' * 16}))
    with pytest.raises(
        TrainingError, match=r'stats\.json: found statistics of f00df00df00d, expected .*again'
    ):
        prepare(run_of(norm_stats=path))


def test_a_prompt_that_is_too_long_is_named(
    run_of: Callable[..., TrainConfig], copy_of: Callable[[], Path]
) -> None:
    root = copy_of()
    words = 'put the peg into the hole ' * 60
    rewrite(
        root / 'meta' / 'tasks.parquet',
        lambda row: {key: words if isinstance(value, str) else value for key, value in row.items()},
    )
    with pytest.raises(TrainingError, match=r"copy: task 0, 'put the peg .*tokens.*96"):
        prepare(run_of(datasets=(root,)))


def test_an_episode_of_one_frame_is_refused(
    run_of: Callable[..., TrainConfig], copy_of: Callable[[], Path]
) -> None:
    root = copy_of()
    for path in (root / 'data').glob('*/*.parquet'):
        table = pq.read_table(path)
        kept = [
            episode != 1 or frame == 0
            for episode, frame in zip(
                table['episode_index'].to_pylist(), table['frame_index'].to_pylist(), strict=True
            )
        ]
        pq.write_table(table.filter(pa.array(kept)), path)
    for path in (root / 'meta' / 'episodes').glob('*/*.parquet'):
        rewrite(path, lambda row: {**row, 'length': 1 if row['episode_index'] == 1 else row['length']})
    info = read_info(root)
    write_info(root, {**info, 'total_frames': pq.read_table(root / 'data', columns=['index']).num_rows})
    with pytest.raises(
        TrainingError, match=r'found 1 episodes shorter than 2 frames.*\[1\].*restac-ros delete'
    ):
        prepare(run_of(datasets=(root,)))


def test_a_video_that_is_missing_is_refused(
    run_of: Callable[..., TrainConfig], copy_of: Callable[[], Path]
) -> None:
    root = copy_of()
    next((root / 'videos').glob('*/*/*.mp4')).unlink()
    with pytest.raises(TrainingError, match=r'is missing: bring the videos'):
        prepare(run_of(datasets=(root,)))


def test_a_video_with_other_frames_than_its_table_is_refused(
    run_of: Callable[..., TrainConfig], copy_of: Callable[[], Path]
) -> None:
    root = copy_of()
    path = max((root / 'videos').glob('*/*/*.mp4'))
    whole = path.rename(path.with_suffix('.whole.mp4'))
    with av.open(str(whole)) as source, av.open(str(path), 'w') as target:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in packets[:-5]:
            packet.stream = stream
            target.mux(packet)
    whole.unlink()
    with pytest.raises(
        TrainingError, match=rf'found {len(packets) - 5} frames, expected {len(packets)}: those'
    ):
        prepare(run_of(datasets=(root,)))


def test_data_sets_that_mean_different_things_are_not_mixed(
    run_of: Callable[..., TrainConfig],
    copy_of: Callable[[], Path],
    touch_data: Path,
    contract_with: Callable[..., Contract],
) -> None:
    root = copy_of()
    other = contract_with(action={'space': 'absolute_pose', 'delta': 'so3', 'source': 'next_state'})
    (root / 'meta' / 'restac_ros' / 'contract.yaml').write_text(dump_contract(other))
    with pytest.raises(TrainingError, match=r"action\.delta: found 'so3', expected 'elementwise'.*anew"):
        prepare(run_of(datasets=(touch_data, root)))


def test_a_directory_with_another_run_is_refused(
    run_of: Callable[..., TrainConfig], prepared: Prepared
) -> None:
    config = run_of(optimizer=OptimizerConfig(peak=5e-4))
    store = RunStore(config.to, 10, prepared.identity)
    store.save(2, {'step': np.array(2, np.int32)})
    store.close()
    with pytest.raises(TrainingError, match=r'step 2 is of another run.*optimizer: .*--allow-changes'):
        prepare(config)


@pytest.mark.parametrize(
    ('change', 'named'),
    [({'min_range': {'ee_x': 1.0}}, 'statistics: '), ({'validation_share': 0.0}, 'selection: ')],
)
def test_a_run_is_not_resumed_with_other_statistics_or_other_episodes(
    prepared: Prepared, tmp_path: Path, change: dict, named: str
) -> None:
    """The policy would move the robot by a wrong factor, or be judged by what it was trained on."""
    train = replace(prepared.train, to=tmp_path / 'run')
    store = RunStore(train.to, 10, prepared.identity)
    store.save(2, {'step': np.array(2, np.int32)})
    store.close()
    with pytest.raises(TrainingError, match=f'step 2 is of another run.*{named}'):
        prepare(replace(train, data=replace(train.data, **change)))


def test_other_episodes_of_the_same_length_are_another_selection(episodes: Episodes) -> None:
    one, other = (select(episodes, [number], 16, 0.0, skip_idle=False) for number in (0, 1))
    assert len(one.trained) == len(other.trained)
    assert selection_digest(one) != selection_digest(other)


def test_weights_are_told_apart_by_their_content(tmp_path: Path) -> None:
    for name, content in (('one', b'1'), ('same', b'1'), ('other', b'2')):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'model.safetensors').write_bytes(b'0' * 200_000 + content)
    one, same, other = (weights_digest(tmp_path / name) for name in ('one', 'same', 'other'))
    assert one == same != other
    assert weights_digest(tmp_path / 'one' / 'model.safetensors') != other


def test_a_range_is_not_asked_for_beside_a_file_of_statistics(
    run_of: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    (tmp_path / 'stats.json').write_text('{}')
    with pytest.raises(TrainingError, match=r'data\.min-range: .*beside data\.norm-stats'):
        prepare(run_of(norm_stats=tmp_path / 'stats.json', min_range={'ee_x': 1.0}))


def test_a_checkpoint_of_another_size_is_refused(run_of: Callable[..., TrainConfig], deployed: Path) -> None:
    with pytest.raises(TrainingError, match=r"another configuration than preset 'mid'.*action_horizon"):
        prepare(run_of(preset='mid', init=deployed))


def test_an_unreadable_data_set_names_the_file(
    run_of: Callable[..., TrainConfig], copy_of: Callable[[], Path]
) -> None:
    root = copy_of()
    path = min((root / 'data').glob('*/*.parquet'))
    path.write_bytes(b'PAR1')
    with pytest.raises(TrainingError, match=rf'{path.name} cannot be read'):
        open_episodes(root)
