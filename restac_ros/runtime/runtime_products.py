"""Products, outputs and counts of the policy's loops."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from restac_ros.control.chunk import Chunk, ReplanTrigger
from restac_ros.framing.frame import Frame
from restac_ros.policy.policy import Policy
from restac_ros.policy.products import Prefix, Touch
from restac_ros.policy.prompting import Task
from restac_ros.runtime.chunk_tracker import ChunkTracker
from restac_ros.runtime.clocks import Clocks
from restac_ros.runtime.holding import Reasons
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.live_frames import LiveFrames
from restac_ros.runtime.subtask_rules import SubtaskRules
from restac_ros.runtime.surprise import SurpriseRule
from restac_ros.runtime.waiting import SYSTEM_WAITING, Waiting, WakeEvent

STAGES = (
    'frame_cameras',  # choosing, decoding and resizing, per prefix
    'frame_tactile',  # the same, per tactile frame, with state and action_prev
    'frame_state',  # per chunk
    'prefix',  # the three calls, each until its result is there
    'tactile',
    'act',
    'touch_to_gate',  # receipt of a tactile frame to its gate's publication
    'touch_overhead',  # of that, everything but the call
    'act_overhead',  # from when a chunk was due to its publication, but for the call
    'gate_rise_to_chunk',  # from when a gate was known that had risen to the chunk it triggered, published
    'contact_to_chunk',  # receipt of the tactile frame behind that gate to the same
    'camera_to_chunk',  # capture of the oldest image used to its chunk's publication
)
RECENT_GATES = 4096
GATE_PERCENTILES = (10, 40, 60, 90)


@dataclass(frozen=True)
class RuntimeSettings:
    """Deployment choices.

    The maximal ages are counted from capture and hold whatever the machine's speed; `PrefixLoop` and
    `TouchLoop` hold a product that is older than usual besides, within them.
    """

    replan_period_ns: int
    chunk_validity_ns: int
    surprise: SurpriseRule
    max_state_age_ns: int
    max_prefix_age_ns: int
    max_touch_age_ns: int


class ReadyPrefix(NamedTuple):
    """A prefix, and when it could first be used, by the node's clock."""

    prefix: Prefix
    ready_ns: int


class TouchReading(NamedTuple):
    """A touch, when its frame was received and when its gate was known, by the node's clock.

    `prompt` and `prompt_revision` are those of the prefix behind it.
    """

    touch: Touch
    prompt: str
    prompt_revision: int
    received_ns: int
    known_ns: int
    inference_ns: int


class AppliedSubtask(NamedTuple):
    """A subtask that chunks follow from now on.

    Attributes:
        text: in words.
        task: that it is a part of; empty: none is set.
        revision: of the prompt, as chunks carry it.
        source: network or operator, a `SubtaskSource`.
        stamp_ns: of the network's images; an operator's: when it was set.
        mean_log_probability: of the network's tokens; NaN: an operator's.
        ended: the network ended it itself.
    """

    text: str
    task: str
    revision: int
    source: int
    stamp_ns: int
    mean_log_probability: float
    ended: bool


@dataclass(frozen=True)
class Outputs:
    """Callbacks that receive results; called from the workers' threads.

    `holding` receives all present reasons at every replan (none: a chunk was published), `prompt` a task that
    was adopted, `failed` a sentence when a worker has failed: nothing follows then. `subtask` receives what
    chunks follow, where a planner runs.
    """

    chunk: Callable[[Chunk], None]
    touch: Callable[[TouchReading], None]
    holding: Callable[[Reasons], None]
    prompt: Callable[[Task], None]
    failed: Callable[[str], None]
    subtask: Callable[[AppliedSubtask], None] = lambda applied: None


@dataclass
class RunCounts:
    """Counts of a run.

    `held` counts replans without a chunk, `surprises` rises of the gate, `triggered` the chunks they led to,
    `chunks_in_prefix` those that were ready while a prefix was computed; `prefix_busy_ns` is the time of
    all prefixes but the first.
    """

    prefixes: int = 0
    prefix_busy_ns: int = 0
    touches: int = 0
    surprises: int = 0
    chunks: int = 0
    triggered: int = 0
    chunks_in_prefix: int = 0
    held: int = 0
    gate_min: float | None = None
    gate_max: float | None = None
    saturated: int = 0
    gates: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_GATES))
    hold_reasons: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)

    def count_prefix(self, duration_ns: int) -> None:
        """Count a prefix, and how long it was under way; during the first, nothing can be planned."""
        if self.prefixes:
            self.prefix_busy_ns += duration_ns
        self.prefixes += 1

    def count_touch(self, touch: Touch) -> None:
        """Count a touch and its gate."""
        self.touches += 1
        self.saturated += touch.saturated
        self.gates.append(touch.gate)
        self.gate_min = touch.gate if self.gate_min is None else min(self.gate_min, touch.gate)
        self.gate_max = touch.gate if self.gate_max is None else max(self.gate_max, touch.gate)

    def count_chunk(self, trigger: ReplanTrigger, in_prefix: bool) -> None:
        """Count a chunk."""
        self.chunks += 1
        self.triggered += trigger is ReplanTrigger.GATE
        self.chunks_in_prefix += in_prefix

    def count_hold(self, reasons: Reasons) -> None:
        """Count a replan without a chunk."""
        self.held += 1
        for subject, complaint in reasons.items():
            name = f'{subject} {complaint.kind}'
            self.hold_reasons[name] = self.hold_reasons.get(name, 0) + 1

    def count_answer(self, verdict: str) -> None:
        """Count an answer of the planner by what became of it."""
        self.answers[verdict] = self.answers.get(verdict, 0) + 1

    def summary(self) -> dict[str, object]:
        """Return the counts for the node's summary; percentiles are of the last `RECENT_GATES` gates."""
        names = ('prefixes', 'touches', 'surprises', 'chunks', 'triggered', 'chunks_in_prefix', 'held')
        gate: dict[str, float | None] = {'min': self.gate_min, 'max': self.gate_max}
        if self.gates:
            quantiles = np.percentile(self.gates, GATE_PERCENTILES)
            gate |= dict(zip((f'p{share}' for share in GATE_PERCENTILES), map(float, quantiles), strict=True))
        return {
            **{name: getattr(self, name) for name in names},
            'prefix_busy_s': self.prefix_busy_ns * 1e-9,
            'hold_reasons': self.hold_reasons,
            'answers': self.answers,
            'gate': {**gate, 'saturated': self.saturated},
        }


@dataclass(frozen=True)
class LoopContext:
    """State that the loops share.

    `tracker` is None where every chunk is planned freely, `rules` where no planner runs. `waiting` makes the
    threads and events of the loops.
    """

    policy: Policy
    frames: LiveFrames
    settings: RuntimeSettings
    clocks: Clocks
    outputs: Outputs
    latencies: Latencies
    counts: RunCounts
    tracker: ChunkTracker | None = None
    rules: SubtaskRules | None = None
    waiting: Waiting = SYSTEM_WAITING
    touch_idle: WakeEvent = field(init=False)  # set while no tactile frame is being worked on

    def __post_init__(self) -> None:
        object.__setattr__(self, 'touch_idle', self.waiting.event())
        self.touch_idle.set()

    def timed_frame(self, stage: str, streams: list[str]) -> Frame:
        """Return the present frame of these streams, and record how long that took."""
        with self.latencies.timed(stage):
            return self.frames.frame(streams)
