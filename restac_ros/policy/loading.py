"""A checkpoint's parameters onto the device, and beside it its checksums and other work."""

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import jax

from restac_ros.model.checkpoint.params import Params
from restac_ros.model.checkpoint.store import StoredParams, load_info


@contextmanager
def collecting_no_garbage() -> Iterator[None]:
    """Leave reference cycles alone in the block: tracing makes a million objects that stay.

    The collector would walk through them, and through all that was imported, again and again: a tenth of the
    CPU time of a start.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def checked_beside(path: Path) -> Iterator[None]:
    """Check a checkpoint's files in a thread while the block reads them; both end here.

    Raises:
        CheckpointError: a file is damaged, in place of what that led to in the block.
    """
    with ThreadPoolExecutor(max_workers=1) as beside:
        checked = beside.submit(load_info, path)
        try:
            yield
        finally:
            checked.result()


def read_beside(stored: StoredParams, work: Callable[[], None]) -> Params:
    """Read parameters onto the device while a thread does other work, which has ended on return.

    Raises:
        CheckpointError: unreadable content.
    """
    with ThreadPoolExecutor(max_workers=1) as beside:
        done = beside.submit(work)
        params = stored.read(jax.device_put)
        done.result()
    return params
