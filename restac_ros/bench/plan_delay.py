"""How long a plan delays touch: the policy's loops at full rate, with questions and without, in turns.

How long a reading would have taken without the plan cannot be measured. So as many of either kind are
compared in the order of their duration, the slowest with the slowest: the largest difference is the delay.
All runs in this process, without ROS.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from restac_ros.bench.recordings import DELAY_NS, START_NS, Scene, make_messages
from restac_ros.contract.schema import Contract
from restac_ros.framing.resize import IMAGE_SIZE
from restac_ros.framing.sample import Sample
from restac_ros.framing.values import STATE_DIM
from restac_ros.installation import GraphError
from restac_ros.model.checkpoint.provenance import Subtasks
from restac_ros.model.checkpoint.store import load_info, load_params, save_checkpoint
from restac_ros.policy.init_checkpoint import init_checkpoint
from restac_ros.policy.policy import Policy
from restac_ros.runtime.clocks import Clocks
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.live_frames import LiveFrames
from restac_ros.runtime.policy_runtime import PolicyRuntime
from restac_ros.runtime.runtime_products import (
    STAGES,
    LoopContext,
    Outputs,
    RunCounts,
    RuntimeSettings,
    TouchReading,
)
from restac_ros.runtime.subtask_rules import SubtaskRules
from restac_ros.runtime.surprise import SurpriseRule

PLAN_TOKENS = 12
_TASK, _SUBTASK = 'tidy the table', 'insert the plug'
_SETTLE_S = 0.3  # of each window's beginning, not counted
_TIMEOUT_S = 300.0
_PATIENT_NS = 10**12
_POLL_S = 0.02
_LONGEST_S = 3600.0
_SETTINGS = RuntimeSettings(
    replan_period_ns=100_000_000,
    chunk_validity_ns=_PATIENT_NS,
    surprise=SurpriseRule(1.0, 1.0, 0),  # none triggers
    max_state_age_ns=_PATIENT_NS,
    max_prefix_age_ns=_PATIENT_NS,
    max_touch_age_ns=_PATIENT_NS,
)
# One question after the other; no answer is taken, so that nothing else changes.
_RULES = SubtaskRules(1_000_000, _PATIENT_NS, 0, 10**18, allowed=(_SUBTASK,))


@dataclass(frozen=True)
class PlanDelay:
    """Tactile readings from receipt to gate, ms: [median, 99th percentile, slowest].

    Attributes:
        alone_ms: while nothing is asked.
        beside_ms: while plans follow each other.
        delay_ms: the largest difference between readings of equal rank.
        readings: the fewer of either kind.
        plans: asked for meanwhile.
        tokens: of a plan.
    """

    alone_ms: tuple[float, ...]
    beside_ms: tuple[float, ...]
    delay_ms: float
    readings: int
    plans: int
    tokens: int


def speaking_policy(folder: Path, contract: Contract, preset: str = 'tiny') -> Policy:
    """Return a policy of random weights that is asked for subtasks, compiled."""
    silent, speaking = folder / 'silent', folder / 'speaking'
    init_checkpoint(preset, contract, silent)
    info = load_info(silent)
    taught = Subtasks(says=True, acts=True, max_tokens=PLAN_TOKENS)
    info = replace(info, origin=replace(info.origin, subtasks=taught))
    save_checkpoint(speaking, load_params(silent, info.config), info)
    policy = Policy.load(speaking, contract, _SUBTASK, use_compile_cache=False)
    policy.warm_up()
    policy.planner.prepare(_TASK)
    return policy


class _Loops:
    """The policy's loops, and the readings of touch that they publish."""

    def __init__(self, policy: Policy) -> None:
        self._readings_ms: list[float] = []
        self._failures: list[str] = []
        self._counts = RunCounts()
        self._frames = LiveFrames(policy.contract, time.time_ns, lambda: None)
        self._contract = policy.contract
        outputs = Outputs(
            lambda chunk: None, self._read, lambda why: None, lambda task: None, self._failures.append
        )
        context = LoopContext(
            policy=policy,
            frames=self._frames,
            settings=_SETTINGS,
            clocks=Clocks.of(time.time_ns, time.monotonic_ns, simulated=False),
            outputs=outputs,
            latencies=Latencies(time.perf_counter_ns, *STAGES),
            counts=self._counts,
            rules=_RULES,
        )
        self._runtime = PolicyRuntime(context)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Plan chunks while the block lasts."""
        with _fed(self._frames, self._contract):
            self._runtime.start()
            try:
                self._runtime.override(_SUBTASK)  # once: chunks are planned from then on
                self._await(lambda: self._counts.chunks > 0)
                self._runtime.override('')
                yield
            finally:
                self._runtime.stop()

    def window(self, asked: bool, readings: int) -> tuple[list[float], int]:
        """Return the readings of a window in ms, and the plans made in it."""
        self._runtime.set_task(_TASK if asked else '')
        time.sleep(_SETTLE_S)
        first, before = len(self._readings_ms), self._plans()
        self._await(
            lambda: len(self._readings_ms) >= first + readings and self._plans() >= before + int(asked)
        )
        return self._readings_ms[first:], self._plans() - before

    def _read(self, reading: TouchReading) -> None:
        self._readings_ms.append((time.time_ns() - reading.received_ns) / 1e6)

    def _plans(self) -> int:
        return sum(self._counts.answers.values())

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + _TIMEOUT_S
        while not condition():
            if self._failures or time.monotonic() > deadline_s:
                why = '; '.join(self._failures) or f'{self._counts.hold_reasons} for {_TIMEOUT_S:.0f} s'
                raise GraphError(f'the loops do not run: {why}')
            time.sleep(_POLL_S)


def measure_plan_delay(policy: Policy, rounds: int, readings: int) -> PlanDelay:
    """Return the delay of tactile readings by plans.

    Args:
        policy: see `speaking_policy`.
        rounds: of a window without and one with plans.
        readings: least number in a window; one with plans lasts until a plan has ended, too.

    Raises:
        GraphError: the loops do not run.
    """
    tokens, loops = _tokens_of_a_plan(policy), _Loops(policy)
    windows: dict[bool, list[float]] = {False: [], True: []}
    plans = 0
    with loops.running():
        for number in range(2 * rounds):
            asked = number % 4 in (1, 2)  # either kind comes first as often as the other
            read_ms, made = loops.window(asked, readings)
            windows[asked].extend(read_ms)
            plans += made
    return compared(windows[False], windows[True], plans, tokens)


def compared(alone_ms: Sequence[float], beside_ms: Sequence[float], plans: int, tokens: int) -> PlanDelay:
    """Return the figures of readings alone and beside plans, compared rank by rank."""
    count = min(len(alone_ms), len(beside_ms))
    ranks = np.linspace(0, 1, count)
    more_ms = np.quantile(beside_ms, ranks) - np.quantile(alone_ms, ranks)
    shown = [tuple(map(float, np.quantile(one, (0.5, 0.99, 1)))) for one in (alone_ms, beside_ms)]
    return PlanDelay(shown[0], shown[1], float(more_ms.max()), count, plans, tokens)


def _tokens_of_a_plan(policy: Policy) -> int:
    """Ask once; return how many tokens the answer has."""
    blank = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    said = policy.planner.ask(dict.fromkeys(policy.camera_streams, blank), np.zeros(STATE_DIM), _TASK, 0)
    return 0 if said is None else said.num_tokens


@contextmanager
def _fed(frames: LiveFrames, contract: Contract) -> Iterator[None]:
    """Have every stream arrive at its rate, from a thread, while the block lasts."""
    names = {spec.topic: name for name, spec in contract.streams.items()}
    messages = make_messages(contract, _LONGEST_S, Scene(camera_px=(320, 240)))
    ended = threading.Event()

    def feed() -> None:
        offset_ns = time.time_ns() - START_NS
        for message in messages:
            due_ns = message.log_time_ns + offset_ns
            if ended.wait(max(0, due_ns - time.time_ns()) * 1e-9):
                return
            sample = Sample(names[message.topic], due_ns - DELAY_NS, time.time_ns(), message.cdr)
            frames.push(sample)

    thread = threading.Thread(target=feed, name='source', daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
