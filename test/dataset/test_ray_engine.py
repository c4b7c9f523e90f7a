"""Ray makes the same episodes as this process does, can be interrupted, and leaves nothing running."""

import queue
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert_many import Progress, bag_bytes, convert_many
from restac_ros.dataset.episode_notes import converted_recordings
from restac_ros.dataset.errors import EngineError
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.shards import EpisodeRequest

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')


@pytest.fixture
def requests(
    tmp_path: Path, write_bag: Callable[..., Path], recording: list[BagMessage], contract: Contract
) -> list[EpisodeRequest]:
    start_ns = recording[0].log_time_ns
    made = []
    for number, length_ns in enumerate((600_000_000, 500_000_000)):
        messages = [m for m in recording if m.log_time_ns < start_ns + length_ns]
        made.append(write_bag(tmp_path / f'bag{number}', messages))
    return [EpisodeRequest(bag, 'press the button', contract) for bag in made]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray's sockets lie in it: pytest's own folders have names too long for sockets."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def tables(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*.parquet'))}


def test_ray_interrupted_then_resumed_here_gives_the_same_bytes(
    requests: list[EpisodeRequest], tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('ray', reason='the extra restac_ros[ray] is not installed')
    monkeypatch.setattr(tempfile, 'tempdir', str(short_folder))
    others = set(psutil.Process().children(recursive=True))
    root, told = tmp_path / 'by_ray', list[Progress]()
    started = convert_many(requests, root, 1, told.append, engine='ray')
    assert next(started).report.episode_index == 0
    started.close()
    assert list(converted_recordings(root).values()) == [0]
    assert told[-1].total_bytes == sum(bag_bytes(request.bag) for request in requests)
    assert len(told) > 1, 'the worker tells too, not only the outcome'
    assert set(psutil.Process().children(recursive=True)) <= others
    assert list(short_folder.iterdir()) == [], 'Ray leaves files behind'
    assert sorted(p.name for p in tmp_path.glob('*by_ray*') if not p.name.endswith('.lock')) == ['by_ray']
    assert [o.already for o in convert_many(requests, root)] == [0, None]
    assert [o.report.episode_index for o in convert_many(requests, tmp_path / 'here')] == [0, 1]
    assert tables(root) == tables(tmp_path / 'here')
    assert open_dataset(root).num_episodes == 2


def test_what_a_host_does_not_see_is_named(requests: list[EpisodeRequest], tmp_path: Path) -> None:
    ray_engine = pytest.importorskip('restac_ros.dataset.ray_engine', exc_type=EngineError)
    events, shard = queue.Queue(), tmp_path / '.demos.shards' / 'shard-000000' / 'data'
    with pytest.raises(EngineError, match=f'not there on host {socket.gethostname()}.*every host'):
        ray_engine.shard_on_host(events, 0, requests[0], tmp_path / 'demos', shard)
    shard.parent.parent.mkdir()
    outcome = ray_engine.shard_on_host(
        events, 0, EpisodeRequest(tmp_path / 'absent'), tmp_path / 'demos', shard
    )
    assert f'absent is not there on host {socket.gethostname()}' in outcome.refusal


def test_a_host_without_the_package_is_told_apart() -> None:
    ray_engine = pytest.importorskip('restac_ros.dataset.ray_engine', exc_type=EngineError)
    reason = "ModuleNotFoundError: No module named 'mcap'"
    text = f'The remote function failed to import on the worker.\n\n{reason}\n'
    raised = ray_engine.raised_there(RuntimeError(text))
    assert isinstance(raised, EngineError)
    assert f'same version on all hosts ({reason})' in str(raised)
    full = OSError(28, 'No space left on device')
    assert ray_engine.raised_there(full) is full


def test_an_address_where_nobody_listens_is_refused(requests: list[EpisodeRequest], tmp_path: Path) -> None:
    pytest.importorskip('ray', reason='the extra restac_ros[ray] is not installed')
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))  # not listening: connections are refused
        address = f'127.0.0.1:{taken.getsockname()[1]}'
        with pytest.raises(EngineError, match=f'no Ray cluster answers at {address}.*ray start --head'):
            list(convert_many(requests, tmp_path / 'demos', engine='ray', ray_address=address))


def test_without_ray_the_remedy_is_named(
    requests: list[EpisodeRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'ray', None)
    monkeypatch.delitem(sys.modules, 'restac_ros.dataset.ray_engine', raising=False)
    with pytest.raises(EngineError, match=r"pip install -e '\.\[ray\]'` .*or leave out `--engine ray`"):
        list(convert_many(requests, tmp_path / 'demos', engine='ray'))
    assert not (tmp_path / 'demos').exists()


def test_anything_importable_runs_on_hosts_and_what_it_raises_is_raised_here(tmp_path: Path) -> None:
    from restac_ros.dataset.ray_engine import on_hosts

    files = [tmp_path / name for name in 'abc']
    assert sorted(on_hosts(Path.touch, files, None, 2)) == [0, 1, 2]
    assert all(file.exists() for file in files)
    assert list(on_hosts(Path.touch, [], None, 2)) == []
    with pytest.raises(FileNotFoundError, match='nowhere'):
        list(on_hosts(Path.touch, [tmp_path / 'nowhere' / 'd'], None, 1))
