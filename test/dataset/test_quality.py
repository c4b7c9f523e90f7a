"""Quality reports: every fault is found by name, with its place and size; what is whole is called good."""

import base64
import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from restac_ros.contract.load import load_contract, parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.errors import BagError
from restac_ros.dataset.lerobot_access import private_cache
from restac_ros.dataset.page_parts import PageError
from restac_ros.dataset.quality.bag_trace import bag_traces
from restac_ros.dataset.quality.quality import QualityReport, assess, judge_episode
from restac_ros.dataset.quality.quality_page import Page, write_quality
from restac_ros.framing.decode import load_types

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

START_NS = 1_760_000_000_000_000_000
SECOND = 10**9
Change = Callable[[list[BagMessage]], Iterable[BagMessage]]


@pytest.fixture
def assessed(
    tmp_path: Path, contract: Contract, write_bag: Callable[..., Path]
) -> Callable[..., QualityReport]:
    """Writes messages as a bag and assesses it."""

    def run(messages: Iterable[BagMessage], under: Contract = contract) -> QualityReport:
        return assess(write_bag(tmp_path / 'bag', messages), under)

    return run


def kinds(report: QualityReport, stream: str | None = None) -> set[str]:
    return {finding.kind for finding in report.episodes[0].findings if finding.stream in (stream, None)}


def finding(report: QualityReport, kind: str):
    return next(finding for finding in report.episodes[0].findings if finding.kind == kind)


def elapsed_s(message: BagMessage) -> float:
    return (message.log_time_ns - START_NS) / SECOND


def edited(message: BagMessage, **changes: object) -> BagMessage:
    """The message with other fields; `stamp_ns` sets the header's."""
    store = load_types()
    value = store.deserialize_cdr(message.cdr, message.type)
    stamp_ns = changes.pop('stamp_ns', None)
    if stamp_ns is not None:
        time = store.types['builtin_interfaces/msg/Time'](stamp_ns // SECOND, stamp_ns % SECOND)
        changes['header'] = dataclasses.replace(value.header, stamp=time)
    cdr = bytes(store.serialize_cdr(dataclasses.replace(value, **changes), message.type))
    return message._replace(cdr=cdr)


def stamp_of(message: BagMessage) -> int:
    stamp = load_types().deserialize_cdr(message.cdr, message.type).header.stamp
    return stamp.sec * SECOND + stamp.nanosec


def of(contract: Contract, name: str, change: Callable[[BagMessage], BagMessage | None]) -> Change:
    """Changes one stream's messages; None drops them."""
    topic = contract.streams[name].topic

    def apply(messages: list[BagMessage]) -> list[BagMessage]:
        made = [change(message) if message.topic == topic else message for message in messages]
        return [message for message in made if message is not None]

    return apply


def test_a_whole_recording_is_good(
    recording: list[BagMessage], assessed: Callable[..., QualityReport]
) -> None:
    report = assessed(recording)
    episode = report.episodes[0]
    assert report.verdict == 'good', episode.findings
    assert kinds(report) <= {'no-reference'}  # its tactile images are random
    assert {name: stream.messages for name, stream in episode.streams.items()}['joints'] == 400
    assert episode.streams['main'].rate_hz == pytest.approx(30, rel=0.01)
    assert episode.streams['main'].delay_ms.p50 == pytest.approx(10, abs=0.01)
    assert episode.streams['main'].encodings == {'rgb8 64x48': 60}
    assert episode.longest_run == episode.usable_frames


def test_zero_stamps(recording, contract, assessed) -> None:
    report = assessed(of(contract, 'gelsight_left', lambda m: edited(m, stamp_ns=0))(recording))
    assert 'zero-stamp' in kinds(report, 'gelsight_left')
    assert report.episodes[0].streams['gelsight_left'].zero_stamps == 36
    assert 'latency_ms' in finding(report, 'zero-stamp').remedy


def test_a_frozen_camera(recording, contract, assessed) -> None:
    pixels = (
        load_types()
        .deserialize_cdr(
            next(m for m in recording if m.topic == contract.streams['main'].topic).cdr,
            'sensor_msgs/msg/Image',
        )
        .data
    )

    def freeze(message: BagMessage) -> BagMessage:
        return edited(message, data=pixels) if 1.0 <= elapsed_s(message) < 1.6 else message

    report = assessed(of(contract, 'main', freeze)(recording))
    assert kinds(report, 'main') & {'frozen', 'gap', 'rate'} == {'frozen'}
    stream = report.episodes[0].streams['main']
    assert [(run.images, round(run.end_s - run.start_s, 2)) for run in stream.frozen] == [(18, 0.57)]
    assert stream.repeated_images == 17
    assert finding(report, 'frozen').start_s == pytest.approx(1.0, abs=0.05)


def test_a_freeze_shorter_than_the_age_limit_is_no_fault(recording, contract, assessed) -> None:
    topic = contract.streams['side'].topic
    first = next(message for message in recording if message.topic == topic)
    pixels = load_types().deserialize_cdr(first.cdr, first.type).data
    report = assessed(
        of(contract, 'side', lambda m: edited(m, data=pixels) if elapsed_s(m) < 0.1 else m)(recording)
    )
    assert 'frozen' not in kinds(report, 'side')
    assert report.episodes[0].streams['side'].repeated_images == 2


@pytest.mark.parametrize('name', ['side', 'joints', 'gelsight_left', 'gripper'])
def test_a_gap(name: str, recording, contract, assessed) -> None:
    report = assessed(of(contract, name, lambda m: None if 0.8 <= elapsed_s(m) < 1.3 else m)(recording))
    assert {'gap', 'invalid-frames'} <= kinds(report, name)
    (gap,) = report.episodes[0].streams[name].gaps
    assert 0.5 <= gap.end_s - gap.start_s <= 0.5 + 2 / contract.streams[name].rate_hz
    assert gap.missing == pytest.approx(0.5 * contract.streams[name].rate_hz, abs=2)
    assert report.verdict == 'bad'  # half of it lies beyond the gap
    assert all('gap' not in kinds(report, other) for other in contract.streams if other != name)


def test_single_dropped_images(recording, contract, assessed) -> None:
    count = iter(range(10_000))
    report = assessed(of(contract, 'main', lambda m: None if next(count) % 10 == 5 else m)(recording))
    assert 'dropped' in kinds(report, 'main')
    assert report.episodes[0].streams['main'].lost == 6
    assert report.episodes[0].streams['main'].gaps == []


def test_another_encoding(recording, contract, assessed) -> None:
    report = assessed(of(contract, 'handeye', lambda m: edited(m, encoding='bgr8'))(recording))
    assert 'encoding' in kinds(report, 'handeye')
    assert "'bgr8'" in finding(report, 'encoding').text
    assert 'no-episode' in kinds(report)
    assert report.verdict == 'bad'


def test_joints_of_another_name(recording, contract, assessed) -> None:
    names = [f'panda_joint{i}' for i in range(1, 8)]
    report = assessed(of(contract, 'joints', lambda m: edited(m, name=names))(recording))
    assert 'missing-stream' in kinds(report, 'joints')
    found = finding(report, 'missing-stream')
    assert 'none of this stream' in found.text
    assert 'panda_joint1' in found.text
    assert found.remedy == 'Correct topic, type or joints in the contract.'


def test_one_damaged_jpeg_condemns_no_other(recording, contract_values, assessed) -> None:
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['streams']['main'] |= {'type': 'sensor_msgs/msg/CompressedImage', 'encoding': 'jpeg'}
    contract = parse_contract(yaml.safe_dump(values))
    store, count = load_types(), iter(range(1000))

    def compress(message: BagMessage) -> BagMessage:
        index, image = next(count), store.deserialize_cdr(message.cdr, message.type)
        buffer = io.BytesIO()
        Image.fromarray(np.roll(image.data.reshape(48, 64, 3), index, axis=1)).save(buffer, 'JPEG')
        content = np.frombuffer(buffer.getvalue(), np.uint8)[: 100 if index == 0 else None]
        kind = 'sensor_msgs/msg/CompressedImage'
        made = store.types[kind](header=image.header, format='jpeg', data=content)
        return BagMessage(message.topic, kind, bytes(store.serialize_cdr(made, kind)), message.log_time_ns)

    report = assessed(of(contract, 'main', compress)(recording), contract)
    stream = report.episodes[0].streams['main']
    assert stream.encodings == {'jpeg': 60}
    assert stream.undecodable == 0
    assert report.episodes[0].usable_frames >= 18


def test_an_encoding_that_changes_while_recording(recording, contract_values, assessed) -> None:
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    del values['streams']['main']['encoding']
    contract = parse_contract(yaml.safe_dump(values))
    change = of(contract, 'main', lambda m: edited(m, encoding='bgr8') if elapsed_s(m) > 1 else m)
    report = assessed(change(recording), contract)
    assert 'encoding' in kinds(report, 'main')
    assert set(report.episodes[0].streams['main'].encodings) == {'rgb8 64x48', 'bgr8 64x48'}


@pytest.mark.parametrize('jump_s', [0.7, 5.0, 31_536_000.0])
def test_a_jump_of_the_clock(jump_s: float, recording, assessed) -> None:
    jump_ns = round(jump_s * SECOND)
    moved = [
        edited(m, stamp_ns=stamp_ns + jump_ns)._replace(log_time_ns=m.log_time_ns + jump_ns)
        if (stamp_ns := stamp_of(m)) >= START_NS + SECOND
        else m
        for m in recording
    ]
    report = assessed(moved)
    assert 'clock-jump' in kinds(report)
    assert 'gap' not in kinds(report, 'main')
    assert report.verdict == 'bad'
    found = finding(report, 'clock-jump')
    assert found.end_s - found.start_s == pytest.approx(jump_s, abs=0.15)


def test_a_jump_of_one_driver(recording, contract, assessed) -> None:
    def late(message: BagMessage) -> BagMessage:
        return (
            edited(message, stamp_ns=stamp_of(message) - 120_000_000) if elapsed_s(message) > 1 else message
        )

    report = assessed(of(contract, 'main', late)(recording))
    assert 'stamp-step' in kinds(report, 'main')
    assert 'clock-jump' not in kinds(report)
    assert '-120 ms' in finding(report, 'stamp-step').text
    assert finding(report, 'stamp-step').start_s == pytest.approx(1.0, abs=0.05)


def test_joints_delayed_for_a_moment_by_a_busy_machine_are_no_jump(recording, contract, assessed) -> None:
    """All of 0.1 s arrive together at its end."""

    def delayed(message: BagMessage) -> BagMessage:
        late = 1.0 < elapsed_s(message) < 1.1
        return message._replace(log_time_ns=START_NS + 11 * SECOND // 10) if late else message

    assert 'stamp-step' not in kinds(assessed(of(contract, 'joints', delayed)(recording)), 'joints')


def test_what_is_recorded_after_all_streams_have_ended_is_one_note(journal_of, recording) -> None:
    rest = [message for message in recording if elapsed_s(message) < 1.5]
    report = assess(journal_of(rest, end_ns=START_NS + 2 * SECOND))
    assert 'gap' not in {found.kind for found in report.episodes[0].findings}
    assert finding(report, 'silent-end').end_s == pytest.approx(1.93, abs=0.07)
    assert finding(report, 'silent-end').severity == 'note'


def test_a_truncated_file(tmp_path: Path, recording, contract, write_bag) -> None:
    path = write_bag(tmp_path / 'bag', recording)
    (path / 'metadata.yaml').unlink()
    (file,) = path.glob('*.mcap')
    with file.open('r+b') as handle:
        handle.truncate(file.stat().st_size * 6 // 10)
    report = assess(path, contract)
    assert 'truncated' in kinds(report)
    assert 0.5 < report.episodes[0].duration_s < 1.8


def test_stamps_from_the_future(recording, contract, assessed) -> None:
    change = of(contract, 'main', lambda m: edited(m, stamp_ns=stamp_of(m) + SECOND))
    assert 'future-stamp' in kinds(assessed(change(recording)), 'main')


def test_a_missing_stream(recording, contract, assessed) -> None:
    report = assessed(of(contract, 'gripper', lambda m: None)(recording))
    assert {'missing-stream', 'no-episode', 'static'} <= kinds(report, 'gripper')
    assert report.verdict == 'bad'


def test_thirty_hertz_joint_states(recording, contract, assessed) -> None:
    count = iter(range(100_000))
    report = assessed(of(contract, 'joints', lambda m: m if next(count) % 7 == 0 else None)(recording))
    assert 'rate' in kinds(report, 'joints')
    assert '/franka/joint_states' in finding(report, 'rate').remedy


def test_an_arm_at_rest(recording, contract, assessed) -> None:
    def rest(message: BagMessage) -> BagMessage:
        return edited(message, position=np.array([0.0, -0.6, 0.0, -2.2, 0.0, 1.6, 0.8]))

    def closed(message: BagMessage) -> BagMessage:
        return edited(message, position=np.array([0.01, 0.01]))

    still = of(contract, 'gripper', closed)(of(contract, 'joints', rest)(recording))
    assert 'static' in kinds(assessed(still))


def test_static_ends_are_measured(tmp_path: Path, recording, contract, write_bag) -> None:
    [trace] = bag_traces(write_bag(tmp_path / 'bag', recording), contract)
    state = trace.state.copy()
    state[:6], state[-4:] = state[6], state[-4]
    episode = judge_episode(dataclasses.replace(trace, state=state))
    assert episode.static_head_s == pytest.approx(0.7)  # ticks 0 to 6 are alike, 7 is not
    assert episode.static_tail_s == pytest.approx(0.4)


def test_a_whole_turn_and_the_branch_that_mends_it(tmp_path: Path, recording, contract, write_bag) -> None:
    [trace] = bag_traces(write_bag(tmp_path / 'bag', recording), contract)
    state = trace.state.copy()
    angle = np.linspace(2.9, 3.5, len(state))
    state[:, 5] = np.where(angle > np.pi, angle - 2 * np.pi, angle)
    episode = judge_episode(dataclasses.replace(trace, state=state))
    wrapped = next(finding for finding in episode.findings if finding.kind == 'wrapped-angle')
    centre = float(re.search(r'to (-?[\d.]+)', wrapped.remedy)[1])
    assert np.cos(centre - 3.2) > 0.999
    assert episode.static_head_s < 1  # a turn is no motion, but 0.6 rad is


def test_a_bag_without_contract_is_refused(tmp_path: Path, recording, write_bag) -> None:
    with pytest.raises(BagError, match='no contract'):
        assess(write_bag(tmp_path / 'bag', recording))


def test_a_journal_brings_its_contract_and_times(journal_of, recording) -> None:
    report = assess(journal_of(recording))
    assert report.episodes[0].task == 'press the button'
    assert report.episodes[0].start_ns == START_NS
    assert report.verdict == 'good'


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory, contract: Contract, write_bag, recording) -> Path:
    """Two episodes, beside the bag that both are made of."""
    root = tmp_path_factory.mktemp('dataset')
    bag = write_bag(root / 'take', recording)
    with private_cache():
        convert_episode(bag, contract, root / 'demos', 'press the button', start_ns=START_NS)
        convert_episode(bag, contract, root / 'demos', 'again', start_ns=START_NS + SECOND // 2)
    return root / 'demos'


def test_a_data_set_tells_the_same(dataset: Path, contract: Contract) -> None:
    report = assess(dataset)
    assert (report.kind, report.verdict, report.verdicts) == ('data set', 'good', {'good': 2})
    live = assess(dataset.with_name('take'), contract).episodes[0]
    stored = report.episodes[0]
    assert stored.task == 'press the button'
    assert stored.usable_frames == stored.frames
    assert {n: s.rate_hz for n, s in stored.streams.items()} == {
        n: s.rate_hz for n, s in live.streams.items()
    }
    assert 10 <= stored.streams['main'].age_ms.p50 <= stored.streams['main'].age_ms.max <= 10 + 34


def test_the_report_lies_with_what_it_describes(dataset: Path) -> None:
    written = write_quality(dataset)
    assert written.json_file == dataset / 'meta' / 'restac_ros' / 'quality.json'
    assert json.loads(written.json_file.read_text())['verdict'] == 'good'
    page = written.page_file.read_text()
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(code))) for code in re.findall(r'base64,([^"]+)', page)
    ]
    assert len(pictures) == 6  # a timeline, a film strip and what was felt, of each
    assert all(picture.width > 500 for picture in pictures)
    assert 'http' not in page


def test_a_report_that_cannot_be_written_is_said(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / 'taken').write_text('a file')
    with pytest.raises(PageError, match=r'taken: the report cannot be written: .*\(--to\)'):
        write_quality(dataset, to=tmp_path / 'taken')


def test_a_false_label_is_a_finding(tmp_path: Path, journal_of, recording, contract) -> None:
    count = iter(range(1000))
    slow = of(contract, 'main', lambda m: m if next(count) % 4 == 0 else None)(recording)  # 7.5 Hz under 10
    convert_episode(journal_of(slow), None, tmp_path / 'slow', allow_false_rate=True)
    report = assess(tmp_path / 'slow')
    assert 'false-rate' in kinds(report, 'main')
    [text] = [f.text for f in report.episodes[0].findings if f.kind == 'false-rate' and 'main' in f.text]
    assert re.search(r'7\.\d+ Hz', text)


def test_a_page_escapes_what_it_quotes(recording, tmp_path: Path, contract, write_bag) -> None:
    [trace] = bag_traces(write_bag(tmp_path / 'bag', recording), contract)
    trace = dataclasses.replace(trace, task='<b>&')
    page = Page()
    episode = judge_episode(trace)
    page.add(episode, trace)
    text = page.html(QualityReport('<i>', 'recording', 'good', {}, [], [episode]))
    assert '<b>&' not in text
    assert '&lt;b&gt;&amp;' in text


REAL_FAULTS = {
    'zero-stamp': ('gelsight_left', ['--gelsight-zero-stamp']),
    'frozen': ('main', ['--freeze', 'main', '1']),
    'gap': ('side', ['--drop', 'side', '1', '1.6']),
    'encoding': ('handeye', ['--encoding', 'handeye', 'mono8']),
    'clock-jump': (None, ['--clock-jump', '1', '2']),
    'clock-jump back': (None, ['--clock-jump', '1', '-0.5']),
    'truncated': (None, ['--truncate', '0.6']),
}


@pytest.fixture(scope='module')
def shipped(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


@pytest.fixture(scope='module')
def whole(make_real_bag: Callable[..., Path], shipped: Contract) -> QualityReport:
    """Real streams without a fault."""
    return assess(make_real_bag('--seconds', '5'), shipped)


@pytest.mark.parametrize('fault', REAL_FAULTS)
def test_every_fault_of_real_streams_by_name(fault: str, make_real_bag, shipped, whole) -> None:
    stream, arguments = REAL_FAULTS[fault]
    kind = fault.split()[0]
    assert kind in kinds(assess(make_real_bag('--seconds', '2', *arguments), shipped), stream)
    assert kind not in kinds(whole, stream)


def test_contacts_of_real_touch(whole: QualityReport) -> None:
    """The tool's schedule: free for 1.5 s, pressed for 1.5 s, and so on; delivered up to 70 ms late."""
    contacts = whole.episodes[0].contacts
    assert [round(contact.start_s, 1) for contact in contacts] == pytest.approx([1.55, 4.6], abs=0.12)
    assert contacts[0].end_s == pytest.approx(3.0, abs=0.15)
    assert all(contact.peak > 30 for contact in contacts)


def test_real_touch_that_begins_pressed_is_a_finding(make_real_bag, shipped: Contract) -> None:
    """A steady press of the same sensor as the reference, and its free gel as what then changed most."""
    [trace] = bag_traces(make_real_bag('--seconds', '5'), shipped)
    touch = trace.touch['gelsight_left']
    begun_pressed = touch._replace(
        reference=touch.strongest.image, strongest=touch.strongest._replace(image=touch.reference)
    )
    for seen, expected in ((touch, False), (begun_pressed, True)):
        episode = judge_episode(dataclasses.replace(trace, touch={'gelsight_left': seen}))
        found = [finding for finding in episode.findings if finding.kind == 'begun-in-contact']
        assert [(finding.severity, finding.stream) for finding in found] == [
            ('warning', 'gelsight_left')
        ] * expected
