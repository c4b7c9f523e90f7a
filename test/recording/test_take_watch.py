"""What a conversion would refuse is said while the take is under way, and by the same rule."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.framing.sample import Sample
from restac_ros.recording.recorder import Recorder, RecorderSettings
from restac_ros.recording.recording import RecordingClocks
from restac_ros.recording.saving import Announcer
from restac_ros.recording.take_watch import TakeWatch

START_NS = 1_760_000_000 * 10**9
MS = 10**6


@pytest.fixture(scope='module')
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


def samples(contract: Contract, seconds: float, silent: Callable[[str, float], bool]) -> list[Sample]:
    """All streams at their rates, in the order of receipt, 5 ms after capture; some silent at some times."""
    made = []
    for name, spec in contract.streams.items():
        for index in range(round(seconds * spec.rate_hz)):
            time_s = index / spec.rate_hz
            if not silent(name, time_s):
                stamp_ns = START_NS + round(time_s * 1e9)
                made.append(Sample(name, stamp_ns, stamp_ns + 5 * MS, bytes(16)))
    return sorted(made, key=lambda sample: sample.receive_ns)


def watched(contract: Contract, given: Iterable[Sample], **options: object) -> TakeWatch:
    watch = TakeWatch(contract, START_NS, **options)
    for sample in given:
        watch.add(sample)
    return watch


def test_a_whole_take_loses_no_frame(contract: Contract) -> None:
    watch = watched(contract, samples(contract, 2, lambda *_: False))
    assert (watch.lost, watch.first) == (0, None)


def test_a_hole_in_a_stream_loses_frames_from_when_its_last_image_is_too_old(contract: Contract) -> None:
    watch = watched(contract, samples(contract, 3, lambda name, at: name == 'main' and 1.0 <= at < 1.5))
    max_age_s = contract.streams['main'].max_age_ms * 1e-3
    assert watch.first is not None
    assert 0.9 + max_age_s < watch.first.time_s < 1.1 + max_age_s
    assert watch.first.reason.startswith('main: stale')
    assert watch.lost == pytest.approx((0.5 - max_age_s) * contract.fps, abs=2)


def test_frames_before_the_first_usable_one_are_cut_off_and_not_lost(contract: Contract) -> None:
    assert watched(contract, samples(contract, 2, lambda name, at: name == 'side' and at < 0.8)).lost == 0


def test_an_optional_stream_counts_where_the_data_set_has_it(contract: Contract) -> None:
    streams = {**contract.streams, 'side': contract.streams['side'].model_copy(update={'required': False})}
    optional = contract.model_copy(update={'streams': streams})
    given = samples(contract, 3, lambda name, at: name == 'side' and 1.0 <= at < 1.6)
    assert watched(optional, given).lost == 0
    assert watched(optional, given, needed=['side']).lost > 0


def test_a_stretch_after_a_pause_is_judged_by_itself(contract: Contract) -> None:
    watch = watched(contract, samples(contract, 1, lambda *_: False))
    watch.begin(START_NS + 60 * 10**9)
    for sample in samples(contract, 1, lambda *_: False):
        shift_ns = 60 * 10**9
        watch.add(
            sample._replace(stamp_ns=sample.stamp_ns + shift_ns, receive_ns=sample.receive_ns + shift_ns)
        )
    assert watch.lost == 0


@pytest.mark.parametrize(
    ('on_gap', 'words'),
    [
        ('refuse', 'Saving will refuse this take.*--on-gap longest_run'),
        ('longest_run', 'Only the longest run'),
    ],
)
def test_a_lost_frame_is_said_once_and_at_once_with_what_to_do(
    contract: Contract, tmp_path: Path, on_gap: str, words: str
) -> None:
    now = [START_NS]
    clocks = RecordingClocks(*[lambda: now[0]] * 3)
    said: list[str] = []
    settings = RecorderSettings(tmp_path / 'j', tmp_path / 'demos', 10**8, 0, on_gap=on_gap)
    recorder = Recorder(contract, settings, clocks, Announcer(said.append, said.append, said.append))
    recorder.start('push')
    for sample in samples(contract, 4, lambda name, at: name == 'main' and 1.0 <= at < 1.5):
        recorder.offer(sample)
    now[0] += 5 * 10**9
    while not recorder.report().lost_frames:
        recorder.poll()
    while recorder.report().written['joints'] < 3900:
        recorder.poll()
    recorder.poll()
    [line] = said
    assert re.search(rf'lost.* at 1\.\d\d s \(main: stale: .*\)\. {words}', line)
    assert 'lost, the first at 1.' in recorder.save()
    recorder.give_up('the test is over')
