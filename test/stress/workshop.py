"""Work on data sets in processes that may be killed, are limited, or hang."""

import hashlib
import multiprocessing as mp
import os
import resource
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from restac_ros.dataset.convert import main as convert_main
from restac_ros.dataset.convert_many import convert_many
from restac_ros.dataset.episode_notes import converted_recordings
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.fingerprint import fingerprint
from restac_ros.dataset.shards import EpisodeRequest
from restac_ros.installation import GraphError

HANG_S = 120.0  # no work here takes more than some seconds, on the slowest machine
# Forked from a server that has LeRobot loaded, a process needs a tenth of a second to start, not five.
_PRELOADED = ['restac_ros.dataset.merge', 'restac_ros.dataset.convert_many', 'workshop']


class Workshop:
    """Runs work on data sets in processes of their own, which are killed when they hang."""

    def __init__(self) -> None:
        os.environ.setdefault('HF_HUB_OFFLINE', '1')
        # What killed processes had open is theirs to clean up; Python's tracker would tell of it at the end.
        os.environ.setdefault('PYTHONWARNINGS', 'ignore:resource_tracker')
        self._context = mp.get_context('forkserver')
        self._context.set_forkserver_preload(_PRELOADED)

    def begin(self, work: Callable[..., Any], *arguments: object) -> mp.Process:
        """Start something that may be killed."""
        return self._start(None, work, *arguments)

    def do[**P, R](self, work: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
        """Do something undisturbed; what it raises is raised here.

        Raises:
            GraphError: it hangs, or its process died.
        """
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._start(theirs, partial(work, **options), *arguments)
        theirs.close()
        try:
            if not ours.poll(HANG_S):
                raise GraphError(f'{work.__name__} hangs: nothing within {HANG_S:g} s')
            outcome = ours.recv()
        except EOFError:
            raise GraphError(f'{work.__name__} died') from None
        finally:
            process.kill()
            process.join()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _start(self, pipe: Connection | None, work: Callable[..., Any], *arguments: object) -> mp.Process:
        process = self._context.Process(target=_work, args=(pipe, work, *arguments))
        process.start()
        return process


def save(bag: Path, root: Path, file_limit: int | None = None) -> None:
    """What the recorder's saving does: append a journal, straight into the data set.

    `file_limit` is a size in bytes that no file may exceed: a full disk where none can be made.

    Raises:
        GraphError: refused.
    """
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
    if convert_main([str(bag), '--to', str(root), '--on-gap', 'longest_run']) != 0:
        raise GraphError(f'{bag.name} was refused')


def append(bag: Path, root: Path) -> None:
    """What `restac-ros convert` does: a data set of one episode beside, then appended.

    Raises:
        GraphError: refused.
    """
    for outcome in convert_many([EpisodeRequest(bag, on_gap='longest_run')], root):
        if outcome.refusal:
            raise GraphError(outcome.refusal)


def episode_of(bag: Path, root: Path) -> int | None:
    """The episode that a recording has become."""
    return converted_recordings(root).get(fingerprint(bag)) if root.exists() else None


def digests(root: Path) -> list[str]:
    """SHA-256 of every episode's rows, as LeRobotDataset gives them to a training program.

    Raises:
        DatasetError: LeRobot cannot read it.
    """
    from restac_ros.dataset.lerobot_access import open_dataset, private_cache

    found = []
    with private_cache():
        dataset = open_dataset(root)
        for episode in dataset.meta.episodes:
            total = hashlib.sha256()
            for row in range(episode['dataset_from_index'], episode['dataset_to_index']):
                for key, value in sorted(dataset[row].items()):
                    content = value if isinstance(value, str) else value.numpy().tobytes()
                    total.update(f'{key}={len(content)}:'.encode())
                    total.update(content.encode() if isinstance(content, str) else content)
            found.append(total.hexdigest())
    return found


def contents(root: Path) -> dict[str, bytes]:
    """SHA-256 of every file in a directory, by relative path."""
    files = (path for path in root.rglob('*') if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).digest() for path in files}


def _work(pipe: Connection | None, work: Callable[..., Any], *arguments: object) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        outcome = work(*arguments)
    except (GraphError, DatasetError, OSError) as error:
        outcome = error
    if pipe:
        pipe.send(outcome)
