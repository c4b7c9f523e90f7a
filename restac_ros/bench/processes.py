"""A benchmark's child processes: on a ROS domain of their own, sampled while they run, always ended."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import psutil

from restac_ros.bench.ros_domain import own_domain
from restac_ros.dataset.journal import check_free_disk
from restac_ros.installation import GraphError
from restac_ros.process import Process
from restac_ros.supervise import command, environment

_SAMPLE_PERIOD_S = 0.1
FILE_POLL_S = 0.02
SHOWN_LOG_BYTES = 4_000
EMPTY_JOURNAL_BYTES = 64_000  # more than stands in a journal before its first message


@dataclass(frozen=True)
class Usage:
    """CPU seconds and resident bytes of a process and its descendants at `time_s` (monotonic)."""

    time_s: float
    cpu_s: float
    rss_bytes: int


class _Sampler(ABC):
    """Looks again and again from a thread, while the block lasts or until there is nothing to see."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._period_s):
            self._look()

    @abstractmethod
    def _look(self) -> None: ...


class Watch(_Sampler):
    """Samples a process and its descendants from a thread, while the block lasts; `samples` grows.

    The CPU time of descendants that have ended stays counted, short of their last tenth of a second.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(_SAMPLE_PERIOD_S)
        self.samples: list[Usage] = []
        self._process = psutil.Process(pid)
        self._cpu_s: dict[tuple[int, float], float] = {}

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return sum(self._cpu_s.values())

    def between(self, begin_s: float, end_s: float) -> list[Usage]:
        """Samples of a stretch of time.

        Raises:
            GraphError: fewer than two.
        """
        window = [sample for sample in self.samples if begin_s <= sample.time_s <= end_s]
        if len(window) < 2:
            raise GraphError(f'only {len(window)} samples in {end_s - begin_s:.1f} s: measure for longer')
        return window

    def _look(self) -> None:
        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            self._ended.set()
            return
        resident = sum(self._sample(member) for member in family)
        self.samples.append(Usage(time.monotonic(), self.cpu_s, resident))

    def _sample(self, member: psutil.Process) -> int:
        try:
            with member.oneshot():
                times = member.cpu_times()
                self._cpu_s[(member.pid, member.create_time())] = times.user + times.system
                return member.memory_info().rss
        except psutil.NoSuchProcess:
            return 0


def journal_bytes(journals: Path) -> int:
    """Size of the unfinished journals."""
    return sum(path.stat().st_size for path in journals.glob('*.partial/*.mcap'))


class FileWatch(_Sampler):
    """Records from a thread when the journal's file grows, while the block lasts."""

    def __init__(self, journals: Path) -> None:
        super().__init__(FILE_POLL_S)
        self._journals = journals
        self._size = EMPTY_JOURNAL_BYTES
        self._grown_s: list[float] = []

    @property
    def begun_s(self) -> float:
        """Time of the first messages in the file.

        Raises:
            GraphError: there are none.
        """
        if not self._grown_s:
            raise GraphError(f'nothing was recorded into {self._journals}')
        return self._grown_s[0]

    def longest_still_s(self) -> float:
        """The longest time between the first and the last message in which nothing reached the file."""
        return max((after - before for before, after in pairwise(self._grown_s)), default=0.0)

    def _look(self) -> None:
        if (found := journal_bytes(self._journals)) > self._size:
            self._size = found
            self._grown_s.append(time.monotonic())


def cpu_share(window: list[Usage]) -> float:
    """Of one core, between the first and the last sample."""
    return (window[-1].cpu_s - window[0].cpu_s) / (window[-1].time_s - window[0].time_s)


@contextmanager
def scratch(parent: Path, needed_bytes: int) -> Iterator[Path]:
    """A folder in `parent` with so much room; removed whatever happens, also on Ctrl-C and SIGTERM.

    Raises:
        JournalError: too little free disk.
    """
    check_free_disk(parent, needed_bytes)
    parent.mkdir(parents=True, exist_ok=True)
    usual = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with tempfile.TemporaryDirectory(prefix='restac-bench-', dir=parent) as folder:
            yield Path(folder)
    finally:
        signal.signal(signal.SIGTERM, usual)


@contextmanager
def started(process: Process, log: Path) -> Iterator[subprocess.Popen]:
    """Run a node as a process with its output in `log`; kill it if it still runs at the end."""
    env = environment(publishes_sensor_topics=True) | {'ROS_DOMAIN_ID': str(own_domain())}
    with log.open('wb') as output:
        child = subprocess.Popen(
            command(process), env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield child
    finally:
        end_family(child)


def end_family(child: subprocess.Popen) -> None:
    """Kill a process and all that it has started, as a power cut would."""
    try:
        family = psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if child.poll() is None:
        child.kill()
    for member in family:
        if member.is_running():
            member.kill()
    child.wait()


def ended_in_order(name: str, child: subprocess.Popen, log: Path, timeout_s: float) -> None:
    """Wait for a process to end by itself.

    Raises:
        GraphError: it does not, or with another status than 0.
    """
    try:
        status: int | str = child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        status = f'nothing within {timeout_s:g} s'
    if status != 0:
        said = log.read_bytes()[-SHOWN_LOG_BYTES:].decode(errors='replace')
        raise GraphError(f'{name} ended with {status}, expected status 0; it said:\n{said}')


def summary_of(process: Process) -> dict[str, Any]:
    """Read the summary that a node wrote at its end.

    Raises:
        GraphError: there is none.
    """
    try:
        return json.loads(process.summary_file.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise GraphError(f'{process.executable} has left no summary in {process.summary_file}') from None
