"""What ran on the device in a trace: kernels by time, their launches, and how long the device was idle.

Read from the profiler's trace events; no TensorFlow. A GPU's trace has a process of its own for each device,
with a thread for each stream; the CPU's instructions are found by the program that they belong to.
"""

import collections
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DEVICE = '/device:'  # what the names of devices' processes begin with
_STREAM = 'Stream'  # and those of the threads that hold kernels, not their grouping by module
_LOOPS = ('while', 'call', 'conditional')  # their events span those of what they run
_NUMBER = re.compile(r'[._]\d+\b')

type Event = Mapping[str, Any]


@dataclass(frozen=True)
class Kernel:
    """All launches of one kernel."""

    name: str
    launches: int
    seconds: float


@dataclass(frozen=True)
class DeviceTime:
    """One call on the device.

    Attributes:
        kernels: the longest first.
        launches: of all kernels.
        span_s: from the begin of the first to the end of the last.
        idle_share: of that time, when none ran.
    """

    kernels: tuple[Kernel, ...]
    launches: int
    span_s: float
    idle_share: float


def device_time(events: Sequence[Event]) -> DeviceTime:
    """Sum up a trace.

    Raises:
        ValueError: nothing in it ran on a device.
    """
    ran = [event for event in _device_events(events) if event.get('dur', 0) > 0]
    if not ran:
        raise ValueError('trace: found no kernels, expected some: the profiler cannot see this device')
    seconds: collections.Counter[str] = collections.Counter()
    launches: collections.Counter[str] = collections.Counter()
    for event in ran:
        name = _NUMBER.sub('', event['name'])  # the same kernel under another instruction's number
        seconds[name] += event['dur'] * 1e-6
        launches[name] += 1
    spans = sorted((event['ts'] * 1e-6, (event['ts'] + event['dur']) * 1e-6) for event in ran)
    span_s = max(end for _, end in spans) - spans[0][0]
    kernels = tuple(Kernel(name, launches[name], spent) for name, spent in seconds.most_common())
    return DeviceTime(kernels, len(ran), span_s, 1 - _covered_s(spans) / span_s)


def _device_events(events: Sequence[Event]) -> list[Event]:
    """Kernels on a device's streams; without such a device, instructions of compiled programs."""
    processes, threads = set(), {}
    for event in events:
        name = str(event.get('args', {}).get('name', ''))
        if event.get('ph') == 'M' and event['name'] == 'process_name' and name.startswith(_DEVICE):
            processes.add(event['pid'])
        elif event.get('ph') == 'M' and event['name'] == 'thread_name':
            threads[event['pid'], event['tid']] = name
    complete = [event for event in events if event.get('ph') == 'X']
    on_devices = [
        event
        for event in complete
        if event['pid'] in processes and _STREAM in threads.get((event['pid'], event['tid']), '')
    ]
    instructions = [event for event in complete if 'hlo_op' in event.get('args', {})]
    return on_devices or [event for event in instructions if not event['name'].startswith(_LOOPS)]


def _covered_s(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of spans, which are in order of their begin."""
    covered, until = 0.0, float('-inf')
    for begin, end in spans:
        covered += max(0.0, end - max(begin, until))
        until = max(until, end)
    return covered
