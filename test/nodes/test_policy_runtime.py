"""Three workers over the latest of the others, with a policy whose calls are told what to do."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.framing.frame import StreamStatus
from restac_ros.framing.sample import Sample
from restac_ros.policy.errors import PolicyError
from restac_ros.runtime.holding import invalid_streams, merged, too_old
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.live_frames import LiveFrames
from restac_ros.runtime.policy_runtime import PolicyRuntime
from restac_ros.runtime.runtime_products import (
    STAGES,
    Outputs,
    ReplanTrigger,
    RunCounts,
    RuntimeSettings,
    Workplace,
)
from restac_ros.runtime.surprise import SurpriseRule

pytest.importorskip('rosbags')
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
MS = 10**6
DEADLINE_S = 10
READY = np.array([0, -0.785, 0, -2.356, 0, 1.571, 0.785])


@dataclass
class ScriptedPolicy:
    """Stands in for the network: gives what it was given, or raises what it was told to."""

    contract: Contract
    tactile_stream: str = 'gelsight_left'
    camera_streams: tuple[str, ...] = ('main', 'handeye', 'side')
    uses_touch: bool = True
    config: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(state_input='token'))
    errors: dict[str, Exception] = field(default_factory=dict)
    blocked: threading.Event | None = None
    prompts: list[str] = field(default_factory=list)

    def set_prompt(self, text: str) -> None:
        self.prompts.append(text)

    def encode_prefix(self, images: dict, stamp_ns: int, state: object) -> SimpleNamespace:
        self._raise('prefix')
        if self.blocked:
            self.blocked.wait(DEADLINE_S)
        return SimpleNamespace(stamp_ns=stamp_ns, images=dict(images))

    def encode_tactile(
        self, image: np.ndarray, prefix: object, action_prev: np.ndarray, stamp_ns: int
    ) -> object:
        self._raise('touch')
        return SimpleNamespace(
            stamp_ns=stamp_ns, gate=float(image.mean()) / 255, saturated=False, prefix=prefix
        )

    def act(
        self, prefix: object, touch: object, state: np.ndarray, continuation: object = None
    ) -> SimpleNamespace:
        self._raise('act')
        return SimpleNamespace(prefix=prefix, touch=touch, state=state, continuation=continuation)

    def _raise(self, call: str) -> None:
        if call in self.errors:
            raise self.errors[call]


class Rig:
    """A runtime, its outputs, and a clock that moves only when told."""

    def __init__(self, contract: Contract, period_ns: int = 5 * MS, **policy: object) -> None:
        self.contract = contract
        self.policy = ScriptedPolicy(contract, **policy)
        self.now_ns = 1_760_000_000 * 10**9
        self.chunks, self.touches, self.held, self.failed = [], [], [], []
        self.started = False
        self._news = threading.Condition()
        self.frames = LiveFrames(contract, lambda: self.now_ns, lambda: None)
        self.counts = RunCounts()
        outputs = Outputs(*(self._keep(kept) for kept in (self.chunks, self.touches, self.held, self.failed)))
        settings = RuntimeSettings(period_ns, 500 * MS, SurpriseRule(0.6, 0.4, 0))
        self.latencies = Latencies(*STAGES)
        place = Workplace(
            self.policy, self.frames, settings, lambda: self.now_ns, outputs, self.latencies, self.counts
        )
        self.runtime = PolicyRuntime(place)

    def until(self, condition: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(condition, DEADLINE_S), (self.held[-1:], self.failed)

    def see(self, *without: str) -> None:
        """Every stream has something new, 100 ms later; those that wake a worker come last."""
        self.now_ns += 100 * MS
        for name in sorted(self.contract.streams, key=['gelsight_left', 'main'].count):
            if name not in without:
                cdr = message(self.contract, name)
                self.frames.push(Sample(name, self.now_ns - 10 * MS, self.now_ns - 5 * MS, cdr))

    def start(self) -> None:
        self.started = True
        self.runtime.start()

    def feel(self, level: int) -> None:
        """One tactile frame of this grey level, 5 ms later, and wait until it is encoded."""
        self.now_ns += 5 * MS
        before, cdr = len(self.touches), message(self.contract, 'gelsight_left', level)
        self.frames.push(Sample('gelsight_left', self.now_ns - 2 * MS, self.now_ns - MS, cdr))
        self.until(lambda: len(self.touches) > before)

    def running(self, chunks: int = 1) -> None:
        """Start, and go on until there are so many chunks."""
        self.start()
        self.see()
        self.until(lambda: self.counts.prefixes == 1)
        self.see()
        self.until(lambda: self.counts.prefixes == 2 and len(self.chunks) >= chunks and bool(self.touches))

    def reasons(self) -> dict:
        return self.held[-1] if self.held else {}

    def _keep(self, kept: list) -> Callable[[object], None]:
        def keep(value: object) -> None:
            with self._news:
                kept.append(value)
                self._news.notify_all()

        return keep


def message(contract: Contract, name: str, level: int = 51) -> bytes:
    """A small valid message of a stream; images are of one grey level."""
    spec, types = contract.streams[name], STORE.types
    header = types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](1, 0), '')
    if 'JointState' in spec.type:
        positions = READY if len(spec.joints) == 7 else np.full(len(spec.joints), 0.02)
        value = types[spec.type](header, list(spec.joints), positions, np.zeros(0), np.zeros(0))
    else:
        value = types[spec.type](header, 48, 64, spec.encoding, 0, 192, np.full(48 * 192, level, np.uint8))
    return bytes(STORE.serialize_cdr(value, spec.type))


@pytest.fixture
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


@pytest.fixture
def make_rig(contract: Contract) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**policy: object) -> Rig:
        made.append(Rig(contract, **policy))
        return made[-1]

    yield make
    for rig in made:
        if rig.policy.blocked:
            rig.policy.blocked.set()
        if rig.started:
            rig.runtime.stop()


def test_products_carry_the_stamps_of_what_they_are_made_of(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.running()
    chunk = rig.chunks[0]
    assert chunk.stamp_ns == rig.now_ns
    assert chunk.valid_until_ns == rig.now_ns + 500 * MS
    assert chunk.prefix_age_ns == rig.now_ns - chunk.chunk.prefix.stamp_ns >= 10 * MS
    assert chunk.tactile_age_ns == rig.now_ns - chunk.chunk.touch.stamp_ns
    assert set(chunk.chunk.prefix.images) == {'main', 'handeye', 'side'}
    assert chunk.chunk.state.shape == (7,)
    touch = rig.touches[0].touch
    assert touch.gate == pytest.approx(0.2)
    assert (rig.counts.gate_min, rig.counts.gate_max) == (touch.gate, touch.gate)


def test_chunks_are_numbered_without_a_gap(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.running()
    rig.until(lambda: len(rig.chunks) >= 5)
    assert [chunk.chunk_id for chunk in rig.chunks[:5]] == [0, 1, 2, 3, 4]


def test_replans_go_on_while_a_prefix_is_computed(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.running()
    rig.policy.blocked = threading.Event()
    rig.frames.push(Sample('main', rig.now_ns - 2 * MS, rig.now_ns - MS, message(rig.contract, 'main')))
    before = len(rig.chunks)
    rig.until(lambda: len(rig.chunks) >= before + 10)
    assert rig.counts.prefixes == 2


@pytest.mark.parametrize('stream', ['main', 'gelsight_left', 'joints', 'gripper'])
def test_no_chunk_while_a_required_stream_is_stale_and_again_when_it_is_back(
    make_rig: Callable[..., Rig], stream: str
) -> None:
    rig = make_rig()
    rig.running()
    for _ in range(4):
        rig.see(stream)
    rig.until(lambda: stream in rig.reasons())
    assert rig.reasons()[stream].kind == 'stale'
    assert 'see whether the driver runs' in rig.reasons()[stream].text
    before, held = len(rig.chunks), len(rig.held)
    rig.until(lambda: len(rig.held) >= held + 5)
    assert len(rig.chunks) == before
    rig.see()
    rig.see()  # action_prev needs the state of one period earlier, too
    rig.until(lambda: len(rig.chunks) > before)


def test_an_old_prefix_is_not_acted_on(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.running()
    rig.policy.errors['prefix'] = PolicyError('prefix: damaged')
    rig.see()
    # It may be too old for a moment before the refusal of the next one is known.
    rig.until(lambda: 'prefix' in rig.reasons() and 'damaged' in rig.reasons()['prefix'].text)
    del rig.policy.errors['prefix']
    before = len(rig.chunks)
    rig.see()
    rig.until(lambda: len(rig.chunks) > before)


@pytest.mark.parametrize('call', ['touch', 'act'])
def test_a_call_that_is_refused_gives_a_reason_and_is_tried_again(
    make_rig: Callable[..., Rig], call: str
) -> None:
    rig = make_rig()
    rig.running()
    rig.policy.errors[call] = PolicyError('holds NaN; hold, and check the checkpoint')
    rig.see()
    rig.until(lambda: call in rig.reasons())
    assert rig.reasons()[call].kind == 'refused'
    assert not rig.failed
    del rig.policy.errors[call]
    before = len(rig.chunks)
    rig.see()
    rig.until(lambda: len(rig.chunks) > before)


@pytest.mark.parametrize('call', ['prefix', 'touch', 'act'])
def test_an_unexpected_error_is_a_failure_that_is_told(make_rig: Callable[..., Rig], call: str) -> None:
    rig = make_rig()
    rig.running()
    rig.policy.errors[call] = ZeroDivisionError('a bug')
    rig.see()
    rig.until(lambda: bool(rig.failed))
    assert rig.failed == [f'{call} failed: unexpected ZeroDivisionError: a bug']


def test_a_wrong_encoding_is_a_reason_though_only_the_prefix_decodes_images(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig()
    rig.running()
    rig.see('main')
    wrong = message(rig.contract, 'gelsight_left')  # bgr8, where the contract says rgb8
    rig.frames.push(Sample('main', rig.now_ns, rig.now_ns, wrong))
    rig.until(lambda: 'main' in rig.reasons())
    assert rig.reasons()['main'].kind == 'undecodable'
    assert "encoding 'bgr8'" in rig.reasons()['main'].text


def test_missing_streams_are_no_news_at_the_beginning(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.start()
    rig.until(lambda: len(rig.held) >= 3)
    assert rig.held[-1] == {}
    assert rig.counts.held >= 3
    assert rig.counts.hold_reasons['main missing'] >= 3
    assert not rig.chunks


def test_a_new_prompt_is_used_from_the_next_prefix_on(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.running()
    rig.runtime.request_prompt('pull')
    before = rig.counts.prefixes
    rig.see()
    rig.until(lambda: rig.counts.prefixes > before)
    assert rig.policy.prompts == ['pull']


def test_a_policy_without_touch_needs_no_tactile_worker(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(uses_touch=False, tactile_stream=None)
    rig.start()
    rig.see()
    rig.until(lambda: bool(rig.chunks))
    assert rig.chunks[0].tactile_age_ns is None
    assert rig.touches == []


def test_a_reason_names_topic_finding_and_remedy(contract: Contract) -> None:
    gone = StreamStatus(None, None, None, False, 'missing: nothing received on /cameras/main/color/image_raw')
    [reason] = invalid_streams(contract, {'main': gone}).values()
    assert 'main (/cameras/main/color/image_raw) missing' in reason.text
    assert reason.text.endswith('start the driver, or correct the topic in the contract')
    assert too_old('prefix', 5, 5) == {}
    assert 'raise max_prefix_age_ms' in too_old('prefix', 6 * MS, 5 * MS)['prefix'].text
    earlier, later = too_old('a', 2, 1), invalid_streams(contract, {'main': gone})
    assert set(merged([earlier, later])) == {'a', 'main'}


def test_a_gate_that_rises_triggers_a_replan_from_that_touch(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(period_ns=3600 * 10**9)  # but for the first, no replan is due by the clock
    rig.running(chunks=0)
    rig.feel(204)
    rig.until(lambda: bool(rig.chunks))
    [chunk] = rig.chunks
    assert chunk.trigger is ReplanTrigger.GATE
    assert chunk.chunk.touch.gate == pytest.approx(0.8)
    assert chunk.tactile_age_ns == chunk.stamp_ns - chunk.chunk.touch.stamp_ns
    rig.until(lambda: 'contact_to_chunk' in rig.latencies.table())
    assert rig.latencies.table()['gate_rise_to_chunk'].count == 1
    assert (rig.counts.surprises, rig.counts.triggered) == (1, 1)


def test_a_gate_that_stays_high_triggers_no_second_replan(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(period_ns=3600 * 10**9)
    rig.running(chunks=0)
    for level in (204, 230, 204, 130, 204):  # never down to the release level
        rig.feel(level)
    assert rig.counts.surprises == 1
    rig.feel(51)
    rig.feel(204)
    rig.until(lambda: rig.counts.triggered == 2)
    assert rig.counts.surprises == 2


def test_the_time_of_the_first_prefix_is_none_in_which_replans_could_go_on() -> None:
    counts = RunCounts()
    counts.count_prefix(700)
    assert (counts.prefixes, counts.prefix_busy_ns) == (1, 0)
    counts.count_prefix(300)
    assert (counts.prefixes, counts.prefix_busy_ns) == (2, 300)


def test_replans_by_the_clock_say_so(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.running()
    assert {chunk.trigger for chunk in rig.chunks} == {ReplanTrigger.PERIOD}
    assert rig.counts.triggered == 0


def test_the_prefix_may_be_used_until_the_next_one_is_due(make_rig: Callable[..., Rig]) -> None:
    """One camera period and one prefix time after it was ready; the ages are counted from capture."""
    rig = make_rig()
    rig.running()
    cameras = [rig.contract.streams[name] for name in rig.policy.camera_streams]
    period_ns = round(1e9 / min(spec.rate_hz for spec in cameras))
    spent_ns = sum(rig.latencies[stage].recent_max_ns for stage in ('frame_cameras', 'prefix'))
    ready_age_ns = 10 * MS  # of the images when the prefix was ready: no time passes while it is computed
    rig.policy.blocked = threading.Event()
    prefixes = rig.runtime._prefixes
    ready = prefixes.latest
    assert ready.ready_ns - ready.prefix.stamp_ns == ready_age_ns
    limit_ns = ready_age_ns + period_ns + spent_ns
    assert prefixes.unfit(ready, ready.prefix.stamp_ns + limit_ns) == {}
    late = prefixes.unfit(ready, ready.prefix.stamp_ns + limit_ns + 1)
    assert late['prefix'].kind == 'stale'
