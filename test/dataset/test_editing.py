"""Deleting, merging, adopting, listing: episodes read back as they were, nothing is thrown away."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tyro
import yaml
from lerobot.datasets.aggregate import aggregate_datasets
from tyro.conf import OmitSubcommandPrefixes

from restac_ros.cli import Command
from restac_ros.commands import converting
from restac_ros.commands.data import Convert
from restac_ros.commands.editing import Adopt, Delete, List, Merge
from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset import joining
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.compaction import compact_dataset
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.dataset_files import dataset_contract
from restac_ros.dataset.episode_notes import converted_recordings
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.joining import join_datasets
from restac_ros.dataset.journal import Journal
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.merge import EpisodeSource, episode_sources
from restac_ros.dataset.repair import deletion
from restac_ros.dataset.repair.damage import DatasetDamage
from restac_ros.dataset.repair.examination import examine_dataset
from restac_ros.model.checkpoint.store import MANIFEST

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

NUMBERS = {'index', 'episode_index', 'task_index'}
TASKS = ('press', 'turn', 'press', 'wipe')


@pytest.fixture(scope='module')
def bags(
    tmp_path_factory: pytest.TempPathFactory, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> list[Path]:
    folder = tmp_path_factory.mktemp('bags')
    count = len(recording)
    return [write_bag(folder / f'bag{n}', recording[: count * (4 + n) // 10]) for n in range(len(TASKS))]


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory, bags: list[Path], contract: Contract) -> Path:
    """A data set of three episodes."""
    root = tmp_path_factory.mktemp('made') / 'demos'
    for bag, task in zip(bags[:3], TASKS, strict=False):
        convert_episode(bag, contract, root, task)
    return root


@pytest.fixture(scope='module')
def items(made: Path) -> list[list[dict]]:
    return read(made)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / 'demos'))


@pytest.fixture
def contract_file(contract: Contract, tmp_path: Path) -> Path:
    (tmp_path / 'contract.yaml').write_text(dump_contract(contract))
    return tmp_path / 'contract.yaml'


def read(root: Path) -> list[list[dict]]:
    dataset = open_dataset(root)
    found: list[list[dict]] = [[] for _ in range(dataset.num_episodes)]
    for row in range(len(dataset)):
        found[dataset[row]['episode_index']].append(dataset[row])
    return found


def assert_same(found: list[list[dict]], expected: list[list[dict]]) -> None:
    assert [len(episode) for episode in found] == [len(episode) for episode in expected]
    for one, other in zip(found, expected, strict=True):
        for row, was in zip(one, other, strict=True):
            for key in row.keys() - NUMBERS:
                assert row[key] == was[key] if key == 'task' else np.array_equal(row[key], was[key]), key


def state_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()}


def test_deleted_episodes_are_gone_aside_and_the_data_set_goes_on(
    root: Path,
    items: list[list[dict]],
    bags: list[Path],
    contract: Contract,
    contract_file: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    before = state_of(root)
    assert Delete(root, (1,)).run() == 0
    told = capsys.readouterr().out
    assert 'deleted episode 1' in told
    [command] = re.findall('to append what was episode 1 as a new one: restac-ros (.*)', told)
    assert_same(read(root), [items[0], items[2]])
    assert examine_dataset(root).is_fine
    now, kept = state_of(root), state_of(root.with_name('demos.deleted-1'))
    assert all(content in (now.get(name), kept.get(name)) for name, content in before.items())
    assert dataset_contract(root) == contract
    assert sorted(converted_recordings(root).values()) == [0, 1]
    again = Convert(tuple(bags[:3]), root, task='turn', contract=contract_file, workers=1)
    assert again.run() == 0
    told = capsys.readouterr().out
    assert 'skipped, its episode was deleted; --again' in told
    assert told.count('is episode') == 2
    assert tyro.cli(Command, args=shlex.split(command), config=(OmitSubcommandPrefixes,)).run() == 0
    assert_same(read(root), [items[0], items[2], items[1]])


def test_what_is_printed_makes_the_same_part_of_a_recording_an_episode_again(
    bags: list[Path], contract_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / 'parts'
    made = Convert(
        (bags[0],), root, 'turn', range=('0:0.5', '0.5:'), contract=contract_file, workers=1, bridge_frames=2
    )
    assert made.run() == 0
    whole = read(root)
    assert Delete(root, (0,)).run() == 0
    [command] = re.findall('as a new one: restac-ros (.*)', capsys.readouterr().out)
    assert (
        f'--contract {root}/meta/restac_ros/contract.yaml --range 0:0.5 --bridge-frames 2 --again' in command
    )
    assert tyro.cli(Command, args=shlex.split(command), config=(OmitSubcommandPrefixes,)).run() == 0
    assert_same(read(root), [whole[1], whole[0]])


def test_what_cannot_be_deleted_changes_nothing(root: Path) -> None:
    before = state_of(root)
    for numbers, said in (((3,), 'has no episode 3: its episodes are 0 to 2'), ((0, 1, 2), 'would be empty')):
        with pytest.raises(DatasetError, match=said):
            Delete(root, numbers).run()
    assert state_of(root) == before
    (root / 'meta' / 'stats.json').unlink()
    with pytest.raises(DatasetError, match='First mend it: `restac-ros repair'):
        Delete(root, (0,)).run()


def test_what_is_appended_while_episodes_are_deleted_stays(
    root: Path, bags: list[Path], contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def examine_and_append(place: Path, unwanted: dict[int, str]) -> DatasetDamage:
        damage = examine_dataset(place, unwanted)
        convert_episode(bags[3], contract, place, TASKS[3])
        return damage

    monkeypatch.setattr(deletion, 'examine_dataset', examine_and_append)
    with pytest.raises(DatasetError, match='was changed by another process since it was examined'):
        Delete(root, (0,)).run()
    assert len(read(root)) == 4
    assert examine_dataset(root).is_fine
    assert [path.name for path in root.parent.iterdir() if path.is_dir()] == ['demos']


def test_a_source_that_is_compacted_while_it_is_merged_leaves_no_target(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r'demos: episode \d was moved or changed while it was read'):
        join_datasets([root], tmp_path / 'all', lambda done, total: done == 3 and compact_dataset(root))
    assert not (tmp_path / 'all').exists()
    assert join_datasets([root], tmp_path / 'all') == 3


def test_what_another_merge_has_appended_meanwhile_is_not_appended_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_late(source: Path) -> list[EpisodeSource]:
        monkeypatch.undo()
        join_datasets([root], tmp_path / 'all')
        return episode_sources(source)

    monkeypatch.setattr(joining, 'episode_sources', list_late)
    with pytest.raises(DatasetError, match=rf'{tmp_path / "all"} are the same recording'):
        join_datasets([root], tmp_path / 'all')
    assert len(read(tmp_path / 'all')) == 3


def test_merged_data_sets_hold_all_episodes_in_order(
    root: Path, items: list[list[dict]], bags: list[Path], contract: Contract, tmp_path: Path
) -> None:
    other = tmp_path / 'others'
    convert_episode(bags[3], contract, other, TASKS[3])
    before = state_of(root), state_of(other)
    assert Merge((other, root), to=tmp_path / 'all').run() == 0
    assert (state_of(root), state_of(other)) == before
    assert_same(read(tmp_path / 'all'), [*read(other), *items])
    assert examine_dataset(tmp_path / 'all').is_fine
    assert sorted(converted_recordings(tmp_path / 'all').values()) == [0, 1, 2, 3]
    stats = open_dataset(tmp_path / 'all').meta.stats
    rows = np.stack([item['action'] for episode in read(tmp_path / 'all') for item in episode])
    np.testing.assert_allclose(stats['action']['mean'], rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats['index']['max'], len(rows) - 1)
    with pytest.raises(DatasetError, match='are the same recording'):
        Merge((root,), to=tmp_path / 'all').run()


def test_an_episode_left_alone_in_a_shared_video_is_merged_with_its_own_frames(
    root: Path, items: list[list[dict]], contract_file: Path, tmp_path: Path
) -> None:
    shared = tmp_path / 'shared'
    aggregate_datasets(['local/demos'], 'local/shared', roots=[root], aggr_root=shared)
    assert len(list((shared / 'videos').rglob('*.mp4'))) < len(list((root / 'videos').rglob('*.mp4')))
    assert Adopt(shared, contract_file).run() == 0
    assert Delete(shared, (0, 1)).run() == 0
    target = tmp_path / 'new' / 'all'  # in a directory that is made, too
    assert Merge((shared,), to=target).run() == 0
    assert_same(read(target), [items[2]])
    assert examine_dataset(target).is_fine


def test_merging_refuses_what_does_not_fit_and_leaves_no_target(
    root: Path, bags: list[Path], contract_values: dict, contract: Contract, tmp_path: Path
) -> None:
    foreign = Path(shutil.copytree(root, tmp_path / 'foreign'))
    shutil.rmtree(foreign / 'meta' / 'restac_ros')
    with pytest.raises(DatasetError, match='restac-ros adopt'):
        Merge((root, foreign), to=tmp_path / 'all').run()
    with pytest.raises(DatasetError, match='merge needs different data sets'):
        Merge((root, root), to=tmp_path / 'all').run()
    other = Path(shutil.copytree(root, tmp_path / 'other'))
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['rotation']['convention'] = 'rotvec'
    (other / 'meta/restac_ros/contract.yaml').write_text(yaml.safe_dump(values))
    for path in (other / 'meta/restac_ros/episodes').glob('*.json'):
        path.write_text(json.dumps({**json.loads(path.read_text()), 'fingerprint': path.name}))
    with pytest.raises(DatasetError, match=r'rotation\.convention'):
        Merge((root, other), to=tmp_path / 'all').run()
    assert not (tmp_path / 'all').exists()


def test_a_data_set_that_lerobots_own_tool_has_edited_is_adopted_and_goes_on(
    root: Path,
    items: list[list[dict]],
    bags: list[Path],
    contract: Contract,
    contract_file: Path,
    tmp_path: Path,
    contract_values: dict,
) -> None:
    edited = tmp_path / 'edited'
    tool = [sys.executable, '-m', 'lerobot.scripts.lerobot_edit_dataset']
    names = [f'--{new}repo_id=local/demos' for new in ('', 'new_')]
    places = [f'--root={root}', f'--new_root={edited}']
    wish = ['--operation.type=delete_episodes', '--operation.episode_indices=[1]']
    subprocess.run([*tool, *names, *places, *wish], check=True, capture_output=True)
    with pytest.raises(DatasetError, match='restac-ros adopt'):
        convert_episode(bags[3], contract, edited, TASKS[3])
    values = yaml.safe_load(yaml.safe_dump(contract_values)) | {'fps': 12}
    (tmp_path / 'wrong.yaml').write_text(yaml.safe_dump(values))
    with pytest.raises(DatasetError, match=r'does not fit the contract .*fps: 10 != 12'):
        Adopt(edited, tmp_path / 'wrong.yaml').run()
    assert not (edited / 'meta' / 'restac_ros').exists()
    assert Adopt(edited, contract_file).run() == 0
    assert convert_episode(bags[3], contract, edited, TASKS[3]).episode_index == 2
    found = read(edited)
    assert_same(found[:2], [items[0], items[2]])
    assert examine_dataset(edited).is_fine
    with pytest.raises(DatasetError, match='has a contract'):
        Adopt(edited, contract_file).run()
    assert Merge((edited, root), to=tmp_path / 'all').run() == 0
    assert_same(read(tmp_path / 'all'), [*found, *items])


def words_of(table: str) -> str:
    """What a table says, without its lines."""
    return ' '.join(table.replace('│', ' ').split())


def test_the_list_names_task_length_state_and_the_converter_skips_what_is_no_recording(
    tmp_path: Path,
    recording: list[BagMessage],
    contract: Contract,
    journal_of: Callable[..., Path],
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('COLUMNS', '160')
    journals = tmp_path / 'demos.journals'
    journals.mkdir()
    journal_of(recording).rename(journals / 'take_1')
    running = Journal(journals / 'take_2', contract, start_ns=1, task='turn the key')
    (journals / 'take_1.conversion.jsonl').write_text('{}')
    (journals / 'trash').mkdir()
    asked = Convert(tuple(sorted(journals.iterdir())), tmp_path / 'demos', workers=1)
    assert asked.run() == 0
    told = capsys.readouterr().out
    assert told.count('skipped: ') == 3
    assert 'take_1.conversion.jsonl is no recording' in told
    assert 'take_2.partial is unfinished' in told
    assert List(journals).run() == 0
    table = capsys.readouterr().out
    assert 'take_1' in table
    words = words_of(table)
    for word in ('press', 'episode 0', 'being', 'journal', '2.0 s'):
        assert word in words, table
    running.abandon()
    (journals / 'take_3.conversion.jsonl').write_text(
        '{"event": "failed", "error": "no tool pose"}\n{"event"'
    )
    (journals / 'take_1').rename(journals / 'take_3')
    shutil.rmtree(tmp_path / 'demos')
    assert List(journals).run() == 0
    assert 'no episode: no tool pose' in words_of(capsys.readouterr().out)
    convert_episode(journals / 'take_3', contract, tmp_path / 'demos')
    (tmp_path / 'run' / 'checkpoint-4').mkdir(parents=True)
    (tmp_path / 'run' / 'checkpoint-4' / MANIFEST).write_text('{}')
    assert List(tmp_path / 'run').run() == 0
    assert 'checkpoint-4' in capsys.readouterr().out
    assert List(tmp_path).run() == 0
    table = words_of(capsys.readouterr().out)
    assert 'data set' in table
    assert 'demos.journals/ directory 2 inside' in table
    assert 'verdict -: not assessed; `restac-ros quality PATH` does it' in table
    assert List(tmp_path / 'demos').run() == 0
    assert 'converted' in capsys.readouterr().out


def test_convert_prints_the_verdict_and_names_a_frozen_camera(
    tmp_path: Path,
    recording: list[BagMessage],
    contract: Contract,
    contract_file: Path,
    write_bag: Callable[..., Path],
    capsys: pytest.CaptureFixture,
) -> None:
    side = [m for m in recording if m.topic == '/cameras/side/color/image_raw']
    still = side[20].cdr[12:]  # all behind the stamp
    stuck = [m._replace(cdr=m.cdr[:12] + still) if m in side[20:50] else m for m in recording]
    bags = write_bag(tmp_path / 'whole', recording), write_bag(tmp_path / 'stuck', stuck)
    assert Convert(bags, tmp_path / 'demos', task='press', contract=contract_file, workers=1).run() == 0
    whole, _, frozen = capsys.readouterr().out.partition('stuck -> episode 1')
    assert 'quality: ' in whole
    assert 'identical images' not in whole
    assert 'quality: usable' in frozen or 'quality: bad' in frozen
    assert 'side: ' in frozen
    assert 'identical images' in frozen


def test_an_interrupted_conversion_says_that_the_same_call_goes_on(
    tmp_path: Path, bags: list[Path], contract_file: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    asked = Convert((bags[0],), tmp_path / 'demos', task='press', contract=contract_file, workers=1)
    with monkeypatch.context() as patched:
        patched.setattr(converting, 'convert_many', interrupted)
        assert asked.run() == 130
    assert 'the same call goes on from here' in capsys.readouterr().err
    assert asked.run() == 0
