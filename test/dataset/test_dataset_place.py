"""Where a data set lies: behind links, on other file systems, without hard links, under impossible names."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restac_ros.commands.data import Repair
from restac_ros.commands.record import Record
from restac_ros.contract.schema import Contract
from restac_ros.dataset import dataset_place as module
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.convert_many import convert_many
from restac_ros.dataset.dataset_files import read_info
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.export_v21 import export_v21
from restac_ros.dataset.repair.examination import examine_dataset
from restac_ros.dataset.repair.repair import repair
from restac_ros.dataset.shards import EpisodeRequest

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

FAILURES = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


@pytest.fixture(scope='module')
def bags(
    tmp_path_factory: pytest.TempPathFactory, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> list[Path]:
    folder = tmp_path_factory.mktemp('bags')
    return [write_bag(folder / f'bag{part}', recording[: len(recording) // part]) for part in (2, 3)]


@pytest.fixture(scope='module')
def one_episode(tmp_path_factory: pytest.TempPathFactory, bags: list[Path], contract: Contract) -> Path:
    root = tmp_path_factory.mktemp('one') / 'plug'
    convert_episode(bags[0], contract, root, 'plug in')
    return root


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where the data sets really lie."""
    (tmp_path / 'disk').mkdir()
    return tmp_path / 'disk'


@pytest.fixture
def link(tmp_path: Path, disk: Path) -> Path:
    """A link in another directory to where a data set lies, or will lie."""
    (tmp_path / 'home').mkdir()
    path = tmp_path / 'home' / 'plug'
    path.symlink_to(disk / 'plug')
    return path


@pytest.fixture
def other_file_system() -> Iterator[Path]:
    """A directory that hard links from the others cannot reach."""
    shared = Path('/dev/shm')
    if not shared.is_dir() or shared.stat().st_dev == Path('/tmp').stat().st_dev:
        pytest.skip('no second file system to write to')
    folder = shared / f'restac_ros_test_{os.getpid()}'
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def episodes(root: Path) -> int:
    return read_info(root)['total_episodes']


def test_a_data_set_behind_a_link_grows_there_and_the_link_stays_one(
    one_episode: Path, disk: Path, link: Path, bags: list[Path], contract: Contract
) -> None:
    shutil.copytree(one_episode, disk / 'plug')
    (outcome,) = convert_many([EpisodeRequest(bags[1], 'turn', contract)], link)
    assert outcome.refusal == ''
    convert_episode(bags[1], contract, link, 'plug in')
    assert link.is_symlink()
    assert sorted(path.name for path in link.parent.iterdir()) == ['plug']
    assert episodes(disk / 'plug') == episodes(link) == 3
    assert not [path for path in disk.iterdir() if 'staging' in path.name or 'previous' in path.name]


def test_a_dangling_link_says_where_a_new_data_set_goes(
    disk: Path, link: Path, bags: list[Path], contract: Contract
) -> None:
    convert_episode(bags[1], contract, link, 'plug in')
    assert link.is_symlink()
    assert episodes(disk / 'plug') == 1


def test_a_link_to_a_disk_that_is_not_mounted_is_refused_and_nothing_made(
    tmp_path: Path, bags: list[Path], contract: Contract
) -> None:
    link = tmp_path / 'plug'
    link.symlink_to(tmp_path / 'usb' / 'data' / 'plug')
    for path in (link, link / 'inside'):
        with pytest.raises(DatasetError, match='mount the disk'):
            convert_episode(bags[1], contract, path, 'plug in')
    assert not (tmp_path / 'usb').exists()


def test_export_and_repair_follow_links(one_episode: Path, disk: Path, link: Path) -> None:
    shutil.copytree(one_episode, disk / 'plug')
    (disk / 'v21').mkdir()
    exported = link.with_name('v21')
    exported.symlink_to(disk / 'v21')
    assert export_v21(link, exported) == 1
    assert export_v21(disk / 'plug', exported) == 1, 'the same export of the same data set is replaced'
    assert exported.is_symlink()
    assert (disk / 'v21' / 'meta' / 'info.json').is_file()
    (disk / 'plug' / 'meta' / 'stats.json').unlink()
    aside = repair(examine_dataset(link))
    assert examine_dataset(link).is_fine
    assert aside.parent == disk
    assert link.is_symlink()


@pytest.mark.parametrize('code', FAILURES)
def test_files_are_copied_where_there_are_no_hard_links(
    one_episode: Path,
    disk: Path,
    bags: list[Path],
    contract: Contract,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    def fail(source: str, target: str) -> None:
        raise OSError(code, os.strerror(code), source, None, target)

    shutil.copytree(one_episode, root := disk / 'plug')
    before = (root / 'data/chunk-000/file-000.parquet').read_bytes()
    monkeypatch.setattr(module.os, 'link', fail)
    (outcome,) = convert_many([EpisodeRequest(bags[1], 'turn', contract)], root)
    assert outcome.report is not None
    assert episodes(root) == 2
    assert (root / 'data/chunk-000/file-000.parquet').read_bytes() == before
    assert export_v21(root, disk / 'v21') == 2
    (root / 'meta' / 'stats.json').unlink()
    repair(examine_dataset(root))
    assert examine_dataset(root).is_fine


def test_a_full_disk_is_not_answered_by_copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'a').write_text('x')
    (tmp_path / 'b').write_text('y')
    with pytest.raises(FileExistsError):
        module.link_or_copy(tmp_path / 'a', tmp_path / 'b')
    assert (tmp_path / 'b').read_text() == 'y'


def test_a_link_leads_to_another_file_system(
    other_file_system: Path, link: Path, one_episode: Path, bags: list[Path], contract: Contract
) -> None:
    link.unlink()
    link.symlink_to(other_file_system / 'plug')
    for bag in bags:
        convert_episode(bag, contract, link, 'plug in')
    assert episodes(other_file_system / 'plug') == 2
    assert export_v21(link, link.with_name('v21')) == 2
    assert examine_dataset(link).is_fine


def test_what_an_earlier_version_left_as_links_is_unlinked_not_followed(
    one_episode: Path, disk: Path, bags: list[Path], contract: Contract
) -> None:
    shutil.copytree(one_episode, root := disk / 'plug')
    shutil.copytree(one_episode, elsewhere := disk / 'elsewhere')
    (disk / '.plug.staging').symlink_to(elsewhere)
    (disk / '.plug.shards').symlink_to(elsewhere)
    (outcome,) = convert_many([EpisodeRequest(bags[1], 'turn', contract)], root)
    assert outcome.report is not None
    assert episodes(elsewhere) == 1
    assert not (disk / '.plug.staging').is_symlink()


def test_a_data_set_of_linked_files_keeps_their_originals(
    one_episode: Path, disk: Path, bags: list[Path], contract: Contract
) -> None:
    """As a cache of the hub holds them: each file is a link to a blob."""
    shutil.copytree(one_episode, blobs := disk / 'blobs')
    root = disk / 'snapshots' / 'plug'
    shutil.copytree(blobs, root, copy_function=lambda source, target: os.symlink(source, target))
    before = {path: path.read_bytes() for path in blobs.rglob('*') if path.is_file()}
    convert_episode(bags[1], contract, root, 'plug in')
    assert episodes(root) == 2
    assert {path: path.read_bytes() for path in blobs.rglob('*') if path.is_file()} == before


def test_a_linked_directory_inside_a_data_set_is_refused(
    one_episode: Path, disk: Path, bags: list[Path], contract: Contract
) -> None:
    shutil.copytree(one_episode, root := disk / 'plug')
    (root / 'videos').rename(disk / 'videos')
    (root / 'videos').symlink_to(disk / 'videos')
    with pytest.raises(DatasetError, match=r'videos is a link to .*Move the data set as a whole'):
        convert_episode(bags[1], contract, root, 'plug in')
    assert episodes(root) == 1


@pytest.mark.parametrize('name', ['plug [2]', 'plug*', 'which?', 'in/[deep]/plug'])
def test_a_path_that_lerobot_takes_for_a_pattern_is_refused_before_any_work(
    tmp_path: Path, one_episode: Path, bags: list[Path], contract: Contract, name: str
) -> None:
    root = tmp_path / name
    attempts = (
        lambda: convert_episode(bags[0], contract, root, 'plug in'),
        lambda: list(convert_many([EpisodeRequest(bags[0], 'turn', contract)], root)),
        lambda: export_v21(one_episode, root),
        lambda: Record(to=root).run(),
        lambda: Repair(root).run(),
    )
    for attempt in attempts:
        with pytest.raises(DatasetError, match=r'contains [\[\*\?].*Rename'):
            attempt()
    assert list(tmp_path.iterdir()) == []


def test_other_characters_in_a_path_are_none_of_our_business(tmp_path: Path) -> None:
    path = tmp_path / 'Stecker - 插入 {1} #2 (ä)'
    assert dataset_place(path) == Path(os.path.realpath(path))
