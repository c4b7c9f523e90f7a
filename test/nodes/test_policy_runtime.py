"""Three workers over the latest of the others, with a policy whose calls are told what to do."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from node_process import poll_until
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.control.chunk import ReplanTrigger
from restac_ros.framing.frame import StreamStatus
from restac_ros.framing.sample import Sample
from restac_ros.policy.action_tokens import ActionTokenError
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.products import PlannedActions
from restac_ros.policy.prompting import Task
from restac_ros.runtime.clocks import Clocks
from restac_ros.runtime.holding import invalid_streams, merged, too_old
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.live_frames import LiveFrames
from restac_ros.runtime.policy_runtime import PolicyRuntime
from restac_ros.runtime.prefix_loop import PrefixLoop
from restac_ros.runtime.runtime_products import (
    STAGES,
    LoopContext,
    Outputs,
    ReadyPrefix,
    RunCounts,
    RuntimeSettings,
)
from restac_ros.runtime.surprise import SurpriseRule

pytest.importorskip('rosbags')
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
MS = 10**6
DEADLINE_S = 600  # of a call that a test holds back until it lets it go
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
    compiling: threading.Event | None = None
    task: Task = field(default_factory=lambda: Task('push', None))
    acts: list[SimpleNamespace] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        return self.task.text

    def prepare_task(self, text: str) -> Task:
        self._raise('prompt')
        if self.compiling:
            self.compiling.wait(DEADLINE_S)
        return Task(text, None)

    def adopt_task(self, task: Task) -> Task:
        self.task = task._replace(revision=self.task.revision + 1)
        return self.task

    def encode_prefix(self, images: dict, stamp_ns: int, state: object) -> SimpleNamespace:
        self._raise('prefix')
        if self.blocked:
            self.blocked.wait(DEADLINE_S)
        return SimpleNamespace(
            stamp_ns=stamp_ns,
            images=dict(images),
            prompt=self.task.text,
            prompt_revision=self.task.revision,
        )

    def encode_tactile(
        self, image: np.ndarray, prefix: object, action_prev: np.ndarray, stamp_ns: int
    ) -> object:
        self._raise('touch')
        return SimpleNamespace(
            stamp_ns=stamp_ns, gate=float(image.mean()) / 255, saturated=False, prefix=prefix
        )

    def act(
        self, prefix: object, touch: object, state: np.ndarray, continuation: object = None
    ) -> PlannedActions:
        self._raise('act')
        self.acts.append(SimpleNamespace(prefix=prefix, touch=touch, state=state))
        return PlannedActions(
            delta_pose=np.zeros((5, 6)),
            gripper_opening_m=np.full(5, 0.04),
            state=state,
            prefix_stamp_ns=prefix.stamp_ns,
            touch=touch,
            noise_seed=None,
            noise_index=None,
        )

    def _raise(self, call: str) -> None:
        if call in self.errors:
            raise self.errors[call]


def in_ns(limits_ms: tuple[int, int, int]) -> list[int]:
    return [limit * MS for limit in limits_ms]


class Rig:
    """A runtime, its outputs, and a clock that moves only when told."""

    def __init__(
        self,
        contract: Contract,
        period_ns: int = 5 * MS,
        limits_ms: tuple[int, int, int] = (60_000, 60_000, 60_000),
        pace_ns: Callable[[], int] | None = None,
        wait_s: float | None = None,
        **policy: object,
    ) -> None:
        self.contract = contract
        self.policy = ScriptedPolicy(contract, **policy)
        self.now_ns = 1_760_000_000 * 10**9
        self.chunks, self.touches, self.held, self.prompts, self.failed = [], [], [], [], []
        self.started = False
        self.frames = LiveFrames(contract, lambda: self.now_ns, lambda: None)
        self.counts = RunCounts()
        kept = (self.chunks, self.touches, self.held, self.prompts, self.failed)
        outputs = Outputs(*(values.append for values in kept))
        settings = RuntimeSettings(period_ns, 500 * MS, SurpriseRule(0.6, 0.4, 0), *in_ns(limits_ms))
        self.latencies = Latencies(lambda: self.now_ns, *STAGES)
        # Replans are due by the wall; durations and ages are those of the test.
        clocks = Clocks(lambda: self.now_ns, lambda: self.now_ns, pace_ns or time.monotonic_ns, wait_s)
        self.context = LoopContext(
            self.policy, self.frames, settings, clocks, outputs, self.latencies, self.counts
        )
        self.runtime = PolicyRuntime(self.context)

    def until(self, condition: Callable[[], bool]) -> None:
        poll_until(condition, lambda: f'{self.held[-1:]}, {self.failed}')

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
        """One tactile frame of this grey level, 3 ms later, and wait until it is encoded."""
        self.now_ns += 3 * MS
        before, cdr = len(self.touches), message(self.contract, 'gelsight_left', level)
        self.frames.push(Sample('gelsight_left', self.now_ns - 2 * MS, self.now_ns - MS, cdr))
        self.until(lambda: len(self.touches) > before)

    def running(self, chunks: int = 1) -> None:
        """Start, and go on until there are so many chunks. The first replan, due at once, finds nothing."""
        self.start()
        self.until(lambda: bool(self.held))
        self.see()
        self.until(lambda: self.counts.prefixes == 1)
        self.see()
        self.until(lambda: self.counts.prefixes == 2 and len(self.chunks) >= chunks and bool(self.touches))

    def reasons(self) -> dict:
        return self.held[-1] if self.held else {}


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
        for event in (rig.policy.blocked, rig.policy.compiling):
            if event:
                event.set()
        if rig.started:
            rig.runtime.stop()


def test_products_carry_the_stamps_of_what_they_are_made_of(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.running()
    chunk, act = rig.chunks[0], rig.policy.acts[0]
    measured_ns = rig.now_ns - 10 * MS  # the joints' stamp: the chunk's time begins there
    assert chunk.stamp_ns == measured_ns
    assert chunk.valid_until_ns == measured_ns + 500 * MS
    assert chunk.camera_age_ns == measured_ns - act.prefix.stamp_ns
    assert chunk.tactile_age_ns == measured_ns - act.touch.stamp_ns
    assert set(act.prefix.images) == {'main', 'handeye', 'side'}
    np.testing.assert_allclose(chunk.anchor_state, act.state[:6])
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


@pytest.mark.parametrize(
    ('call', 'error'), [('touch', PolicyError), ('act', PolicyError), ('act', ActionTokenError)]
)
def test_a_call_that_is_refused_gives_a_reason_and_is_tried_again(
    make_rig: Callable[..., Rig], call: str, error: type[PolicyError]
) -> None:
    rig = make_rig()
    rig.running()
    rig.policy.errors[call] = error('holds NaN; hold, and check the checkpoint')
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


def test_a_new_prompt_is_in_the_chunks_from_the_next_prefix_on(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.running()
    assert (rig.chunks[-1].report.prompt, rig.chunks[-1].report.prompt_revision) == ('push', 0)
    rig.runtime.request_prompt('pull')
    rig.until(lambda: bool(rig.prompts))
    assert rig.prompts == [Task('pull', None, 1)]
    rig.see()
    rig.until(lambda: rig.chunks[-1].report.prompt == 'pull')
    assert rig.chunks[-1].report.prompt_revision == 1


def test_calls_go_on_with_the_old_prompt_while_a_new_one_is_compiled(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(compiling=threading.Event())
    rig.running()
    rig.runtime.request_prompt('pull')
    prefixes, chunks = rig.counts.prefixes, len(rig.chunks)
    rig.see()
    rig.until(lambda: rig.counts.prefixes > prefixes and len(rig.chunks) > chunks + 3)
    assert rig.chunks[-1].report.prompt == 'push'
    rig.policy.compiling.set()
    rig.until(lambda: bool(rig.prompts))
    rig.see()
    rig.until(lambda: rig.chunks[-1].report.prompt == 'pull')


def test_of_several_prompts_the_last_is_followed(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(compiling=threading.Event())
    rig.running()
    for prompt in ('pull', 'twist', 'lift'):
        rig.runtime.request_prompt(prompt)
    rig.policy.compiling.set()
    rig.until(lambda: rig.policy.prompt == 'lift')
    rig.until(lambda: rig.prompts[-1].text == 'lift')
    assert 'twist' not in [task.text for task in rig.prompts[:-1]] or len(rig.prompts) < 3


def test_a_compilation_that_outlives_its_activation_is_dropped(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(compiling=threading.Event())
    rig.running()
    rig.runtime.request_prompt('pull')
    rig.runtime.stop()  # does not wait for it
    rig.started = False
    rig.policy.compiling.set()
    for thread in [thread for thread in threading.enumerate() if thread.name == 'prompt']:
        thread.join(DEADLINE_S)
    assert (rig.policy.prompt, rig.prompts) == ('push', [])


def test_a_policy_without_touch_needs_no_tactile_worker(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(uses_touch=False, tactile_stream=None)
    rig.start()
    rig.see()
    rig.until(lambda: bool(rig.chunks))
    assert rig.chunks[0].tactile_age_ns == 0
    assert np.isnan(rig.chunks[0].report.gate)
    assert rig.touches == []


def test_a_reason_names_topic_finding_and_remedy(contract: Contract) -> None:
    gone = StreamStatus(None, None, None, False, 'missing: nothing received on /cameras/main/color/image_raw')
    [reason] = invalid_streams(contract, {'main': gone}).values()
    assert 'main (/cameras/main/color/image_raw) missing' in reason.text
    assert reason.text.endswith('start the driver, or correct the topic in the contract')
    assert too_old('prefix', 5, None, 5) == {}
    assert 'raise max_prefix_age_ms' in too_old('prefix', 6 * MS, 9 * MS, 5 * MS)['prefix'].text
    assert 'overdue' in too_old('prefix', 6 * MS, 5 * MS, 9 * MS)['prefix'].text
    earlier, later = too_old('a', 2, None, 1), invalid_streams(contract, {'main': gone})
    assert set(merged([earlier, later])) == {'a', 'main'}


def test_a_gate_that_rises_triggers_a_replan_from_that_touch(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(period_ns=3600 * 10**9)  # but for the first, no replan is due by the clock
    rig.running(chunks=0)
    rig.feel(204)
    rig.until(lambda: bool(rig.chunks))
    [chunk] = rig.chunks
    assert chunk.report.trigger is ReplanTrigger.GATE
    assert chunk.report.gate == pytest.approx(0.8)
    assert chunk.tactile_age_ns == 0  # the touch is newer than the state that anchors the chunk
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
    assert {chunk.report.trigger for chunk in rig.chunks} == {ReplanTrigger.PERIOD}
    assert rig.counts.triggered == 0


def test_the_prefix_may_be_used_until_the_next_one_is_due(make_rig: Callable[..., Rig]) -> None:
    """One camera period and one prefix time after it was ready; the ages are counted from capture."""
    rig = make_rig()
    rig.running()
    cameras = [rig.contract.streams[name] for name in rig.policy.camera_streams]
    period_ns = round(1e9 / min(spec.rate_hz for spec in cameras))
    spent_ns = sum(rig.latencies[stage].recent_max_ns for stage in ('frame_cameras', 'prefix'))
    ready_age_ns = 10 * MS  # of the images when the prefix was ready: no time passes while it is computed
    prefixes = PrefixLoop(rig.context)
    ready = ReadyPrefix(SimpleNamespace(stamp_ns=rig.now_ns - ready_age_ns), rig.now_ns)
    limit_ns = ready_age_ns + period_ns + spent_ns
    assert prefixes.unfit(ready, ready.prefix.stamp_ns + limit_ns) == {}
    late = prefixes.unfit(ready, ready.prefix.stamp_ns + limit_ns + 1)
    assert late['prefix'].kind == 'stale'


@pytest.mark.parametrize(('name', 'place'), [('state', 0), ('prefix', 1), ('touch', 2)])
def test_an_absolute_limit_holds_what_is_usual_on_a_slow_machine(
    make_rig: Callable[..., Rig], name: str, place: int
) -> None:
    limits = [60_000, 60_000, 60_000]
    limits[place] = 15
    rig = make_rig(limits_ms=tuple(limits))
    for stage in ('prefix', 'tactile'):
        rig.latencies.add(stage, 3600 * 10**9)  # so slow that no derived limit would ever be reached
    rig.running()
    chunks = len(rig.chunks)
    rig.until(lambda: len(rig.chunks) > chunks)  # all are 10 ms old
    rig.now_ns += 10 * MS  # all are 20 ms old now, and every stream is still valid
    rig.until(lambda: name in rig.reasons())
    assert rig.reasons()[name].kind == 'stale'
    assert f'raise max_{name}_age_ms' in rig.reasons()[name].text


def test_an_old_state_moves_the_chunks_time_not_its_anchor(make_rig: Callable[..., Rig]) -> None:
    """An arm at 0.25 m/s has gone on by 25 mm when its state is 99 ms old: the steps count from then."""
    rig = make_rig()
    rig.latencies.add('prefix', 3600 * 10**9)  # so slow that the next one is not overdue
    rig.running()
    rig.now_ns += 89 * MS
    before = len(rig.chunks)
    rig.until(lambda: len(rig.chunks) > before + 1)
    chunk = rig.chunks[-1]
    assert rig.now_ns - chunk.stamp_ns == 99 * MS
    assert chunk.place(rig.now_ns)[0] == 1  # the first step was due 66.7 ms after the state


@pytest.mark.parametrize('ahead_ms', [1, 20])
def test_stamps_ahead_of_the_clock_within_the_allowed_skew_give_chunks_without_negative_ages(
    make_rig: Callable[..., Rig], ahead_ms: int
) -> None:
    rig = make_rig()
    rig.start()

    def see_ahead() -> None:
        rig.now_ns += 100 * MS
        for name in sorted(rig.contract.streams, key=['gelsight_left', 'main'].count):
            stamp_ns = rig.now_ns + ahead_ms * MS
            rig.frames.push(Sample(name, stamp_ns, rig.now_ns, message(rig.contract, name)))

    for count in (1, 2, 3):
        see_ahead()
        rig.until(lambda count=count: rig.counts.prefixes == count)
    rig.until(lambda: bool(rig.chunks) and bool(rig.touches))
    assert not rig.failed
    assert all(chunk.camera_age_ns >= 0 and chunk.tactile_age_ns >= 0 for chunk in rig.chunks)


def test_replans_follow_a_simulated_clock_and_stand_still_with_it(make_rig: Callable[..., Rig]) -> None:
    simulated = {'ns': 10**9, 'step_ns': 0}

    def pace_ns() -> int:
        simulated['ns'] += simulated['step_ns']
        return simulated['ns']

    rig = make_rig(period_ns=100 * MS, pace_ns=pace_ns, wait_s=0.001)
    rig.running(chunks=0)
    held = len(rig.held)
    for tick in range(1, 6):
        simulated['ns'] += 100 * MS
        rig.until(lambda tick=tick: len(rig.held) >= held + tick)
    assert len(rig.held) == held + 5
    simulated['ns'] -= 10 * 10**9  # set back, as when a bag begins anew
    simulated['step_ns'] = MS  # from now on it runs with every reading
    rig.until(lambda: len(rig.held) >= held + 7)
