"""Conversion: what LeRobot reads back is what the framer made; appending is all or nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from PIL import Image
from rosbags.typesys import Stores, get_typestore

from restac_ros.contract.load import load_contract, parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import EpisodeReport, convert_episode, main
from restac_ros.dataset.dataset_files import dataset_contract, streams_of
from restac_ros.dataset.errors import ConversionError, DatasetError
from restac_ros.dataset.features import features_of, meaning_differences
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.preview import frame_grid_png
from restac_ros.dataset.survey import recorded_samples
from restac_ros.framing.frame import Frame
from restac_ros.framing.framer import frames

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

START_NS = 1_760_000_000_000_000_000
TASK = 'press the button'
VIDEO_TOLERANCE = 12  # of 255: yuv420p and CRF 12 on smooth pictures
CAMERAS = ('main', 'handeye', 'side')
GELSIGHT = 'observation.images.gelsight_left_rgb'


@pytest.fixture(scope='module')
def bag_path(
    tmp_path_factory: pytest.TempPathFactory, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> Path:
    return write_bag(tmp_path_factory.mktemp('bag') / 'bag', recording)


@pytest.fixture(scope='module')
def converted(
    tmp_path_factory: pytest.TempPathFactory, bag_path: Path, contract: Contract
) -> tuple[Path, list[EpisodeReport]]:
    """A data set of two episodes: the whole bag, and its second half."""
    root = tmp_path_factory.mktemp('converted') / 'demos'
    first = convert_episode(bag_path, contract, root, TASK, start_ns=START_NS)
    middle = (first.start_ns + first.end_ns) // 2
    return root, [first, convert_episode(bag_path, contract, root, 'another task', start_ns=middle)]


@pytest.fixture(scope='module')
def dataset(converted: tuple[Path, list[EpisodeReport]]) -> LeRobotDataset:
    return open_dataset(converted[0])


def framed(bag_path: Path, contract: Contract, report: EpisodeReport) -> list[Frame]:
    samples = recorded_samples(open_bag(bag_path), contract, report.start_ns, report.end_ns)
    return list(frames(contract, samples, report.start_ns, report.end_ns))


def picture(item: dict, key: str) -> np.ndarray:
    return np.round(item[key].numpy() * 255).astype(np.uint8).transpose(1, 2, 0)


def state_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()}


def varied(values: dict, **changes: object) -> Contract:
    """The contract with dotted paths (written with __) set."""
    values = yaml.safe_load(yaml.safe_dump(values))
    for path, value in changes.items():
        *folders, key = path.split('__')
        inner = values
        for folder in folders:
            inner = inner[folder]
        inner[key] = value
    return parse_contract(yaml.safe_dump(values))


def test_rows_are_the_framers_frames(
    converted: tuple[Path, list[EpisodeReport]], dataset: LeRobotDataset, bag_path: Path, contract: Contract
) -> None:
    _, reports = converted
    assert len(dataset) == sum(report.rows for report in reports)
    row = 0
    for report in reports:
        made = framed(bag_path, contract, report)
        assert len(made) == report.rows + 1
        for frame, following in pairwise(made):
            item = dataset[row]
            np.testing.assert_array_equal(item['observation.state'], frame.state)
            np.testing.assert_array_equal(item['action'], following.state)
            np.testing.assert_array_equal(item['observation.action_prev'], frame.action_prev)
            np.testing.assert_array_equal(picture(item, GELSIGHT), frame.tactile['gelsight_left'])
            for name in CAMERAS:
                shown = picture(item, contract.streams[name].feature).astype(int)
                assert np.abs(shown - frame.images[name]).max() <= VIDEO_TOLERANCE
            for name, status in frame.streams.items():
                assert item[f'stamp_ns.{name}'].item() == status.stamp_ns
                assert item[f'age_ns.{name}'].item() == status.age_ns
                assert item[f'valid.{name}'].item() is True
            assert item['task'] == report.task
            time_s = (frame.time_ns - report.start_ns) / 1e9
            assert item['timestamp'].item() == pytest.approx(time_s, abs=1e-6)
            row += 1
    assert np.all(dataset[0]['observation.action_prev'].numpy() == 0)
    assert np.any(dataset[1]['observation.action_prev'].numpy() != 0)


def test_tactile_is_what_the_sensor_sent(dataset: LeRobotDataset, recording: list[BagMessage]) -> None:
    """Noise, which any lossy step would change: the pixels of the message itself, BGR turned to RGB."""
    sent = {m.cdr[-128 * 160 * 3 :] for m in recording if m.topic == '/gelsight/left/image_raw'}
    for row in (0, 7, len(dataset) - 1):
        assert picture(dataset[row], GELSIGHT)[..., ::-1].tobytes() in sent


def test_delta_timestamps_reach_back_and_forth(converted: tuple[Path, list[EpisodeReport]]) -> None:
    root, [first, _] = converted
    delta = {
        'action': [0.0, 0.1, 0.2],
        'observation.state': [-0.1, 0.0],
        'observation.images.main_realsense_rgb': [-0.1, 0.0],
    }
    dataset = LeRobotDataset('local/demos', root, delta_timestamps=delta, video_backend='pyav')
    item = dataset[5]
    assert item['action'].shape == (3, 7)
    np.testing.assert_array_equal(item['action'][0], item['action'][0])
    np.testing.assert_array_equal(
        item['observation.state'][1],
        LeRobotDataset('local/demos', root, video_backend='pyav')[5]['observation.state'],
    )
    np.testing.assert_array_equal(item['action'][0], dataset[6]['observation.state'][1])
    assert item['observation.images.main_realsense_rgb'].shape == (2, 3, 224, 224)
    assert dataset[first.rows - 1]['action_is_pad'].tolist() == [False, True, True]


def test_what_is_stored_about_it(
    converted: tuple[Path, list[EpisodeReport]], dataset: LeRobotDataset, contract: Contract
) -> None:
    root, reports = converted
    assert dataset_contract(root) == contract
    assert dataset.meta.fps == contract.fps
    about = root / 'meta' / 'restac_ros'
    conversion = json.loads((about / 'conversion.json').read_text())
    assert conversion['action'] == {'space': 'absolute_pose', 'delta': 'elementwise', 'source': 'next_state'}
    stored = json.loads((about / 'episodes' / 'episode_000001.json').read_text())
    assert stored['task'] == 'another task'
    assert stored['rows'] == reports[1].rows
    assert stored['streams']['joints']['rate_hz'] == pytest.approx(200, rel=0.02)
    assert stored['contract_differences'] == []
    assert reports[0].episode_index == 0
    assert reports[1].episode_index == 1
    assert {'action', 'observation.state', GELSIGHT} <= set(dataset.meta.stats)
    assert not [key for key in dataset.meta.stats if key.startswith(('stamp_ns', 'age_ns', 'valid'))]
    features = features_of(contract, streams_of(root, contract))
    assert {key: (f['dtype'], tuple(f['shape'])) for key, f in features.items()}.items() <= {
        key: (f['dtype'], tuple(f['shape'])) for key, f in dataset.meta.features.items()
    }.items()


def test_statistics_are_those_of_the_images(dataset: LeRobotDataset) -> None:
    """Of every fifth and of every other pixel, which noise does not notice."""
    images = np.stack([dataset[row][GELSIGHT].numpy() for row in range(len(dataset))])
    found = dataset.meta.stats[GELSIGHT]
    assert found['mean'].shape == (3, 1, 1)
    np.testing.assert_allclose(found['mean'].reshape(3), images.mean(axis=(0, 2, 3)), atol=0.01)
    np.testing.assert_allclose(found['std'].reshape(3), images.std(axis=(0, 2, 3)), atol=0.01)
    np.testing.assert_allclose(found['q90'].reshape(3), np.quantile(images, 0.9, axis=(0, 2, 3)), atol=0.02)


def test_the_same_recording_gives_the_same_bytes(
    tmp_path: Path, bag_path: Path, contract: Contract, converted: tuple[Path, list[EpisodeReport]]
) -> None:
    convert_episode(bag_path, contract, tmp_path / 'again', TASK, start_ns=START_NS)
    again, before = state_of(tmp_path / 'again'), state_of(converted[0])
    videos = [name for name in again if name.endswith('.mp4')]
    assert len(videos) == len(CAMERAS)
    for name in ('data/chunk-000/file-000.parquet', 'meta/episodes/chunk-000/file-000.parquet', *videos):
        assert again[name] == before[name], name


def test_every_other_bag_gives_the_same_rows(
    tmp_path: Path,
    bag_path: Path,
    recording: list[BagMessage],
    journal_of: Callable[..., Path],
    write_bag: Callable[..., Path],
    contract: Contract,
    converted: tuple[Path, list[EpisodeReport]],
) -> None:
    """A journal, which needs nothing to be told; SQLite; and an MCAP cut off in the middle."""

    def actions(root: Path) -> np.ndarray:
        return np.stack([row.numpy() for row in open_dataset(root).hf_dataset['action']])

    whole = actions(converted[0])
    report = convert_episode(journal_of(recording), None, tmp_path / 'journal')
    assert report.task == TASK
    np.testing.assert_array_equal(actions(tmp_path / 'journal'), whole[: report.rows])
    sqlite = write_bag(tmp_path / 'sqlite', recording, 'sqlite3')
    report = convert_episode(sqlite, contract, tmp_path / 'from_sqlite', TASK, start_ns=START_NS)
    np.testing.assert_array_equal(actions(tmp_path / 'from_sqlite'), whole[: report.rows])
    cut = tmp_path / 'cut.mcap'
    cut.write_bytes((bag_path / 'bag.mcap').read_bytes()[:2_000_000])
    report = convert_episode(cut, contract, tmp_path / 'from_cut', TASK, start_ns=START_NS)
    assert 5 <= report.rows < converted[1][0].rows
    assert any('cut.mcap: a record' in note for note in report.notes)
    np.testing.assert_array_equal(actions(tmp_path / 'from_cut'), whole[: report.rows])


def test_a_recording_without_truth_changes_nothing(
    tmp_path: Path,
    converted: tuple[Path, list[EpisodeReport]],
    recording: list[BagMessage],
    contract: Contract,
    write_bag: Callable[..., Path],
    bag_path: Path,
) -> None:
    root, _ = converted
    before = state_of(root)
    with pytest.raises(ConversionError, match='no task text'):
        convert_episode(bag_path, contract, root, '  ')
    with pytest.raises(ConversionError, match='holds no contract'):
        convert_episode(bag_path, None, root, TASK)
    gap = [m for i, m in enumerate(recording) if not 200 < i < 350]
    with pytest.raises(ConversionError, match='inside the episode'):
        convert_episode(write_bag(tmp_path / 'gap', gap), contract, root, TASK)
    wrong = [
        m._replace(cdr=m.cdr.replace(b'rgb8', b'mono', 1)) if m.topic.startswith('/cameras/side') else m
        for m in recording
    ]
    with pytest.raises(ConversionError, match=r"side: .*encoding 'mono'; the contract expects 'rgb8'"):
        convert_episode(write_bag(tmp_path / 'wrong', wrong), contract, root, TASK)
    assert state_of(root) == before
    assert sorted(p.name for p in root.parent.iterdir()) == ['.demos.lock', 'demos']


def test_one_undecodable_message_is_trimmed_or_cut_around(
    tmp_path: Path, recording: list[BagMessage], contract: Contract, write_bag: Callable[..., Path]
) -> None:
    """Decoding finds it only after rows have been written: they are taken back."""
    cameras = [i for i, m in enumerate(recording) if m.topic == '/cameras/main/color/image_raw']
    broken = list(recording)
    for index in cameras[17:20]:
        broken[index] = broken[index]._replace(cdr=broken[index].cdr.replace(b'rgb8', b'rgbX', 1))
    path = write_bag(tmp_path / 'bag', broken)
    with pytest.raises(ConversionError, match=r'1 gap inside.*main: undecodable'):
        convert_episode(path, contract, tmp_path / 'demos', TASK)
    assert not (tmp_path / 'demos').exists()
    report = convert_episode(path, contract, tmp_path / 'demos', TASK, on_gap='longest_run')
    assert report.rows == 12
    assert report.gaps[0].reason.startswith('main: undecodable')
    assert len(open_dataset(tmp_path / 'demos')) == 12


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'fps': 12}, 'fps: 10 != 12'),
        ({'rotation__convention': 'rotvec'}, "rotation.convention: 'rpy' != 'rotvec'"),
        ({'gripper__opening_m': [0.0, 0.1]}, 'gripper.opening_m'),
        ({'streams__side__feature': 'observation.images.other_rgb'}, 'streams.side.feature'),
    ],
)
def test_what_would_mix_meanings_is_refused_by_name(
    change: dict,
    named: str,
    contract_values: dict,
    converted: tuple[Path, list[EpisodeReport]],
    bag_path: Path,
) -> None:
    before = state_of(converted[0])
    with pytest.raises(DatasetError, match='cannot take this episode') as caught:
        convert_episode(bag_path, varied(contract_values, **change), converted[0], TASK)
    assert named in str(caught.value)
    assert state_of(converted[0]) == before


def test_what_changes_no_meaning_may_differ(contract: Contract, contract_values: dict) -> None:
    moved = varied(contract_values, streams__side__topic='/other', streams__main__latency_ms=12.0, name='b')
    assert meaning_differences(contract, moved) == []
    assert meaning_differences(contract, varied(contract_values, robot__arm='panda'))


def test_foreign_directories_are_refused(
    tmp_path: Path, bag_path: Path, contract: Contract, converted: tuple[Path, list[EpisodeReport]]
) -> None:
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'diary.txt').write_text('mine')
    with pytest.raises(DatasetError, match='neither empty nor a LeRobot data set'):
        convert_episode(bag_path, contract, tmp_path / 'notes', TASK)
    assert state_of(tmp_path / 'notes') == {'diary.txt': b'mine'}
    (tmp_path / 'foreign' / 'meta').mkdir(parents=True)
    (tmp_path / 'foreign' / 'meta' / 'info.json').write_text('{"fps": 10, "features": {}}')
    with pytest.raises(DatasetError, match='was not made by this package'):
        convert_episode(bag_path, contract, tmp_path / 'foreign', TASK)


def test_optional_images_are_taken_when_they_are_there(
    tmp_path: Path, recording: list[BagMessage], contract_values: dict, write_bag: Callable[..., Path]
) -> None:
    optional = varied(contract_values, streams__side__required=False)
    without = write_bag(tmp_path / 'without', [m for m in recording if '/side/' not in m.topic])
    report = convert_episode(without, optional, tmp_path / 'demos', TASK)
    assert report.left_out == ['side']
    assert not [key for key in open_dataset(tmp_path / 'demos').meta.features if 'side' in key]
    whole = write_bag(tmp_path / 'whole', recording)
    assert convert_episode(whole, optional, tmp_path / 'demos', TASK).left_out == ['side']
    assert convert_episode(whole, optional, tmp_path / 'more', TASK).left_out == []
    with pytest.raises(ConversionError, match='side: missing'):
        convert_episode(without, optional, tmp_path / 'more', TASK)


def test_commanded_poses_as_actions(
    tmp_path: Path, recording: list[BagMessage], contract_values: dict, write_bag: Callable[..., Path]
) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    kinds, kind = store.types, 'geometry_msgs/msg/PoseStamped'
    poses = []
    for index in range(100):
        time_ns = recording[0].log_time_ns + index * 20_000_000
        stamp = kinds['builtin_interfaces/msg/Time'](sec=time_ns // 10**9, nanosec=time_ns % 10**9)
        pose = kinds['geometry_msgs/msg/Pose'](
            position=kinds['geometry_msgs/msg/Point'](x=0.3 + index / 1000, y=0.0, z=0.2),
            orientation=kinds['geometry_msgs/msg/Quaternion'](x=1.0, y=0.0, z=0.0, w=0.0),
        )
        header = kinds['std_msgs/msg/Header'](stamp=stamp, frame_id='fr3_link0')
        cdr = bytes(store.serialize_cdr(kinds[kind](header=header, pose=pose), kind))
        poses.append(BagMessage('/target_pose', kind, cdr, time_ns + 1_000_000))
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['action']['source'] = 'target_pose'
    values['streams']['target'] = {
        'topic': '/target_pose',
        'type': kind,
        'role': 'target_pose',
        'rate_hz': 50,
        'max_age_ms': 200,
    }
    commanded = parse_contract(yaml.safe_dump(values))
    merged = sorted([*recording, *poses], key=lambda message: message.log_time_ns)
    path = write_bag(tmp_path / 'bag', merged)
    report = convert_episode(path, commanded, tmp_path / 'demos', TASK)
    dataset = open_dataset(tmp_path / 'demos')
    made = framed(path, commanded, report)
    for row in (0, 5, report.rows - 1):
        action = dataset[row]['action'].numpy()
        np.testing.assert_array_equal(action[:6], made[row].target)
        np.testing.assert_array_equal(action[6:], made[row + 1].state[6:])
    assert action[0] > 0.35
    assert dataset[0]['valid.target'].item() is True
    about = json.loads((tmp_path / 'demos' / 'meta' / 'restac_ros' / 'conversion.json').read_text())
    assert about['action']['source'] == 'target_pose'
    values['action']['source'] = 'next_state'
    with pytest.raises(DatasetError, match=r"action\.source: 'target_pose' != 'next_state'"):
        convert_episode(path, parse_contract(yaml.safe_dump(values)), tmp_path / 'demos', TASK)


def test_a_declared_latency_dates_the_samples_and_is_kept_with_the_episode(
    tmp_path: Path, bag_path: Path, contract_values: dict, converted: tuple[Path, list[EpisodeReport]]
) -> None:
    late = varied(contract_values, streams__gelsight_left__latency_ms=30.0)
    convert_episode(bag_path, late, tmp_path / 'demos', TASK, start_ns=START_NS)
    as_it_was = open_dataset(converted[0]).hf_dataset
    for row, other in zip(open_dataset(tmp_path / 'demos').hf_dataset, as_it_was, strict=False):
        assert row['stamp_ns.gelsight_left'] == other['stamp_ns.gelsight_left'] - 30_000_000
        assert row['stamp_ns.main'] == other['stamp_ns.main']
    about = json.loads((tmp_path / 'demos/meta/restac_ros/episodes/episode_000000.json').read_text())
    assert about['streams']['gelsight_left']['declared_latency_ms'] == 30
    assert about['streams']['main']['declared_latency_ms'] == contract_values['streams']['main'].get(
        'latency_ms', 0
    )


def test_the_program_reports_in_lines_of_json(
    tmp_path: Path,
    journal_of: Callable[..., Path],
    recording: list[BagMessage],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(journal_of(recording)), '--to', str(tmp_path / 'demos')]) == 0
    *progress, done, end = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert progress[0] == {'event': 'progress', 'done': 1, 'total': progress[-1]['total']}
    assert progress[-1]['done'] == progress[-1]['total'] == done['report']['rows']
    assert (done['event'], end) == ('done', {'event': 'end'})
    assert main([str(tmp_path / 'absent'), '--to', str(tmp_path / 'demos')]) == 1
    [failed, _] = capsys.readouterr().out.splitlines()
    assert 'does not exist' in json.loads(failed)['error']


def test_stopped_in_the_middle(
    tmp_path: Path,
    converted: tuple[Path, list[EpisodeReport]],
    bag_path: Path,
    contract: Contract,
    journal_of: Callable[..., Path],
    recording: list[BagMessage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C, and the SIGTERM of the node that has started the program."""
    root, _ = converted
    before = state_of(root)

    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_episode(bag_path, contract, root, TASK, interrupt)
    usual = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr('restac_ros.dataset.convert.print_event', lambda *_, **__: signal.raise_signal(15))
    try:
        with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
            main([str(journal_of(recording)), '--to', str(root)])
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert state_of(root) == before
    assert sorted(p.name for p in root.parent.iterdir()) == ['.demos.lock', 'demos']
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('encode ')]


# Appends an episode in a child process that is killed at its n-th file operation, for some n.
KILL_WHILE_APPENDING = """
import hashlib, json, os, signal, sys
from pathlib import Path
from restac_ros.dataset import writer               # loads LeRobot, once for all children
from restac_ros.dataset.convert import convert_episode

bag, root = Path(sys.argv[1]), Path(sys.argv[2])
EVENTS = ('open', 'os.', 'shutil.', 'ctypes.')

def state():
    return hashlib.sha256(repr([(p.relative_to(root).as_posix(), p.read_bytes())
                                for p in sorted(root.rglob('*')) if p.is_file()]).encode()).hexdigest()

def child(kill_at):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    seen = [0]
    def hook(event, arguments):
        if event.startswith(EVENTS) and root.name in str(arguments):
            seen[0] += 1
            if seen[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    convert_episode(bag, None, root)
    os._exit(0)

outcomes = []
for kill_at in map(int, sys.argv[3:]):
    before = state()
    status = child(kill_at)
    episodes = json.loads((root / 'meta' / 'info.json').read_text())['total_episodes']
    outcomes.append(['as before' if state() == before else 'changed', os.WIFSIGNALED(status), episodes])
print(json.dumps(outcomes))
"""


def test_killed_while_appending(
    tmp_path: Path, journal_of: Callable[..., Path], recording: list[BagMessage], repository: Path
) -> None:
    bag, root = journal_of(recording), tmp_path / 'demos'
    assert convert_episode(bag, None, root).episode_index == 0
    # Linking, frames, Parquet, videos, our own files, reading back; the last is beyond the end.
    moments = ['3', '45', '90', '130', '1000000']
    run = subprocess.run(
        [sys.executable, '-c', KILL_WHILE_APPENDING, str(bag), str(root), *moments],
        env={**os.environ, 'PYTHONPATH': str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    outcomes = json.loads(run.stdout.splitlines()[-1])
    assert [killed for _, killed, _ in outcomes] == [True] * 4 + [False]
    for changed, _, episodes in outcomes[:-1]:
        assert (changed, episodes) == ('as before', 1)
    assert outcomes[-1] == ['changed', False, 2]
    dataset = open_dataset(root)
    assert dataset.meta.total_episodes == 2
    np.testing.assert_array_equal(dataset[0]['action'], dataset[len(dataset) // 2]['action'])
    assert sorted(p.name for p in tmp_path.iterdir()) == ['.demos.lock', 'demos', 'take']


def test_the_preview_is_a_picture_of_the_episode(
    tmp_path: Path, converted: tuple[Path, list[EpisodeReport]]
) -> None:
    out = frame_grid_png(converted[0], tmp_path / 'deep' / 'grid.png')
    with Image.open(out) as image:
        pixels = np.asarray(image.convert('RGB'))
    assert pixels.shape[0] > 800
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000  # pictures, not an empty page
    with pytest.raises(DatasetError, match='episodes 0 to 1'):
        frame_grid_png(converted[0], tmp_path / 'grid.png', episode=2)


def test_a_real_bag(tmp_path: Path, make_real_bag: Callable[..., Path], repository: Path) -> None:
    contract = load_contract(repository / 'config' / 'contract.yaml')
    bag = make_real_bag('--seconds', '3')
    report = convert_episode(bag, contract, tmp_path / 'demos', TASK)
    assert report.rows >= 40
    assert report.gaps == []
    made = framed(bag, contract, report)
    dataset = open_dataset(tmp_path / 'demos')
    for row in (0, 17, report.rows - 1):
        item = dataset[row]
        np.testing.assert_array_equal(item['observation.state'], made[row].state)
        np.testing.assert_array_equal(picture(item, GELSIGHT), made[row].tactile['gelsight_left'])
        for name in CAMERAS:
            shown = picture(item, contract.streams[name].feature).astype(float)
            error = np.mean((shown - made[row].images[name]) ** 2)
            assert 10 * np.log10(255**2 / error) > 40


def test_one_pass_finds_all_torn_images_and_the_longest_run_is_kept(
    tmp_path: Path, recording: list[BagMessage], contract: Contract, write_bag: Callable[..., Path]
) -> None:
    cameras = [i for i, m in enumerate(recording) if m.topic == '/cameras/main/color/image_raw']
    torn = list(recording)
    for number, index in enumerate(cameras):
        if number % 12 == 5:
            torn[index] = torn[index]._replace(cdr=torn[index].cdr.replace(b'rgb8', b'rgb?', 1))
    path = write_bag(tmp_path / 'bag', torn)
    with pytest.raises(ConversionError, match=r'[4-9] gaps inside the episode.*main: undecodable'):
        convert_episode(path, contract, tmp_path / 'demos', TASK)
    report = convert_episode(path, contract, tmp_path / 'demos', TASK, on_gap='longest_run')
    made = list(frames(contract, recorded_samples(open_bag(path), contract, *span_of(path)), *span_of(path)))
    runs = [len(list(run)) for usable, run in groupby(frame.usable for frame in made) if usable]
    assert report.rows == max(runs) - 1
    assert len(report.gaps) == 4


def span_of(path: Path) -> tuple[int, int]:
    first_ns, last_ns = open_bag(path).bounds_ns
    return first_ns, last_ns + 1


def test_a_short_gap_in_images_is_bridged_where_asked_and_marked(
    tmp_path: Path, recording: list[BagMessage], contract: Contract, write_bag: Callable[..., Path]
) -> None:
    main = '/cameras/main/color/image_raw'
    held = [m for m in recording if m.topic != main or not 0.8 < (m.log_time_ns - START_NS) / 1e9 < 1.15]
    path = write_bag(tmp_path / 'bag', held)
    for bridge in (0, 1):
        with pytest.raises(ConversionError, match=r'1 gap inside the episode: at .* 2 frames'):
            convert_episode(path, contract, tmp_path / 'demos', TASK, bridge_frames=bridge)
    report = convert_episode(path, contract, tmp_path / 'demos', TASK, bridge_frames=2)
    assert report.gaps == []
    assert any('2 frames from' in note and 'valid.<stream>' in note for note in report.notes)
    dataset = open_dataset(tmp_path / 'demos')
    rows = [dataset[row] for row in range(len(dataset))]
    marked = [row for row, item in enumerate(rows) if not item['valid.main'].item()]
    assert len(marked) == 2
    before = rows[marked[0] - 1]
    for row in marked:
        item = rows[row]
        shown, last = (picture(one, contract.streams['main'].feature).astype(int) for one in (item, before))
        assert np.abs(shown - last).max() <= VIDEO_TOLERANCE, 'the last valid image is repeated'
        assert item['stamp_ns.main'].item() == before['stamp_ns.main'].item()
        period_ns = contract.period_ns * (row - marked[0] + 1)
        assert item['age_ns.main'].item() == before['age_ns.main'].item() + period_ns
        assert not np.array_equal(item['observation.state'], before['observation.state'])
        assert item['valid.side'].item()


def test_rates_are_those_of_the_run_that_is_taken(
    tmp_path: Path, recording: list[BagMessage], contract: Contract, write_bag: Callable[..., Path]
) -> None:
    """A recorder under simulated time: the first messages are received at 0, and then nothing for seconds."""
    early = [m._replace(log_time_ns=0) for m in recording[:20]]
    shift_ns = START_NS - 10 * 10**9  # simulated time begins somewhere
    later = [shifted(m, -shift_ns) for m in recording]
    path = write_bag(tmp_path / 'bag', [*early, *later])
    report = convert_episode(path, contract, tmp_path / 'demos', TASK)
    assert report.rows > 15
    assert report.streams['main'].rate_hz == pytest.approx(30, rel=0.05)
    assert any('before the first /clock' in note for note in report.notes)
    stray = [shifted(m, -shift_ns - 5 * 10**9) for m in recording[:60]]
    path = write_bag(tmp_path / 'stray', [*stray, *later])
    report = convert_episode(path, contract, tmp_path / 'demos', TASK, on_gap='longest_run')
    assert report.streams['main'].rate_hz == pytest.approx(30, rel=0.05)


def shifted(message: BagMessage, offset_ns: int) -> BagMessage:
    """A message received and stamped at another time."""
    seconds, nanoseconds = (int(value) for value in np.frombuffer(message.cdr[4:12], '<u4'))
    stamp_ns = seconds * 10**9 + nanoseconds + offset_ns
    head = np.array([stamp_ns // 10**9, stamp_ns % 10**9], '<u4').tobytes()
    return message._replace(
        cdr=message.cdr[:4] + head + message.cdr[12:], log_time_ns=message.log_time_ns + offset_ns
    )
