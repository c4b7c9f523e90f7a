"""Simulated drivers keep the contract's rates and latencies, stray as real ones do, and repeat by seed."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.sim.driver_timing import TIMINGS, driver_times


@pytest.fixture(scope='module')
def contract(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """With 20 ms from a GelSight's capture to its stamp."""
    text = (repository / 'config' / 'contract.yaml').read_text()
    file = tmp_path_factory.mktemp('contract') / 'contract.yaml'
    file.write_text(text.replace('    rate_hz: 18\n', '    rate_hz: 18\n    latency_ms: 20\n'))
    return load_contract(file)


@pytest.mark.parametrize('name', ['main', 'gelsight_left', 'joints', 'gripper'])
def test_rate_stamps_and_delays_are_as_declared(contract: Contract, name: str) -> None:
    spec = contract.streams[name]
    timing, period_ns = TIMINGS[spec.role], 1e9 / spec.rate_hz
    times = np.array(list(islice(driver_times(name, spec, 1), 500)))
    captured, stamped, published = times.T
    assert (captured[-1] - captured[0]) / 499 == pytest.approx(period_ns, rel=2e-3)
    strays = captured - captured[0] - np.arange(500) * period_ns
    assert np.ptp(strays) <= 2 * timing.wander * period_ns + 2
    np.testing.assert_array_equal(stamped - captured, spec.latency_ns)
    assert np.all(np.diff(published) > 0)
    delays_ms = (published - stamped) / 1e6
    assert timing.shortest_ms - 1e-6 <= delays_ms.min() < delays_ms.max() <= timing.longest_ms + 1e-6


def test_the_seed_chooses_the_times_and_no_two_streams_move_alike(contract: Contract) -> None:
    def first(name: str, seed: int) -> list:
        return list(islice(driver_times(name, contract.streams[name], seed), 20))

    assert first('main', 1) == first('main', 1)
    assert first('main', 1) != first('main', 2)
    assert first('main', 1) != first('side', 1)


def test_nothing_is_older_on_arrival_than_the_contract_allows(contract: Contract) -> None:
    for name, spec in contract.streams.items():
        for times in islice(driver_times(name, spec, 3), 200):
            assert times.publish_ns - times.capture_ns + 1e9 / spec.rate_hz < spec.max_age_ns
