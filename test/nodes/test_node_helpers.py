"""What the nodes are made of and needs no ROS: counting, timing, complaining, running steps in threads."""

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from restac_ros.framing.sample import Sample
from restac_ros.nodes import transport
from restac_ros.nodes.running import call_niced
from restac_ros.runtime.complaints import SETTLE_NS, Complaint, Complaints
from restac_ros.runtime.latency import Latencies, LatencyTracker
from restac_ros.runtime.simulated_arrival import SimulatedArrival
from restac_ros.runtime.summary_file import latency_summary, write_summary
from restac_ros.runtime.tally import RateMeter, StreamTally
from restac_ros.runtime.worker import Worker


class Told:
    """Complaints with a clock of our own."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.good_news: list[str] = []
        self.now_ns = 0
        self.complaints = Complaints(self.warnings.append, self.good_news.append, lambda: self.now_ns)


@pytest.mark.parametrize(
    ('numbers', 'received', 'lost', 'restarts'),
    [
        ([1, 2, 3], 3, 0, 0),
        ([5, 6, 9], 3, 2, 0),  # joined late: what came before is not lost
        ([1, 2, 1, 2], 4, 0, 1),  # the publisher was restarted
        ([1, 4, 1, 3], 4, 3, 1),
    ],
)
def test_gaps_in_the_numbers_are_losses(numbers: list[int], received: int, lost: int, restarts: int) -> None:
    tally = StreamTally()
    for number in numbers:
        tally.count(number, 10)
    assert (tally.received, tally.lost, tally.restarts) == (received, lost, restarts)
    assert tally.bytes == 10 * received
    assert tally.summary()['lost'] == lost


def test_without_numbers_losses_are_unknown_not_zero() -> None:
    tally = StreamTally()
    tally.count(None, 1)
    assert not tally.numbered
    assert tally.summary()['numbered'] is False
    assert tally.summary()['lost'] is None


def test_rate_is_measured_between_two_looks() -> None:
    meter = RateMeter()
    assert meter.rate_hz(0, 0) is None
    assert meter.rate_hz(30, 10**9) == pytest.approx(30)
    assert meter.rate_hz(30, 2 * 10**9) == 0


def test_percentiles_are_numpys_over_the_window() -> None:
    tracker, durations = LatencyTracker(window=100), np.random.default_rng(0).integers(1, 10**8, 250)
    assert tracker.percentiles() is None
    for duration in durations.tolist():
        tracker.add(duration)
    got = tracker.percentiles()
    assert got.count == 250
    assert got.p50_ms == pytest.approx(np.percentile(durations[-100:], 50) / 1e6)
    assert got.p99_ms == pytest.approx(np.percentile(durations[-100:], 99) / 1e6)
    assert got.max_ms == pytest.approx(durations.max() / 1e6)
    assert tracker.recent_max_ns == durations[-32:].max()


def test_a_mistyped_stage_raises_and_an_unused_one_is_left_out(tmp_path) -> None:
    latencies = Latencies(time.perf_counter_ns, 'act', 'prefix')
    latencies.add('act', 2_000_000)
    with pytest.raises(KeyError):
        latencies.add('acts', 1)
    write_summary(tmp_path / 'new' / 'summary.json', {'latency_ms': latency_summary(latencies)})
    text = (tmp_path / 'new' / 'summary.json').read_text()
    assert '"p99_ms": 2.0' in text
    assert 'prefix' not in text


def test_the_same_fault_is_told_once_and_its_end_once() -> None:
    told = Told()
    for age in (160, 170, 180):
        told.complaints.set('main', 'stale', f'main: {age} ms old')
    assert told.warnings == ['main: 160 ms old']
    assert told.complaints.texts == ['main: 180 ms old']
    told.complaints.clear('main')
    assert told.complaints.texts == []
    told.now_ns += SETTLE_NS
    told.complaints.clear('main')
    told.complaints.clear('main')
    assert told.good_news == ['main: right again']


def test_a_flickering_fault_is_one_message() -> None:
    told = Told()
    for _ in range(5):
        told.complaints.set('main', 'stale', 'late')
        told.now_ns += SETTLE_NS // 3
        told.complaints.clear('main')
        told.now_ns += SETTLE_NS // 3
    assert (told.warnings, told.good_news) == (['late'], [])


def test_another_kind_of_fault_is_news() -> None:
    told = Told()
    told.complaints.set('main', 'missing', 'nothing comes')
    told.complaints.set('main', 'undecodable', 'mono8 is not rgb8')
    assert told.warnings == ['nothing comes', 'mono8 is not rgb8']


def test_faults_with_one_remedy_are_one_message() -> None:
    told = Told()
    found = {name: Complaint('missing', f'{name} missing', 'start the driver') for name in ('main', 'side')}
    told.complaints.update(found | {'joints': Complaint('stale', 'joints stale', 'look at it')})
    told.complaints.update(found)
    assert told.warnings == ['main missing, side missing; start the driver', 'joints stale; look at it']


def test_a_worker_that_raises_ends_and_says_so(capsys: pytest.CaptureFixture) -> None:
    failed, told = threading.Event(), []

    def step() -> None:
        raise ZeroDivisionError('of course')

    def fail(text: str) -> None:
        told.append(text)
        failed.set()

    worker = Worker('act', step, fail)
    worker.start()
    assert failed.wait(240)
    worker.join()
    assert told == ['act failed: unexpected ZeroDivisionError: of course']
    assert 'Traceback' in capsys.readouterr().err


def test_a_waiting_worker_stops_without_another_step() -> None:
    begun, steps = threading.Event(), []

    def step() -> None:
        begun.set()
        worker.wait()
        steps.append(worker.stopping)

    worker = Worker('prefix', step, lambda text: None)
    worker.start()
    assert begun.wait(240)
    worker.ask_to_stop()
    worker.join()
    assert steps == [True]


def test_a_niced_call_gives_its_result_or_its_exception() -> None:
    assert call_niced(1, lambda: threading.current_thread().name).startswith('niced')
    with pytest.raises(ValueError, match='no'):
        call_niced(1, lambda: _raise(ValueError('no')))


def test_only_the_niced_thread_is_slower() -> None:
    def niceness() -> int:
        return int(_stat_of_this_thread()[16])

    before = niceness()
    assert call_niced(7, niceness) == max(7, before)
    assert niceness() == before


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An install prefix, no choice of the user's, and plenty of shared memory."""
    share = tmp_path / 'prefix' / 'share' / 'restac_ros'
    share.mkdir(parents=True)
    (share / 'package.xml').write_text('<package/>')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'prefix'))
    for name in transport.VARIABLES:
        monkeypatch.setenv(name, '')  # so that it is as before afterwards, though the code sets it
        monkeypatch.delenv(name)
    monkeypatch.setattr(transport.shutil, 'disk_usage', lambda path: SimpleNamespace(free=10**10))
    monkeypatch.chdir(tmp_path)
    return share / 'config' / transport.PROFILE


def test_the_middleware_is_given_room_for_images(installed: Path) -> None:
    assert transport.use_transport_profile() == ''
    assert os.environ[transport.VARIABLES[0]] == str(installed)


@pytest.mark.parametrize(('distribution', 'variable'), [('jazzy', 0), ('kilted', 1), ('', 0)])
def test_the_profile_is_named_as_the_distribution_reads_it(
    installed: Path, monkeypatch, distribution: str, variable: int
) -> None:
    monkeypatch.setenv('ROS_DISTRO', distribution or 'jazzy')
    assert transport.use_transport_profile() == ''
    assert [name for name in transport.VARIABLES if name in os.environ] == [transport.VARIABLES[variable]]


def test_another_middleware_is_said_to_count_no_losses(installed: Path, monkeypatch) -> None:
    monkeypatch.setattr(transport, 'get_rmw_implementation_identifier', lambda: 'rmw_cyclonedds_cpp')
    assert 'losses are unknown' in transport.use_transport_profile()
    assert transport.VARIABLES[0] not in os.environ


@pytest.mark.parametrize('rate', [0.1, 1.0, 20.0])
def test_arrivals_are_dated_by_a_simulated_clock_of_any_rate(rate: float) -> None:
    arrivals, start_ns = SimulatedArrival(), 10**18
    simulated = lambda system_ns: round(5e9 + rate * (system_ns - start_ns))  # noqa: E731
    read_ns = start_ns
    assert arrivals.arrival_ns(read_ns - 10**6, read_ns, simulated(read_ns)) == simulated(read_ns)
    for _ in range(5):
        read_ns += 60_000_000
        found = arrivals.arrival_ns(read_ns - 10**7, read_ns, simulated(read_ns))
    assert found == pytest.approx(simulated(read_ns - 10**7), abs=1000)


def test_a_simulation_that_begins_anew_dates_no_message_before_its_start() -> None:
    arrivals = SimulatedArrival()
    for step in range(4):
        arrivals.arrival_ns(10**18, 10**18 + step * 10**8, 10**12 + step * 10**8)
    assert arrivals.arrival_ns(10**18, 10**18 + 4 * 10**8, 1000) == 1000


def test_arrivals_before_and_after_the_clocks_first_message_are_dated_by_it() -> None:
    arrivals, start_ns, first_ns = SimulatedArrival(), 10**18, 17 * 10**17
    for step in range(3):
        assert arrivals.arrival_ns(start_ns, start_ns + step * 2 * 10**8, 0) == 0
    for step in range(4):
        simulated_ns = first_ns + step * 2 * 10**8
        read_ns = start_ns + 10**9 + step * 2 * 10**8
        found = arrivals.arrival_ns(read_ns - 10**7, read_ns, simulated_ns)
        assert 0 <= simulated_ns - found <= 2 * 10**7


def test_a_simulated_message_that_overtakes_the_clock_arrives_when_it_was_captured() -> None:
    arrivals, sample = SimulatedArrival(), Sample('main', 2_000_000_000, 1_900_000_000, b'')
    assert arrivals.in_order(sample).receive_ns == sample.stamp_ns
    late = sample._replace(receive_ns=2_100_000_000)
    assert arrivals.in_order(late) == late
    of_another_clock = sample._replace(stamp_ns=7_000_000_000)
    assert arrivals.in_order(of_another_clock) == of_another_clock


def test_the_users_own_profile_is_left_alone(installed: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', '/mine.xml')
    assert transport.use_transport_profile() == ''
    monkeypatch.delenv('FASTDDS_DEFAULT_PROFILES_FILE')
    (tmp_path / transport.LOCAL_PROFILE).write_text('<dds/>')
    assert transport.use_transport_profile() == ''
    assert transport.VARIABLES[0] not in os.environ


def test_little_shared_memory_is_told_and_not_asked_for(installed: Path, monkeypatch) -> None:
    monkeypatch.setattr(transport.shutil, 'disk_usage', lambda path: SimpleNamespace(free=64 * 10**6))
    assert (
        '64 MB free, expected 268 MB; start the container with --shm-size=1g'
        in transport.use_transport_profile()
    )
    assert transport.VARIABLES[0] not in os.environ


def _stat_of_this_thread() -> list[str]:
    with open(f'/proc/self/task/{threading.get_native_id()}/stat') as file:
        return file.read().rsplit(')', 1)[1].split()


def _raise(error: Exception) -> None:
    raise error
