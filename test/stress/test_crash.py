"""Crashes, the quick part of `make stress`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crash_recording import CrashSite, gaps, recording_trials
from crash_saving import make_journal, saving_trials
from disk_faults import disk_trials
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.installation import GraphError, package_prefix
from trial import Trial, trial_rows
from truncation import truncation_trials, whole_messages
from workshop import Workshop

CUTS, KILLS = 18, 2


@pytest.fixture(scope='module')
def contract(slow_contract_file: Path) -> Contract:
    return load_contract(slow_contract_file)


@pytest.fixture(scope='module')
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture(scope='module')
def site(slow_contract_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashSite]:
    pytest.importorskip('rclpy')
    try:
        package_prefix()
    except GraphError as error:
        pytest.skip(str(error))
    with CrashSite(tmp_path_factory.mktemp('site'), slow_contract_file) as site:
        site.learn()
        yield site


def problems(trials: list[Trial]) -> list[str]:
    return [f'{trial.kind} {trial.number}: {trial.problem}' for trial in trials if trial.problem]


def test_cut_journals_give_every_whole_message(contract: Contract, tmp_path: Path) -> None:
    trials = list(truncation_trials(tmp_path, contract, CUTS, 3))
    assert problems(trials) == []
    assert sum(trial.outcome == 'recovered' for trial in trials) > CUTS // 2


def test_whole_messages_are_those_before_the_cut(contract: Contract, tmp_path: Path) -> None:
    file = next(make_journal(tmp_path, contract, 0).glob('*.mcap'))
    counts = [whole_messages(file, cut) for cut in range(0, file.stat().st_size + 5_000, 5_000)]
    assert counts == sorted(counts)
    assert (counts[0], list(gaps(file))) == (0, [])
    assert len(set(counts)) > len(counts) // 2


def test_killed_conversions_lose_nothing(contract: Contract, tmp_path: Path, workshop: Workshop) -> None:
    trials = list(saving_trials(tmp_path, contract, KILLS, 5, workshop))
    assert problems(trials) == []
    assert {trial.kind for trial in trials} == {'saving', 'appending'}


def test_killed_recorders_lose_only_the_end(site: CrashSite, workshop: Workshop) -> None:
    trials = list(recording_trials(site, KILLS, 5, workshop))
    assert problems(trials) == []
    assert any(trial.lost_ms is not None for trial in trials), 'no kill after something was recorded'


def test_disks_that_are_full_or_read_only(site: CrashSite, tmp_path: Path, workshop: Workshop) -> None:
    trials = list(disk_trials(tmp_path, site, 1, 0, workshop))
    assert problems(trials) == []
    assert len(trials) == 5


def test_failures_and_losses_are_in_the_table() -> None:
    trials = [Trial('saving', 0, 5, 'as before', lost_ms=20.0), Trial('saving', 1, 6, '', 'gone', 900.0)]
    assert trial_rows(trials) == [
        ('saving: 2 trials', '1 as before, 1 FAILED', ''),
        ('saving: worst loss', '900 ms', '<= 1000 ms'),
    ]
