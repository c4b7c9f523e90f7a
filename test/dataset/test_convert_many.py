"""Many recordings: the same data set whoever works on it, in order, resumed where it was interrupted."""

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset import convert_many as module
from restac_ros.dataset import merge
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import convert_episode, survey_recording
from restac_ros.dataset.convert_many import Progress, convert_many
from restac_ros.dataset.engines import SURVEYED_BYTES, start_engine
from restac_ros.dataset.episode_notes import converted_recordings
from restac_ros.dataset.errors import DatasetError, EngineError
from restac_ros.dataset.fingerprint import fingerprint
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.shards import Answer, EpisodeRequest

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

TASKS = ('press the button', 'turn the key', 'press the button')
EPISODES = 'meta/restac_ros/episodes'


@pytest.fixture(scope='module')
def bags(
    tmp_path_factory: pytest.TempPathFactory, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> list[Path]:
    """Three recordings of different lengths, and between them one without joints."""
    folder = tmp_path_factory.mktemp('bags')
    start_ns = recording[0].log_time_ns
    made = [
        write_bag(folder / f'bag{number}', [m for m in recording if m.log_time_ns < start_ns + length_ns])
        for number, length_ns in enumerate((900_000_000, 700_000_000, 1_100_000_000))
    ]
    jointless = [m for m in recording[:300] if m.topic != '/franka/joint_states']
    return [made[0], write_bag(folder / 'jointless', jointless), *made[1:]]


@pytest.fixture(scope='module')
def requests(bags: list[Path], contract: Contract) -> list[EpisodeRequest]:
    tasks = (TASKS[0], 'none', *TASKS[1:])
    return [EpisodeRequest(bag, task, contract) for bag, task in zip(bags, tasks, strict=True)]


@pytest.fixture(scope='module')
def by_two(
    tmp_path_factory: pytest.TempPathFactory, requests: list[EpisodeRequest]
) -> tuple[Path, list[Answer]]:
    root = tmp_path_factory.mktemp('by_two') / 'demos'
    return root, list(convert_many(requests, root, workers=2))


@pytest.fixture(scope='module')
def by_one(
    tmp_path_factory: pytest.TempPathFactory, requests: list[EpisodeRequest]
) -> tuple[Path, list[Answer]]:
    root = tmp_path_factory.mktemp('by_one') / 'demos'
    return root, list(convert_many(requests, root, workers=1))


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()}


def test_the_number_of_workers_changes_nothing(
    by_one: tuple[Path, list[Answer]], by_two: tuple[Path, list[Answer]]
) -> None:
    ours, theirs = files(by_one[0]), files(by_two[0])
    assert ours.keys() == theirs.keys()
    for name in ours:
        if not name.startswith((EPISODES, 'videos/')):
            assert ours[name] == theirs[name], name
    for (root, outcomes), (_, others) in ((by_one, by_two), (by_two, by_one)):
        assert [o.bag for o in outcomes] == [o.bag for o in others]
        assert [p.name for p in root.parent.iterdir() if not p.name.endswith('.lock')] == ['demos']


def test_shards_become_what_appending_would_have_made(
    by_two: tuple[Path, list[Answer]], requests: list[EpisodeRequest], tmp_path: Path
) -> None:
    """Byte by byte where LeRobot writes rows, for statistics within rounding."""
    root = tmp_path / 'appended'
    for request in (requests[0], *requests[2:]):
        convert_episode(request.bag, request.contract, root, request.task)
    ours, theirs = files(by_two[0]), files(root)
    assert ours.keys() == theirs.keys()
    for name in ours:
        if name.startswith('data/') or name in ('meta/info.json', 'meta/restac_ros/contract.yaml'):
            assert ours[name] == theirs[name], name
    one, other = (
        pq.read_table(folder / 'meta/episodes/chunk-000/file-002.parquet').to_pydict()
        for folder in (by_two[0], root)
    )
    assert one.keys() == other.keys()
    for name, values in one.items():
        if name == 'tasks':
            assert values == other[name] == [[TASKS[2]]]
        else:
            np.testing.assert_allclose(values, other[name], rtol=1e-6, atol=1e-9, err_msg=name)
    one, other = (json.loads(tree['meta/stats.json']) for tree in (ours, theirs))
    assert one.keys() == other.keys()
    for key, statistics in one.items():
        for name, value in statistics.items():
            np.testing.assert_allclose(value, other[key][name], rtol=1e-5, atol=1e-7, err_msg=f'{key} {name}')


def test_lerobot_reads_the_episodes_in_the_order_given(by_two: tuple[Path, list[Answer]]) -> None:
    root, outcomes = by_two
    assert [o.report.episode_index if o.report else None for o in outcomes] == [0, None, 1, 2]
    assert 'no message on /franka/joint_states' in outcomes[1].refusal
    dataset = open_dataset(root)
    reports = [o.report for o in outcomes if o.report]
    assert dataset.num_episodes == 3
    assert len(dataset) == sum(report.rows for report in reports)
    row = 0
    for index, report in enumerate(reports):
        assert report.dataset == str(root)
        about = json.loads((root / EPISODES / f'episode_{index:06d}.json').read_text())
        assert (about['bag'], about['dataset'], about['episode_index']) == (report.bag, str(root), index)
        for frame in range(report.rows):
            item = dataset[row]
            assert (item['episode_index'], item['frame_index'], item['index']) == (index, frame, row)
            assert item['task'] == TASKS[index] == report.task
            row += 1


def test_what_is_in_is_skipped(
    by_two: tuple[Path, list[Answer]], requests: list[EpisodeRequest], tmp_path: Path
) -> None:
    root, _ = by_two
    before = files(root)
    moved = tmp_path / 'moved'
    os.symlink(requests[2].bag, moved)
    again = list(
        convert_many([requests[0], EpisodeRequest(moved, 'x', requests[0].contract)], root, workers=2)
    )
    assert [o.already for o in again] == [0, 1]
    assert files(root) == before


def test_an_interrupted_call_goes_on_where_it_was(
    requests: list[EpisodeRequest], by_one: tuple[Path, list[Answer]], tmp_path: Path
) -> None:
    root = tmp_path / 'demos'
    started = convert_many(requests, root, workers=2)
    assert next(started).report.episode_index == 0
    started.close()
    assert list(converted_recordings(root).values()) == [0]
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith('.lock')) == ['demos']
    (tmp_path / '.demos.shards').mkdir()  # what a killed program leaves
    (tmp_path / '.demos.shards' / 'shard-000000').mkdir()
    assert [o.already for o in convert_many(requests, root)] == [0, None, None, None]
    whole = files(by_one[0])
    for name, content in files(root).items():
        if not name.startswith((EPISODES, 'videos/')):
            assert content == whole[name], name


@pytest.mark.parametrize('first_has_it', [True, False])
def test_optional_images_are_the_first_episodes_choice(
    contract_values: dict,
    recording: list[BagMessage],
    write_bag: Callable[..., Path],
    tmp_path: Path,
    first_has_it: bool,
) -> None:
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['streams']['side']['required'] = False
    contract = parse_contract(yaml.safe_dump(values))
    topic = contract.streams['side'].topic
    short = [m for m in recording if m.log_time_ns < recording[0].log_time_ns + 600_000_000]
    full = write_bag(tmp_path / 'full', short)
    less = write_bag(tmp_path / 'less', [m for m in short if m.topic != topic])
    bags = [full, less] if first_has_it else [less, full]
    root = tmp_path / 'demos'
    outcomes = list(convert_many([EpisodeRequest(bag, 'x', contract) for bag in bags], root))
    kept = contract.streams['side'].feature in open_dataset(root).meta.features
    assert kept == first_has_it
    if first_has_it:
        assert f'side: missing: nothing received on {topic}' in outcomes[1].refusal
    else:
        assert [o.report.episode_index for o in outcomes] == [0, 1]
        assert outcomes[1].report.left_out == ['side']
        assert open_dataset(root).num_episodes == 2


def test_a_killed_worker_is_told_and_loses_nothing_that_is_complete(
    requests: list[EpisodeRequest], tmp_path: Path
) -> None:
    root = tmp_path / 'demos'
    others = set(multiprocessing.active_children())
    started = convert_many(requests, root, workers=2)
    assert next(started).report
    for worker in set(multiprocessing.active_children()) - others:
        worker.kill()
    with pytest.raises(EngineError, match='a worker died'):
        list(started)
    assert open_dataset(root).num_episodes == 1
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith('.lock')) == ['demos']


def test_an_append_that_fails_changes_nothing(
    requests: list[EpisodeRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / 'demos'
    assert next(convert_many(requests[:1], root)).report
    before = files(root)

    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(merge, 'write_stats', full)
    with pytest.raises(OSError, match='No space left'):
        list(convert_many(requests[2:3], root))
    assert files(root) == before
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith('.lock')) == ['demos']


@pytest.mark.parametrize('workers', [1, 2])
def test_a_dry_run_writes_nothing_and_says_what_would_be(
    requests: list[EpisodeRequest], by_one: tuple[Path, list[Answer]], tmp_path: Path, workers: int
) -> None:
    dry = [EpisodeRequest(r.bag, r.task, r.contract, dry_run=True) for r in requests]
    outcomes = list(convert_many(dry, tmp_path / 'demos', workers))
    for planned, real in zip(outcomes, by_one[1], strict=True):
        assert planned.refusal == real.refusal
        if real.report:
            assert (planned.report.rows, planned.report.start_ns) == (real.report.rows, real.report.start_ns)
            assert planned.report.streams == real.report.streams
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith('.lock')] == []


def test_progress_ends_at_the_whole(requests: list[EpisodeRequest], tmp_path: Path) -> None:
    told: list[Progress] = []
    (outcome,) = convert_many(requests[:1], tmp_path / 'demos', 1, told.append)
    assert told[-1].bytes == told[-1].total_bytes == module.bag_bytes(requests[0].bag)
    assert told[-1].seconds == pytest.approx(outcome.report.rows / outcome.report.fps)
    assert [p.bytes for p in told] == sorted(p.bytes for p in told)


def test_refusals(requests: list[EpisodeRequest], by_one: tuple[Path, list[Answer]], tmp_path: Path) -> None:
    twice = list(convert_many([EpisodeRequest(requests[0].bag, dry_run=True)] * 2, tmp_path / 'a'))
    assert 'holds no contract' in twice[0].refusal
    assert 'is the same recording as' in twice[1].refusal
    (absent,) = convert_many([EpisodeRequest(tmp_path / 'nowhere')], tmp_path / 'a')
    assert 'nowhere cannot be read: No such file' in absent.refusal
    with pytest.raises(ValueError, match='workers: 0'):
        list(convert_many(requests, tmp_path / 'a', 0))
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'letter').touch()
    with pytest.raises(DatasetError, match='neither empty nor'):
        list(convert_many(requests, tmp_path / 'a'))
    slower = requests[0].contract.model_copy(update={'fps': 5})
    with pytest.raises(DatasetError, match='fps: 10 != 5'):
        list(convert_many([EpisodeRequest(requests[0].bag, 'x', slower)], _copy(by_one[0], tmp_path)))


def _copy(root: Path, folder: Path) -> Path:
    """Another data set that holds nothing of these recordings, as far as it says."""
    for name, content in files(root).items():
        path = folder / 'copy' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'{}' if name.startswith(EPISODES) else content)
    return folder / 'copy'


def test_a_fingerprint_is_of_the_content(bags: list[Path], tmp_path: Path) -> None:
    renamed = tmp_path / 'other'
    renamed.mkdir()
    content = bytearray((bags[0] / 'bag0.mcap').read_bytes())
    (renamed / 'x.mcap').write_bytes(content)
    assert fingerprint(renamed) == fingerprint(bags[0]) != fingerprint(bags[2])
    assert fingerprint(bags[0], 1) != fingerprint(bags[0])
    content[-20] ^= 1
    (renamed / 'x.mcap').write_bytes(content)
    assert fingerprint(renamed) != fingerprint(bags[0])


def test_recordings_are_surveyed_while_workers_load_their_libraries(
    requests: list[EpisodeRequest], contract: Contract
) -> None:
    """At least the first; none that takes long, of which each worker surveys its own."""
    with start_engine('processes', 2, len(requests), None, lambda *_: None) as engine:
        found = engine.prepared(requests, [1] * len(requests))
        large = engine.prepared(requests, [SURVEYED_BYTES + 1] * len(requests))
    assert [replace(request, surveyed=None) for request in found] == requests
    assert found[0].surveyed == survey_recording(open_bag(requests[0].bag), contract, None, None)
    assert [request.surveyed for request in large] == [None] * len(requests)
