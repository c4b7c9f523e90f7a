"""What a compiled call spends its time on: the profiler's trace, by kind of operation.

Each traced event names an instruction of a compiled program; the program's text names which operation of
ours that instruction came from (of several fused ones, the last). Tracing slows a call: read the shares.
"""

import collections
import gzip
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = .*?op_name="(?P<path>[^"]*)"', re.MULTILINE)
_LOOPS = {'while', 'scan'}  # their events span those of what they run

type Instruction = tuple[str, str]
"""Name of a compiled program, and of an instruction in it."""


@dataclass(frozen=True)
class Share:
    """One kind of operation: seconds over all threads, part of the whole, and how often it ran."""

    operation: str
    seconds: float
    share: float
    count: int


def profile(call: Callable[[], object]) -> list[Share]:
    """Run a compiled call, which waits for its result, once under the profiler; largest shares first."""
    events = traced(call)
    operations: dict[Instruction, str] = {}
    for executable in jax.devices()[0].client.live_executables():
        for module in executable.hlo_modules():
            operations |= operation_names(module.name, module.to_string())
    return shares(events, operations)


def traced(call: Callable[[], object]) -> list[dict[str, Any]]:
    """Run a call once unseen, then once under the profiler; return the trace's events."""
    call()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            call()
        (trace,) = Path(folder).rglob('perfetto_trace.json.gz')
        events: list[dict[str, Any]] = json.loads(gzip.decompress(trace.read_bytes()))['traceEvents']
    return events


def operation_names(program: str, text: str) -> dict[Instruction, str]:
    """The operation (`dot_general`, `exp`, ...) behind each instruction of a compiled program's text."""
    found = {match['name']: match['path'].rsplit('/', 1)[-1] for match in _INSTRUCTION.finditer(text)}
    return {(program, name): operation for name, operation in found.items() if operation not in _LOOPS}


def shares(events: Sequence[Mapping[str, Any]], operations: Mapping[Instruction, str]) -> list[Share]:
    """Add up a trace's events (durations in microseconds) by operation, those of known instructions."""
    seconds: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()
    for event in events:
        origin = event.get('args', {})
        operation = operations.get((origin.get('hlo_module', ''), origin.get('hlo_op', '')))
        if event.get('ph') == 'X' and operation is not None:
            seconds[operation] += event['dur'] * 1e-6
            counts[operation] += 1
    total = sum(seconds.values())
    return [Share(name, spent, spent / total, counts[name]) for name, spent in seconds.most_common()]
