"""Transactions: the directory is as before or as after, wherever the process is killed; never in between."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from restac_ros.dataset import transaction as module
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.transaction import transaction

# Changes a directory in a child process that is killed at its n-th file operation, for every n; after each
# the state must be the old or the new one. Audit events (PEP 578) mark the operations.
KILL_EVERYWHERE = """
import os, signal, sys
from pathlib import Path
from restac_ros.dataset import transaction as module

root, two_steps = Path(sys.argv[1]), sys.argv[2] == 'two steps'
EVENTS = ('open', 'os.', 'shutil.', 'ctypes.', 'pathlib.')
if two_steps:
    module.exchange = lambda one, other: False

previous = root.with_name(f'.{root.name}.previous')

def state(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob('*')) if p.is_file()}

def change():
    with module.transaction(root, {'counter'}.__contains__) as staging:
        with (staging / 'counter').open('r+') as file:
            number = int(file.read()) + 1
            file.seek(0)
            file.write(str(number))
        (staging / 'parts').mkdir(exist_ok=True)
        (staging / 'parts' / 'part').unlink(missing_ok=True)
        (staging / 'parts' / 'part').write_text(f'content {number}')

def whole(found, number):
    part = {'parts/part': f'content {number}'} if number else {}
    return found == {'counter': str(number), 'kept': 'as it was', **part}

number, kills, absent = 0, 0, 0
while True:
    kills += 1
    child = os.fork()
    if child == 0:
        left = [kills]
        def hook(event, _):
            if event.startswith(EVENTS):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        change()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not root.exists():
        absent += 1
        assert two_steps, f'the directory vanished at operation {kills}'
    found = state(root if root.exists() else previous)        # which the next attempt brings back
    if whole(found, number + 1):
        number += 1
    assert whole(found, number), (kills, number, found)
    if os.WIFEXITED(status):
        break
change()
assert whole(state(root), number + 1)
leftovers = [p.name for p in root.parent.iterdir() if p.name not in (root.name, f'.{root.name}.lock')]
assert leftovers == [], leftovers
print(kills, number, absent)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / 'data'
    root.mkdir()
    (root / 'counter').write_text('0')
    (root / 'kept').write_text('as it was')
    return root


@pytest.mark.parametrize('way', ['exchange', 'two steps'])
def test_killed_at_any_operation(way: str, root: Path, repository: Path) -> None:
    environment = {**os.environ, 'PYTHONPATH': str(repository)}
    run = subprocess.run(
        [sys.executable, '-c', KILL_EVERYWHERE, str(root), way],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    kills, finished, absent = map(int, run.stdout.split())
    assert kills > 25
    assert finished > 1, 'some kills come after the change took effect, while tidying up'
    assert (absent > 0) == (way == 'two steps')


def test_an_exception_leaves_everything_as_it_was(root: Path) -> None:
    def fail() -> None:
        with transaction(root, {'counter'}.__contains__) as staging:
            (staging / 'counter').write_text('1')
            (staging / 'new').write_text('new')
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert sorted(p.name for p in root.iterdir()) == ['counter', 'kept']
    assert (root / 'counter').read_text() == '0'
    assert sorted(p.name for p in root.parent.iterdir()) == ['.data.lock', 'data']


def test_unchanged_files_are_shared_not_copied(root: Path) -> None:
    before = (root / 'kept').stat().st_ino
    with transaction(root, {'counter'}.__contains__) as staging:
        assert (staging / 'kept').stat().st_ino == before
        assert (staging / 'counter').stat().st_ino != (root / 'counter').stat().st_ino
    assert (root / 'kept').stat().st_ino == before


@pytest.mark.parametrize('empty', [True, False])
def test_a_new_directory_appears_whole(tmp_path: Path, empty: bool) -> None:
    root = tmp_path / 'deep' / 'data'
    if empty:
        root.mkdir(parents=True)
    with transaction(root, lambda _: False) as staging:
        assert not staging.exists()
        staging.mkdir()
        (staging / 'file').write_text('x')
        assert not root.exists() or not any(root.iterdir())
    assert (root / 'file').read_text() == 'x'


def test_one_writer_at_a_time(root: Path) -> None:
    with transaction(root, lambda _: False), pytest.raises(DatasetError, match=f'process {os.getpid()}'):  # noqa: SIM117
        with transaction(root, lambda _: False):
            pass
    (root.parent / 'file').write_text('')
    with pytest.raises(DatasetError, match='is a file'), transaction(root.parent / 'file', lambda _: False):
        pass


def test_a_file_system_without_exchange_is_recognised(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def renameat2(*_: object) -> int:
            return -1

    monkeypatch.setattr(module.ctypes, 'CDLL', lambda *_, **__: Library)
    monkeypatch.setattr(module.ctypes, 'get_errno', lambda: errno.EINVAL)
    with transaction(root, lambda _: False) as staging:
        (staging / 'new').write_text('new')
    assert (root / 'new').exists()
    monkeypatch.setattr(module.ctypes, 'get_errno', lambda: errno.EACCES)
    with pytest.raises(PermissionError), transaction(root, lambda _: False) as staging:
        (staging / 'newer').write_text('newer')
    assert not (root / 'newer').exists()
