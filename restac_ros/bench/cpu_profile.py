"""Which part of a program uses the CPU: samples what each thread is doing, weighted with its CPU time.

Linux says how long each thread has run (/proc/self/task/ID/schedstat, ns); between two samples that time goes
to the part in which the thread is found. Threads that libraries run by themselves have no Python stack.
"""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple, Self

PERIOD_S = 0.005
OUTSIDE_PYTHON = "libraries' own threads"


class StackCall(NamedTuple):
    """A function on a thread's stack: the path of its file, and its name."""

    file: str
    function: str


Classify = Callable[[list[StackCall]], str]


class CpuProfile:
    """CPU `seconds` by part while the block lasts; `classify` names the part of a stack, innermost first."""

    def __init__(self, classify: Classify) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._classify = classify
        self._used_ns: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name='profile', daemon=True)
        self._begun_s = 0.0
        self._own_s = 0.0  # CPU time of the thread that samples

    def __enter__(self) -> Self:
        self._begun_s = time.process_time()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        total_s = time.process_time() - self._begun_s - self._own_s
        self.seconds[OUTSIDE_PYTHON] = max(0.0, total_s - sum(self.seconds.values()))

    def _run(self) -> None:
        for thread in threading.enumerate():
            if thread.native_id is not None:
                self._used_ns[thread.native_id] = _run_time_ns(thread.native_id)
        own = threading.get_ident()
        while not self._ended.wait(PERIOD_S):
            stacks = sys._current_frames()
            for thread in threading.enumerate():
                if thread.native_id is not None and thread.ident in stacks and thread.ident != own:
                    self._sample(thread.native_id, stacks[thread.ident])
            del stacks  # frames keep what their functions hold alive
        self._own_s = _run_time_ns(threading.get_native_id()) * 1e-9

    def _sample(self, native_id: int, frame: FrameType) -> None:
        used_ns = _run_time_ns(native_id)
        spent_ns = used_ns - self._used_ns.get(native_id, 0)
        if used_ns and spent_ns > 0:
            self._used_ns[native_id] = used_ns
            self.seconds[self._classify(_stack(frame))] += spent_ns * 1e-9


def _run_time_ns(native_id: int) -> int:
    """How long a thread has run; 0 when it has ended."""
    try:
        return int(Path(f'/proc/self/task/{native_id}/schedstat').read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _stack(frame: FrameType | None) -> list[StackCall]:
    calls = []
    while frame is not None:
        calls.append(StackCall(frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    return calls
