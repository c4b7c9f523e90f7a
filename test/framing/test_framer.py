"""The framer against a twin that looks at every sample for every frame, and its promises one by one."""

import sys
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from restac_ros.contract.errors import ContractError
from restac_ros.framing import framer as framer_module
from restac_ros.framing.buffer import MAX_REORDER_NS
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.framer import HISTORY_NS, Framer, frames
from restac_ros.framing.grid import Grid
from restac_ros.framing.sample import Sample, make_sample
from restac_ros.framing.values import decode_value, pose_vector, state_change, state_vector

MS = 1_000_000
START = 1_760_000_000_000_000_000
STREAMS = ('main', 'gelsight_left', 'joints', 'gripper')
Q_DOWN = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])


@pytest.fixture(scope='module')
def small(edited_contract):
    """One camera and loose ages, so that random times hit every case."""
    changes = {'streams.side': None, 'streams.handeye': None, 'streams.main.required': False}
    return edited_contract(changes | {'streams.joints.max_age_ms': 80, 'streams.main.encoding': None})


@pytest.fixture(scope='module')
def payloads(messages):
    """A few messages per stream, the last of each undecodable."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
    arms = [Q_DOWN + rng.normal(0, 0.2, 7) for _ in range(4)]
    return {
        'main': [*(messages.image(p, 'bgr8') for p in pixels[:4]), messages.image(pixels[4], '16UC1')],
        'gelsight_left': [*(messages.image(p, 'bgr8') for p in pixels[:4]), b'\x00\x01garbage'],
        'joints': [*(messages.arm(q) for q in arms), messages.joints(['a'], [0.0])],
        'gripper': [*(messages.gripper(w) for w in (0.0, 0.01, 0.05, 0.08)), messages.gripper(9.0)],
    }


# -------------------------------------------------------------------------------------------- the slow twin


class Twin:
    """Framing as its documentation states it, without buffers, caches or searches."""

    def __init__(self, contract, start_ns):
        self.contract, self.start_ns = contract, start_ns
        self.known = defaultdict(list)  # stream -> samples since its clock was last set back

    def push(self, sample):
        known = self.known[sample.stream]
        if known and sample.receive_ns < max(s.receive_ns for s in known) - MAX_REORDER_NS:
            known.clear()
        known.append(sample)

    def choose(self, name, time_ns):
        """The sample used, the kind of fault ('' if valid)."""
        skew, max_age = self.contract.max_skew_ns, self.contract.streams[name].max_age_ns
        received = [s for s in self.known[name] if s.receive_ns <= time_ns]
        honest = [s for s in received if s.stamp_ns <= s.receive_ns + skew]
        future = [s for s in received if s.stamp_ns > s.receive_ns + skew]
        best = max(honest, key=lambda s: (s.stamp_ns, -s.receive_ns), default=None)
        if best and time_ns - best.stamp_ns <= max_age:
            return best, ''
        if future and (best is None or max(s.receive_ns for s in future) > best.receive_ns):
            return best, 'future'
        return best, 'stale' if best else 'missing'

    def value(self, name, time_ns):
        best, fault = self.choose(name, time_ns)
        if fault:
            return best, fault, None
        try:
            return best, '', decode_value(self.contract, name, best.cdr)
        except DecodeError:
            return best, 'undecodable', None

    def state(self, time_ns):
        pose, opening = (self.value(name, time_ns)[2] for name in ('joints', 'gripper'))
        return None if pose is None or opening is None else state_vector(self.contract, pose, opening)

    def action_prev(self, time_ns):
        now, before_ns = self.state(time_ns), time_ns - self.contract.period_ns
        if now is None:
            return None
        if before_ns < self.start_ns:
            return np.zeros(7)
        before = self.state(before_ns)
        return None if before is None else state_change(self.contract, now, before)


def assert_same_array(ours, theirs):
    assert (ours is None) == (theirs is None)
    if ours is not None:
        np.testing.assert_array_equal(ours, theirs.astype(ours.dtype))


def assert_same(frame, twin, time_ns):
    contract = twin.contract
    for name, status in frame.streams.items():
        best, fault, value = twin.value(name, time_ns)
        assert status.stamp_ns == (best.stamp_ns if best else None)
        assert status.age_ns == (time_ns - best.stamp_ns if best else None)
        assert status.reason.split(':')[0] == fault
        assert status.valid == (fault == '')
        if contract.streams[name].role in ('camera', 'tactile'):
            assert_same_array((frame.images | frame.tactile).get(name), value)
    state, action_prev = twin.state(time_ns), twin.action_prev(time_ns)
    assert_same_array(frame.state, state)
    assert_same_array(frame.action_prev, action_prev)
    needed = [name for name, stream in contract.streams.items() if stream.required]
    usable = all(frame.streams[name].valid for name in needed) and state is not None
    assert frame.usable == (usable and action_prev is not None)


# Steps of receive time and delays in ms: mostly as drivers behave, with every fault they were seen to have.
STEPS = st.one_of(
    st.integers(0, 40), st.integers(0, 40), st.integers(-90, 0), st.sampled_from([-400, -3000, 700])
)
DELAYS = st.one_of(st.integers(0, 60), st.integers(0, 60), st.sampled_from([-20, -21, 0, 200, 4000, -5000]))
PUSHES = st.tuples(
    st.just('push'), st.sampled_from(STREAMS), STEPS, DELAYS, st.sampled_from([0, 1, 2, 3, 0, 1, 2, 3, 4])
)
QUERIES = st.tuples(st.just('frame'), st.integers(-500, 300))


@settings(max_examples=250, deadline=None)
@given(steps=st.lists(PUSHES | PUSHES | PUSHES | QUERIES, max_size=60), start_ms=st.integers(-100, 300))
@example(
    steps=[
        ('push', 'joints', 10, 0, 0),
        ('push', 'joints', 10, 0, 1),
        ('push', 'joints', -3000, 0, 2),
        ('push', 'gripper', 5, 0, 0),
        ('frame', 0),
        ('frame', 60),
        ('frame', 100),
    ],
    start_ms=0,
)
def test_equals_the_obvious_twin(small, payloads, steps, start_ms):
    """Any samples, with disorder, repeats, wrong clocks and garbage; frames asked for in between."""
    start_ns = START + start_ms * MS
    framer, twin = Framer(small, start_ns), Twin(small, start_ns)
    clock_ns, newest = START, {}
    for step in [*steps, ('frame', 0), ('frame', 40)]:
        if step[0] == 'push':
            _, name, advance_ms, delay_ms, which = step
            clock_ns += advance_ms * MS
            sample = Sample(name, clock_ns - delay_ms * MS, clock_ns, payloads[name][which])
            framer.push(sample)
            twin.push(sample)
            newest[name] = max(s.receive_ns for s in twin.known[name])
        else:
            time_ns = max([*newest.values(), START]) + step[1] * MS
            assert_same(framer.frame_at(time_ns), twin, time_ns)


# ------------------------------------------------------------------------------------------------ causality


@settings(max_examples=100, deadline=None)
@given(
    pushes=st.lists(
        st.tuples(st.sampled_from(STREAMS), st.integers(0, 30), st.integers(-60, 200), st.integers(0, 4)),
        min_size=1,
        max_size=60,
    ),
    cut_ms=st.integers(-300, 300),
    change=st.sampled_from(['drop', 'garbage', 'restamp']),
)
def test_what_arrives_later_changes_nothing(small, payloads, pushes, cut_ms, change):
    clock_ns, samples = START, []
    for name, advance_ms, delay_ms, which in pushes:
        clock_ns += advance_ms * MS
        samples.append(Sample(name, clock_ns - delay_ms * MS, clock_ns, payloads[name][which]))
    time_ns = clock_ns + cut_ms * MS
    altered = []
    for sample in samples:
        if sample.receive_ns <= time_ns:
            altered.append(sample)
        elif change == 'garbage':
            altered.append(sample._replace(cdr=b'\x00\x01nothing'))
        elif change == 'restamp':
            altered.append(sample._replace(stamp_ns=time_ns - 1))
    results = []
    for version in (samples, altered):
        framer = Framer(small, START - 10**9)
        for sample in version:
            framer.push(sample)
        results.append(framer.frame_at(time_ns))
    ours, theirs = results
    assert ours.streams == theirs.streams
    assert ours.reasons == theirs.reasons
    assert_same_array(ours.state, theirs.state)
    assert_same_array(ours.action_prev, theirs.action_prev)
    for name in STREAMS[:2]:
        assert_same_array((ours.images | ours.tactile).get(name), (theirs.images | theirs.tactile).get(name))


# ------------------------------------------------------------------------------------- promises, one by one


def steady(contract, payloads, seconds=1.0, start_ns=START):
    """Samples of all streams at their declared rates, 5 ms after capture, in order of arrival."""
    samples = []
    for name, spec in contract.streams.items():
        for i in range(int(seconds * spec.rate_hz) + 1):
            stamp_ns = start_ns + round(i * 1e9 / spec.rate_hz)
            samples.append(Sample(name, stamp_ns, stamp_ns + 5 * MS, payloads[name][i % 4]))
    return sorted(samples, key=lambda sample: sample.receive_ns)


def pushed(contract, samples, start_ns=START):
    framer = Framer(contract, start_ns)
    for sample in samples:
        framer.push(sample)
    return framer


def test_a_whole_frame(small, payloads):
    frame = pushed(small, steady(small, payloads)).frame_at(START + 900 * MS)
    assert frame.usable
    assert frame.reasons == ()
    assert frame.images['main'].shape == (224, 224, 3)
    assert frame.tactile['gelsight_left'].shape == (128, 160, 3)
    assert frame.state.dtype == frame.action_prev.dtype == np.float32
    assert frame.target is None
    assert frame.streams['joints'].age_ns == 5 * MS
    assert frame.streams['joints'].receive_ns == START + 900 * MS


def test_an_invalid_value_is_absent_and_named(small, payloads):
    samples = [s for s in steady(small, payloads) if s.stream != 'gelsight_left']
    frame = pushed(small, samples).frame_at(START + 900 * MS)
    assert frame.tactile == {}
    assert not frame.usable
    assert frame.reasons == ('gelsight_left: missing: nothing received on /gelsight/left/image_raw',)


def test_an_optional_stream_may_be_invalid(small, payloads):
    samples = [s for s in steady(small, payloads) if s.stream != 'main']
    frame = pushed(small, samples).frame_at(START + 900 * MS)
    assert frame.images == {}
    assert not frame.streams['main'].valid
    assert frame.usable


@pytest.mark.parametrize(
    ('delay_ms', 'cdr', 'reason'),
    [
        (81, 0, r'stale: age 81 ms > 80 ms'),
        (-500, 0, r'future: stamped 500 ms after its receipt \(limit 20 ms\); synchronise the clocks'),
        (0, 4, r'undecodable: /franka/joint_states: no joint fr3_joint1, .*; the message has a; set joints'),
    ],
)
def test_reasons_say_what_was_found(small, payloads, delay_ms, cdr, reason):
    now = START + 1000 * MS
    framer = pushed(small, [Sample('joints', now - delay_ms * MS, now, payloads['joints'][cdr])])
    frame = framer.frame_at(now, ['joints'])
    assert len(frame.reasons) == 1
    with pytest.raises(ValueError, match=f'joints: {reason}'):
        raise ValueError(frame.reasons[0])


def test_ages_at_the_limit_are_valid(small, payloads):
    now = START + 1000 * MS
    for name, max_age_ns in ((n, s.max_age_ns) for n, s in small.streams.items()):
        for over, valid in ((0, True), (1, False)):
            framer = pushed(small, [Sample(name, now - max_age_ns - over, now, payloads[name][0])])
            assert framer.frame_at(now).streams[name].valid == valid


def test_action_prev_is_zero_at_the_start_only(small, payloads):
    framer = pushed(small, steady(small, payloads, seconds=1.0, start_ns=START - 500 * MS))
    period = small.period_ns
    first, second = framer.frame_at(START), framer.frame_at(START + period)
    np.testing.assert_array_equal(first.action_prev, np.zeros(7))
    expected = state_change(small, second.state, first.state)
    np.testing.assert_allclose(second.action_prev, expected, atol=1e-6)  # the states are rounded to float32
    assert np.abs(second.action_prev).max() > 0


def test_without_a_gripper_the_state_holds_the_contracts_constant(edited_contract, small, payloads):
    contract = edited_contract(
        {
            'streams.gripper': None,
            'gripper': {'opening_m': [0.03, 0.03], 'absent': 'a welded tool'},
            'streams.main.required': False,
            'streams.handeye.required': False,
            'streams.side.required': False,
            'streams.gelsight_left.required': False,
        }
    )
    samples = [s for s in steady(small, payloads, seconds=1.0) if s.stream in contract.streams]
    frame = pushed(contract, samples).frame_at(samples[-1].receive_ns)
    assert frame.usable
    assert frame.state[6] == np.float32(0.03)
    assert frame.action_prev[6] == 0


def test_action_prev_is_unknown_without_an_earlier_state(small, payloads):
    samples = [s for s in steady(small, payloads) if s.stream != 'gripper' or s.stamp_ns > START + 600 * MS]
    framer = pushed(small, samples)
    time_ns = next(s.receive_ns for s in samples if s.stream == 'gripper')
    frame = framer.frame_at(time_ns)
    assert frame.state is not None
    assert frame.action_prev is None
    reason = 'action_prev: no state one period earlier: gripper missing: nothing received on '
    assert frame.reasons[0].startswith(reason)


@pytest.mark.parametrize('convention', ['rpy', 'rotvec'])
@pytest.mark.parametrize('centre', [np.pi, 0.0], ids=['branch centred on pi', 'branch cut at pi'])
def test_roll_crossing_pi_gives_a_small_action_prev(edited_contract, messages, convention, centre):
    """A downward tool rolls through pi: the change is small even where the state itself must jump."""
    rule = {'convention': convention, 'branch_centre_rad': [centre, 0.0, 0.0]}
    contract = edited_contract({'rotation': rule})
    period = contract.period_ns
    samples = []
    for time_ns, bend in ((START, -0.01), (START + period, 0.01)):
        q = Q_DOWN.copy()
        q[[0, 4]] += bend, -bend  # turns and rolls the tool
        samples.append(Sample('joints', time_ns, time_ns, messages.arm(q)))
        samples.append(Sample('gripper', time_ns, time_ns, messages.gripper(0.04)))
    framer = pushed(contract, samples)
    before, after = (framer.frame_at(time_ns, ['joints', 'gripper']) for time_ns in (START, START + period))
    assert 0.005 < np.abs(after.action_prev[3:6]).max() < 0.05
    jump = np.abs(after.state[3:6] - before.state[3:6]).max()
    assert jump > 6 if centre == 0.0 else jump < 0.05


def test_only_the_named_streams(small, payloads):
    framer = pushed(small, steady(small, payloads))
    touch = framer.frame_at(START + 900 * MS, {'gelsight_left'})
    assert list(touch.streams) == ['gelsight_left']
    assert touch.usable
    assert touch.state is None
    assert framer.counters['main'].decoded == framer.counters['joints'].decoded == 0
    with pytest.raises(ContractError, match="did you mean 'gelsight_left'"):
        framer.frame_at(START, {'gelsight'})
    with pytest.raises(ContractError, match='unknown stream'):
        framer.push(Sample('gelsight', START, START, b''))


def test_a_message_is_decoded_once_and_only_if_used(small, payloads, monkeypatch):
    decoded = []

    def counting(contract, stream, cdr):
        decoded.append((stream, id(cdr)))
        return decode_value(contract, stream, cdr)

    monkeypatch.setattr(framer_module, 'decode_value', counting)
    # Each message has its own bytes, so that its identity tells it apart.
    samples = [s._replace(cdr=bytes(bytearray(s.cdr))) for s in steady(small, payloads)]
    framer = Framer(small, START)
    series = list(frames(small, samples, START, START + 10**9, framer))
    assert len(decoded) == len(set(decoded))
    used = {(name, status.stamp_ns) for f in series for name, status in f.streams.items() if status.valid}
    assert framer.counters['main'].decoded == sum(name == 'main' for name, _ in used) == 14
    assert framer.counters['main'].received == 30  # all that came in that second


def test_bytes_are_let_go_once_decoded(small, payloads):
    framer = pushed(small, steady(small, payloads))
    selection = framer.select(START + 900 * MS)
    framer.compose(selection)
    assert [entry.cdr for entry, _ in selection.chosen.values()] == [None] * 4


def test_composing_is_independent_of_later_pushes(small, payloads):
    """What a node relies on when it decodes outside its lock."""
    samples = steady(small, payloads)
    time_ns = START + 700 * MS
    expected = pushed(small, samples).frame_at(time_ns)
    framer = Framer(small, START)
    for sample in samples:
        if sample.receive_ns <= time_ns:
            framer.push(sample)
    selection = framer.select(time_ns)
    for sample in steady(small, payloads, seconds=30, start_ns=START + 10**9):
        framer.push(sample)
    frame = framer.compose(selection)
    assert frame.streams == expected.streams
    assert_same_array(frame.state, expected.state)
    assert_same_array(frame.images['main'], expected.images['main'])


def test_target_pose_is_carried_along(messages, edited_contract):
    stream = {
        'topic': '/target_pose',
        'type': 'geometry_msgs/msg/PoseStamped',
        'role': 'target_pose',
        'rate_hz': 50,
        'max_age_ms': 100,
        'required': False,
    }
    contract = edited_contract({'streams.target': stream, 'action.source': 'target_pose'})
    cdr = messages.pose([0.4, 0.1, 0.2], [1.0, 0.0, 0.0, 0.0])
    frame = pushed(contract, [Sample('target', START, START, cdr)]).frame_at(START, ['target'])
    expected = pose_vector(contract, decode_value(contract, 'target', cdr))
    np.testing.assert_array_equal(frame.target, expected.astype(np.float32))
    np.testing.assert_allclose(frame.target, [0.4, 0.1, 0.2, np.pi, 0, 0], atol=1e-6)


# -------------------------------------------------------------------------------------- counters and memory


def test_faults_are_counted(small, payloads, messages):
    cdr = payloads['joints'][0]
    times = [(0, 0), (10, 10), (10, 11), (5, 12), (20, 20), (600, 21), (30, 30), (-5000, -4990)]
    framer = Framer(small, START)
    for stamp_ms, receive_ms in times:
        framer.push(Sample('joints', START + stamp_ms * MS, START + receive_ms * MS, cdr))
    framer.push(make_sample(small, 'gripper', messages.gripper(0.01, 0), START))
    counters = framer.counters['joints']
    found = (counters.duplicates, counters.out_of_order, counters.future, counters.clock_jumps)
    assert (counters.received, *found) == (8, 1, 1, 1, 1)
    assert framer.counters['gripper'].zero_stamps == 1


def test_undecodable_messages_are_counted_once(small, payloads):
    framer = pushed(small, [Sample('main', START, START, payloads['main'][4])])
    for offset in range(5):
        assert not framer.frame_at(START + offset * MS).streams['main'].valid
    assert framer.counters['main'].undecodable == 1


def test_samples_go_on_after_the_clock_is_set_back(small, payloads):
    framer = pushed(small, steady(small, payloads))
    earlier = START - 3600 * 10**9
    for sample in steady(small, payloads, start_ns=earlier):
        framer.push(sample)
    frame = framer.frame_at(earlier + 900 * MS)
    assert all(status.valid for status in frame.streams.values())
    assert {c.clock_jumps for c in framer.counters.values()} == {1}


def test_memory_is_bounded_by_time_and_by_count(small, payloads):
    framer = Framer(small, START)
    cdr = bytes(bytearray(payloads['main'][0]))
    before = sys.getrefcount(cdr)  # every sample that is kept refers to it
    for i in range(3000):  # 100 s at the declared 30 Hz
        framer.push(Sample('main', START + i * 33 * MS, START + i * 33 * MS, cdr))
    assert 0 < sys.getrefcount(cdr) - before <= 2 + (HISTORY_NS + small.period_ns) // (33 * MS)
    assert framer.counters['main'].evicted == 0
    for i in range(3000):  # a driver run wild: 10 kHz
        now = START + 100 * 10**9 + i * MS // 10
        framer.push(Sample('main', now, now, cdr))
    assert sys.getrefcount(cdr) - before < 100
    assert framer.counters['main'].evicted > 2500
    assert framer.frame_at(now).streams['main'].age_ns == 0


def test_a_silent_stream_keeps_its_last_sample(small, payloads):
    framer = pushed(small, steady(small, payloads))
    frame = framer.frame_at(START + 3600 * 10**9)
    assert frame.streams['main'].reason == 'stale: age 3599000 ms > 150 ms'


# ------------------------------------------------------------------------------------------ recorded streams


def test_frames_lie_on_the_grid_and_equal_frame_at(small, payloads):
    samples = steady(small, payloads, seconds=2.0)
    series = list(frames(small, iter(samples), START, START + 2 * 10**9))
    grid = Grid(START, small.fps)
    assert [frame.time_ns for frame in series] == [grid.tick_ns(i) for i in range(30)]
    for frame in series[5:]:
        until = [s for s in samples if s.receive_ns <= frame.time_ns]
        alone = pushed(small, until).frame_at(frame.time_ns)
        assert frame.streams == alone.streams
        assert_same_array(frame.state, alone.state)
        assert_same_array(frame.action_prev, alone.action_prev)
    assert all(frame.usable for frame in series[2:])


def test_frames_after_the_last_sample_are_stale(small, payloads):
    series = list(frames(small, steady(small, payloads, seconds=0.5), START, START + 10**9))
    assert len(series) == 15
    assert not series[-1].usable
    assert 'stale' in series[-1].reasons[0]


def test_no_frames_in_an_empty_span(small):
    assert list(frames(small, [], START, START)) == []


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3', 'passthrough'])
def test_colours_do_not_depend_on_the_encoding(messages, edited_contract, encoding):
    """The same scene through any driver: the same frame, for cameras and for touch."""
    rgb = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    alpha = np.full((60, 80, 1), 9, np.uint8)
    swapped = encoding.startswith('bgr') or encoding == 'passthrough'
    pixels = rgb[..., ::-1] if swapped else rgb
    pixels = np.concatenate([pixels, alpha], axis=-1) if encoding.endswith('a8') else pixels
    order = {'8UC3': 'rgb', 'passthrough': 'bgr'}.get(encoding)
    changes = {}
    for name in ('main', 'gelsight_left'):
        changes |= {f'streams.{name}.encoding': encoding, f'streams.{name}.channel_order': order}
    contract = edited_contract(changes)
    framer = Framer(contract, START)
    reference = Framer(edited_contract({'streams.gelsight_left.encoding': 'rgb8'}), START)
    for name in ('main', 'gelsight_left'):
        framer.push(Sample(name, START, START, messages.image(pixels, encoding, padding=7)))
        reference.push(Sample(name, START, START, messages.image(rgb, 'rgb8')))
    found, expected = framer.frame_at(START), reference.frame_at(START)
    np.testing.assert_array_equal(found.images['main'], expected.images['main'])
    np.testing.assert_array_equal(found.tactile['gelsight_left'], expected.tactile['gelsight_left'])
    assert expected.images['main'][100, 100].std() > 0
