"""Shards made by tasks of a Ray cluster, or of a Ray started on this machine for as long as it is needed.

Recordings and data set lie on a file system that all hosts mount under the same paths. Appending stays with
this process: one host holds the data set's lock.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from restac_ros.dataset.engines import AHEAD, Engine, OnShare
from restac_ros.dataset.errors import EngineError
from restac_ros.dataset.shards import Answer, EpisodeRequest, make_shard

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.queue import Queue
except ImportError as error:
    raise EngineError(
        "Ray is not installed here. Install it (`pip install -e '.[ray]'` in the clone of restac_ros), "
        'or leave out `--engine ray`.'
    ) from error

LOCAL_STORE_BYTES = 80 * 2**20  # Ray's least, 75 MiB, and a bit: only reports pass through it
LOST_WORKER_RETRIES = 2  # a shard is made anew when its host went away
CANCEL_S = 10.0
CONNECT_S = 5.0


@contextmanager
def ray_engine(
    address: str | None, workers: int | None, most: int, report_progress: OnShare
) -> Iterator[Engine]:
    """Yield an engine on the cluster at `address` (HOST:PORT or 'auto'; None: this machine's cores).

    Raises:
        EngineError: there is no cluster at the address, or a worker cannot do its part.
    """
    with _cluster(address, workers, most):
        slots = min(workers or int(ray.cluster_resources().get('CPU', 1)), most)
        engine = _Ray(slots, report_progress)
        try:
            yield engine
        finally:
            engine.cancel()


@contextmanager
def _cluster(address: str | None, workers: int | None, most: int) -> Iterator[None]:
    """Connect to Ray; what is started on this machine leaves neither processes nor files behind."""
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')  # else a warning about GPUs
    quiet: dict[str, Any] = {'logging_level': 'ERROR', 'log_to_driver': False}
    with tempfile.TemporaryDirectory(prefix='restac_ray_', ignore_cleanup_errors=True) as folder:
        try:
            if address is None:
                cores = min(workers or len(os.sched_getaffinity(0)), most)
                ray.init(
                    'local',
                    num_cpus=cores,
                    num_gpus=0,
                    include_dashboard=False,
                    _temp_dir=folder,
                    object_store_memory=LOCAL_STORE_BYTES,
                    **quiet,
                )
            else:
                _knock(address)
                ray.init(address, **quiet)
        except (OSError, ValueError) as error:
            raise EngineError(
                f'no Ray cluster answers at {address}: {error}. Start one (`ray start --head`) '
                'and give its HOST:PORT, or leave the address out.'
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError when no server listens at HOST:PORT, which Ray would try for minutes."""
    host, colon, port = address.rpartition(':')
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), CONNECT_S).close()


def on_hosts[Item](
    function: Callable[[Item], object], items: Sequence[Item], address: str | None, workers: int | None
) -> Iterator[int]:
    """Call `function` for each item on some host of a cluster; yield the number of each when it is done.

    Args:
        function: importable on every host; what it returns is dropped.
        items: what it is called with.
        address: HOST:PORT of the cluster, or 'auto'; None: this machine's cores.
        workers: at most so many at a time on this machine; None: one per core.

    Raises:
        EngineError: there is no cluster at the address, or a host was lost too often.
        Exception: what the function raised.
    """
    if not items:
        return
    with _cluster(address, workers, len(items)):
        task = ray.remote(num_cpus=1, max_retries=LOST_WORKER_RETRIES)(function)
        numbers = {task.remote(item): number for number, item in enumerate(items)}
        waiting = list(numbers)
        try:
            while waiting:
                [ready], waiting = ray.wait(waiting)
                ray.get(ready)
                yield numbers[ready]
        except RayTaskError as error:
            raise raised_there(error.cause) from None
        except RayError as error:
            raise EngineError(
                f'Ray could not finish: {error}. What is complete is kept: start again.'
            ) from error
        finally:
            _cancel(waiting)


class _Ray(Engine):
    """Makes shards by one task per recording."""

    def __init__(self, slots: int, report_progress: OnShare) -> None:
        super().__init__(slots + AHEAD, report_progress, Queue(actor_options={'num_cpus': 0}))
        self.task = ray.remote(num_cpus=1, max_retries=LOST_WORKER_RETRIES)(shard_on_host)
        self.begun: list[ray.ObjectRef] = []

    def make(self, number: int, request: EpisodeRequest, root: Path, shard: Path) -> Future[Answer]:
        there = replace(request, bag=request.bag.absolute())  # workers have directories of their own
        reference = self.task.remote(self.events, number, there, root, shard)
        self.begun.append(reference)
        return reference.future()

    def wait(self, future: Future[Answer]) -> Answer:
        try:
            return super().wait(future)
        except RayTaskError as error:
            raise raised_there(error.cause) from None
        except RayError as error:
            raise EngineError(
                f'Ray could not finish a recording: {error}. What is complete is kept: start again.'
            ) from error

    def cancel(self) -> None:
        """End what still runs, so that nothing writes any more."""
        _cancel(self.begun)


def _cancel(begun: list[ray.ObjectRef]) -> None:
    _, running = ray.wait(begun, num_returns=len(begun), timeout=0) if begun else ([], [])
    for reference in running:
        ray.cancel(reference, force=True)
    if running:
        ray.wait(running, num_returns=len(running), timeout=CANCEL_S)


def raised_there(cause: Exception) -> Exception:
    """Return the error to raise for one on another host, with a remedy where that lacks this package."""
    if isinstance(cause, ImportError) or 'failed to import on the worker' in str(cause):
        reason = str(cause).strip().splitlines()[-1]
        return EngineError(
            'a host of the Ray cluster lacks restac_ros, or a library that it needs: install '
            f'the same version on all hosts ({reason}).'
        )
    return cause


def shard_on_host(events: Queue, number: int, request: EpisodeRequest, root: Path, shard: Path) -> Answer:
    """Run `make_shard` on some host, which must have access to the same files."""
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    host = socket.gethostname()
    if not shard.parent.parent.is_dir():
        raise EngineError(
            f'{shard.parent.parent} is not there on host {host}. Put the data set on a file '
            'system that every host of the Ray cluster mounts at the same path.'
        )
    if not request.bag.exists():
        refusal = (
            f'{request.bag} is not there on host {host}. Put recordings on a file system that every host of '
            'the Ray cluster mounts at the same path.'
        )
        return Answer(request, refusal=refusal)
    shutil.rmtree(shard.parent, ignore_errors=True)  # of an attempt whose host went away
    return make_shard(request, root, shard, lambda share, seconds: events.put((number, share, seconds)))
