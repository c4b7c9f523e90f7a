"""Which frames become an episode: gaps, ends, rates and clocks, found without decoding."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.plan import GapError, check_rates, plan_episode, rate_notes
from restac_ros.dataset.survey import Survey, recorded_samples, survey
from restac_ros.framing.framer import frames

START_NS = 1_760_000_000_000_000_000
END_NS = START_NS + 2 * 10**9
SIDE = '/cameras/side/color/image_raw'


@pytest.fixture
def survey_of(tmp_path: Path, contract: Contract, write_bag: Callable[..., Path]) -> Callable[..., Survey]:
    def of(messages: list[BagMessage], given: Contract = contract, end_ns: int = END_NS) -> Survey:
        path = tmp_path / f'bag_{len(list(tmp_path.iterdir()))}'
        return survey(open_bag(write_bag(path, messages)), given, START_NS, end_ns)

    return of


def without(messages: list[BagMessage], topic: str, start_s: float, stop_s: float) -> list[BagMessage]:
    return [
        m for m in messages if m.topic != topic or not start_s <= (m.log_time_ns - START_NS) / 1e9 < stop_s
    ]


def test_the_survey_judges_as_the_framer_does(
    tmp_path: Path, contract: Contract, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> None:
    """Its reasons are those of the frames themselves, which are decoded."""
    bag = open_bag(write_bag(tmp_path / 'bag', without(recording, SIDE, 0.5, 1.0)))
    surveyed = survey(bag, contract, START_NS, END_NS)
    made = list(frames(contract, recorded_samples(bag, contract, START_NS, END_NS), START_NS, END_NS))
    assert len(made) == len(surveyed.reasons) == 20
    assert [bool(frame.reasons) for frame in made] == [bool(reasons) for reasons in surveyed.reasons]
    assert [dict(frame.streams) for frame in made] == [dict(statuses) for statuses in surveyed.statuses]
    assert any(surveyed.reasons[8])
    assert not surveyed.reasons[15]


def test_ends_are_trimmed(survey_of: Callable[..., Survey], recording: list[BagMessage]) -> None:
    late = without(without(recording, SIDE, 0, 0.55), '/gelsight/left/image_raw', 1.5, 9)
    plan = plan_episode(survey_of(late), [], keep_longest=False)
    # The side camera is there from 0.6 s on; the last tactile image of 1.45 s is valid for 0.25 s.
    assert (plan.first, plan.length, plan.trimmed_head, plan.trimmed_tail) == (6, 11, 6, 3)
    assert plan.gaps == []


def test_a_gap_is_refused_or_makes_the_longest_run(
    survey_of: Callable[..., Survey], recording: list[BagMessage]
) -> None:
    surveyed = survey_of(without(recording, SIDE, 0.5, 1.0))
    with pytest.raises(ConversionError, match=r'1 gap inside.*side: stale.*longest_run') as caught:
        plan_episode(surveyed, [], keep_longest=False)
    assert 'time labels false' in str(caught.value)
    plan = plan_episode(surveyed, [], keep_longest=True)
    assert (plan.first, plan.length) == (11, 9)
    assert plan.trimmed_head + plan.length + plan.trimmed_tail == 20
    [gap] = plan.gaps
    assert (gap.first, gap.length) == (7, 4)
    assert gap.reason.startswith('side: stale')


def faulty(surveyed: Survey, reasons: dict[int, str]) -> Survey:
    """The survey with frames of these numbers unusable."""
    changed = [(reasons[tick],) if tick in reasons else why for tick, why in enumerate(surveyed.reasons)]
    return replace(surveyed, reasons=changed)


def test_only_short_gaps_in_images_are_bridged(
    survey_of: Callable[..., Survey], recording: list[BagMessage]
) -> None:
    torn = dict.fromkeys((4, 5, 9, 10, 11), 'main: undecodable: x')
    surveyed = faulty(survey_of(recording), torn)
    bridge = {'keep_longest': False, 'images': {'main', 'side'}}
    plan = plan_episode(surveyed, [], **bridge, bridge=3)
    assert (plan.first, plan.length, plan.gaps) == (2, 18, [])
    assert [(gap.first, gap.length) for gap in plan.bridged] == [(4, 2), (9, 3)]
    with pytest.raises(GapError, match=r'1 gap inside the episode: at 0\.90 s 3 frames'):
        plan_episode(surveyed, [], **bridge, bridge=2)
    kept = plan_episode(surveyed, [], keep_longest=True, images={'main'}, bridge=2)
    assert (kept.first, kept.length, kept.bridged) == (12, 8, [])
    for reason in ('joints: stale', 'action_prev: no state one period earlier', 'side: stale'):
        with pytest.raises(GapError):
            plan_episode(faulty(surveyed, {4: reason}), [], keep_longest=False, images={'main'}, bridge=9)


def test_nothing_usable_says_why(survey_of: Callable[..., Survey], recording: list[BagMessage]) -> None:
    surveyed = survey_of(without(recording, SIDE, 0.1, 9))
    with pytest.raises(ConversionError, match='only 1 of 20 frames'):
        plan_episode(surveyed, [], keep_longest=False)
    stale = [m if m.topic != SIDE else m._replace(log_time_ns=m.log_time_ns + 10**9) for m in recording]
    surveyed = survey_of(sorted(stale, key=lambda m: m.log_time_ns))
    with pytest.raises(ConversionError, match=r'none of 20 frames is usable: .*side: (missing|stale)'):
        plan_episode(surveyed, [], keep_longest=False)


def test_missing_and_mistyped_topics_are_named(
    survey_of: Callable[..., Survey], recording: list[BagMessage], contract_values: dict
) -> None:
    with pytest.raises(ConversionError, match=f'no message on {SIDE}, required for stream side; .*known: /'):
        survey_of(without(recording, SIDE, 0, 9))
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['streams']['side'] |= {'type': 'sensor_msgs/msg/CompressedImage', 'encoding': 'jpeg'}
    with pytest.raises(ConversionError, match='is sensor_msgs/msg/Image, but stream side'):
        survey_of(recording, parse_contract(yaml.safe_dump(values)))


def restamped(messages: list[BagMessage], topic: str, factor: float) -> list[BagMessage]:
    """Stamps that run `factor` times as fast as the time of receipt, on one topic."""
    changed = []
    for message in messages:
        if message.topic == topic:
            seconds, nanoseconds = np.frombuffer(message.cdr[4:12], '<u4')
            stamp = int(seconds) * 10**9 + int(nanoseconds)
            stamp = START_NS + round((stamp - START_NS) * factor)
            head = np.array([stamp // 10**9, stamp % 10**9], '<u4').tobytes()
            message = message._replace(cdr=message.cdr[:4] + head + message.cdr[12:])
        changed.append(message)
    return changed


def test_false_labels_are_found(
    survey_of: Callable[..., Survey], recording: list[BagMessage], contract: Contract, contract_values: dict
) -> None:
    surveyed = survey_of(recording)
    assert check_rates(surveyed, contract, plan_episode(surveyed, [], keep_longest=False)) == []
    assert rate_notes(surveyed) == []
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['streams']['side']['max_age_ms'] = 600
    patient = parse_contract(yaml.safe_dump(values))
    slow = survey_of(restamped(recording, SIDE, 0.45), patient)
    [fault] = check_rates(slow, patient, plan_episode(slow, [], keep_longest=False))
    assert fault.startswith('side: captured at 22.')
    rare = [m for i, m in enumerate(recording) if m.topic != SIDE or i % 17 == 0]
    few = survey_of(rare, patient)
    faults = check_rates(few, patient, plan_episode(few, [], keep_longest=True))
    assert 'Hz received, labelled 10: images would repeat' in faults[-1]
    assert rate_notes(few)[0].startswith('side: ')


def delayed(messages: list[BagMessage], topic: str, start_s: float, stop_s: float, by_s: float) -> list:
    """What is sent on a topic between two times comes later; what follows, no earlier than that."""
    changed, newest_ns = [], 0
    for message in messages:
        if message.topic == topic:
            late = start_s <= (message.log_time_ns - START_NS) / 1e9 < stop_s
            newest_ns = max(newest_ns + 1, message.log_time_ns + round(by_s * 1e9) * late)
            message = message._replace(log_time_ns=newest_ns)
        changed.append(message)
    return sorted(changed, key=lambda message: message.log_time_ns)


def with_patience(contract_values: dict, max_age_ms: float) -> Contract:
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['streams']['side']['max_age_ms'] = max_age_ms
    return parse_contract(yaml.safe_dump(values))


def light_recording(contract: Contract, make: Callable[..., list], seconds: float) -> list[BagMessage]:
    """With pictures cut off behind their headers, which is all that a survey reads."""
    return [message._replace(cdr=message.cdr[:200]) for message in make(contract, seconds)]


@pytest.mark.parametrize(('factor', 'false'), [(0.94, True), (0.97, False), (1.0, False)])
def test_a_clock_six_percent_off_over_twenty_seconds_is_a_false_label(
    survey_of: Callable[..., Survey],
    contract_values: dict,
    make_recording: Callable[..., list],
    factor: float,
    false: bool,
) -> None:
    patient = with_patience(contract_values, 3000)
    messages = restamped(light_recording(patient, make_recording, 20), SIDE, factor)
    surveyed = survey_of(messages, patient, START_NS + 20 * 10**9)
    faults = check_rates(surveyed, patient, plan_episode(surveyed, [], keep_longest=False))
    assert [fault.split(' frames')[0] for fault in faults] == (['side: captured at 10.64'] if false else [])


@pytest.mark.parametrize('seconds', [2.0, 3.0])
@pytest.mark.parametrize('periods', [1, 2, 5])
@pytest.mark.parametrize('ends', ['first', 'last', 'first and last'])
def test_late_samples_at_the_ends_of_a_short_episode_make_no_label_false(
    survey_of: Callable[..., Survey],
    contract_values: dict,
    make_recording: Callable[..., list],
    seconds: float,
    periods: int,
    ends: str,
) -> None:
    """What a recorder on a busy machine sees: the stamps are right, some samples come late."""
    contract = with_patience(contract_values, 250)
    late = light_recording(contract, make_recording, seconds)
    if 'first' in ends:
        late = delayed(late, SIDE, 0, 0.2, periods / 30)
    if 'last' in ends:
        late = delayed(late, SIDE, seconds - 0.2, seconds, periods / 30)
    surveyed = survey_of(late, contract, START_NS + round(seconds * 1e9))
    plan = plan_episode(surveyed, [], keep_longest=False)
    assert plan.length >= 10 * seconds - 3
    assert check_rates(surveyed, contract, plan) == []


def test_a_stream_as_slow_as_the_frames_may_lack_two_messages_not_a_tenth(
    survey_of: Callable[..., Survey], contract_values: dict, make_recording: Callable[..., list]
) -> None:
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['streams']['side'] |= {'rate_hz': 10, 'max_age_ms': 450}
    contract = parse_contract(yaml.safe_dump(values))

    def faults(seconds: float, lost: set[int]) -> list[str]:
        messages, number = [], 0
        for message in light_recording(contract, make_recording, seconds):
            number += message.topic == SIDE
            if message.topic != SIDE or number not in lost:
                messages.append(message)
        surveyed = survey_of(messages, contract, START_NS + round(seconds * 1e9))
        return check_rates(surveyed, contract, plan_episode(surveyed, [], keep_longest=False))

    assert faults(2, {7, 14}) == []
    [fault] = faults(6, set(range(5, 60, 10)))
    assert fault.startswith('side: 8.98')
    assert fault.endswith('Hz received, labelled 10: images would repeat')


def test_an_optional_image_that_is_left_out_is_not_judged(
    survey_of: Callable[..., Survey], contract_values: dict, recording: list[BagMessage]
) -> None:
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    values['streams']['side']['required'] = False
    contract = parse_contract(yaml.safe_dump(values))
    surveyed = survey_of(without(recording, SIDE, 0.3, 1.6), contract)
    plan = plan_episode(surveyed, [], keep_longest=False)
    assert check_rates(surveyed, contract, plan) == []


def test_a_clock_set_forward_by_years_is_refused_not_walked_through(
    tmp_path: Path, contract: Contract, recording: list[BagMessage], write_bag: Callable[..., Path]
) -> None:
    half, years_ns = len(recording) // 2, 10**17
    jumped = recording[:half] + [m._replace(log_time_ns=m.log_time_ns + years_ns) for m in recording[half:]]
    bag = open_bag(write_bag(tmp_path / 'bag', jumped, 'mcap'))
    with pytest.raises(ConversionError, match=r'over 27777\.\d h, an episode at most 6 h: was the clock set'):
        survey(bag, contract, START_NS, bag.bounds_ns[1] + 1)


def test_a_clock_set_back_is_refused(
    tmp_path: Path, contract: Contract, recording: list[BagMessage], write_bag: Callable[..., Path]
) -> None:
    half = len(recording) // 2
    jumped = recording[:half] + [m._replace(log_time_ns=m.log_time_ns - 5 * 10**8) for m in recording[half:]]
    bag = open_bag(write_bag(tmp_path / 'bag', jumped, 'sqlite3'))
    with pytest.raises(ConversionError, match=r'jump back by 0\.\d+ s: the clock was set'):
        survey(bag, contract, START_NS, END_NS)
