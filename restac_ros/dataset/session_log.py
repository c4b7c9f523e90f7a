"""Logs every chunk, gate and diagnosis of a run in a bag, for the analysis of faults.

The policy must never wait for a disk: `write` only queues, a thread of its own writes, and a log that fails
drops messages and counts them.
"""

import queue
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag
from restac_ros.dataset.bag.bag_writer import FLUSH_PERIOD_NS, BagWriter
from restac_ros.dataset.errors import JournalError

MAX_QUEUED = 4096  # some 30 s of a busy policy
_IDLE_S = FLUSH_PERIOD_NS * 1e-9
_POLICY_TYPES = {'restac_ros/msg/ActionChunk', 'restac_ros/msg/GateState'}


class _Entry(NamedTuple):
    topic: str
    kind: str
    cdr: bytes
    stamp_ns: int


_FLUSH = _Entry('', '', b'', 0)  # nothing arrived for a while: bring what there is to the disk


class SessionLog:
    """Writes messages to PATH.partial, which `close` turns into the bag PATH.

    `written` and `dropped` count messages; `failure` is why nothing is written any more, or ''. All methods
    may be called from any thread.
    """

    def __init__(self, path: Path | str, contract: Contract, *, start_ns: int, task: str = '') -> None:
        """Begin a log of a run of `task` with `contract`, both noted inside.

        Raises:
            JournalError: there is one already, or the disk refuses.
        """
        self._bag = BagWriter(path, start_ns=start_ns)
        self._bag.note(contract=dump_contract(contract), task=task, start_ns=str(start_ns))
        self.path = self._bag.path
        self.written = 0
        self.dropped = 0
        self.failure = ''
        self._newest_ns = start_ns
        self._channels: dict[tuple[str, str], int] = {}
        self._queue: queue.Queue[_Entry | None] = queue.Queue(MAX_QUEUED)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name='session-log', daemon=True)
        self._thread.start()

    def write(self, topic: str, kind: str, cdr: bytes, stamp_ns: int) -> bool:
        """Queue a serialised message published on `topic` at `stamp_ns`; False if it is dropped."""
        if not self.failure:
            with suppress(queue.Full):
                self._queue.put_nowait(_Entry(topic, kind, cdr, stamp_ns))
                return True
        self._drop()
        return False

    def close(self, end_ns: int) -> Path:
        """Write what is queued, check the bag and give it its name. Once only.

        Raises:
            JournalError: the disk refused, now or earlier; what was written stays in PATH.partial.
        """
        self._queue.put(None)
        self._thread.join()
        if self.failure:
            self._bag.abandon()
            raise JournalError(self.failure)
        self.failure = f'{self.path} is closed'
        return self._bag.finish(end_ns=str(end_ns), dropped=str(self.dropped))

    def _run(self) -> None:
        """Write until None is queued; after a failure, drop what is queued."""
        while True:
            try:
                entry = self._queue.get(timeout=_IDLE_S)
            except queue.Empty:
                entry = _FLUSH
            if entry is None:
                return
            if self.failure:
                self._drop(entry is not _FLUSH)
                continue
            try:
                self._write(entry)
            except JournalError as error:
                self.failure = str(error)
                self._drop(entry is not _FLUSH)

    def _write(self, entry: _Entry) -> None:
        if entry is _FLUSH:
            self._bag.flush(self._newest_ns)
            return
        declared = entry.topic, entry.kind
        if declared not in self._channels:
            self._channels[declared] = self._bag.declare(*declared)
        self._bag.append(self._channels[declared], entry.cdr, entry.stamp_ns)
        self._newest_ns = max(self._newest_ns, entry.stamp_ns)
        self.written += 1

    def _drop(self, count: int = 1) -> None:
        with self._lock:
            self.dropped += count


def is_session_log(bag: Bag) -> bool:
    """Return whether a bag holds messages of a policy, and none of the sensor streams of a recording."""
    types = {topic.type for topic in bag.topics.values()}
    return bool(types & _POLICY_TYPES) and not any(kind.startswith('sensor_msgs/') for kind in types)
