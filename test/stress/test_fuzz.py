"""Damaged bags, the quick part of `restac-ros bench fuzz`; and that the benchmark sees what is wrong."""

import multiprocessing
import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

import fuzz
import fuzz_cases
from fuzz import FuzzStress, main, run_cases
from fuzz_cases import judge, run_case
from fuzz_subjects import Subject, make_subjects
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract

CASES = 90


@pytest.fixture(scope='module')
def contract(slow_contract_file: Path) -> Contract:
    return load_contract(slow_contract_file)


@pytest.fixture(scope='module')
def subjects(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    return make_subjects(tmp_path_factory.mktemp('subjects'), contract)


def test_no_damage_passes_in_silence(slow_contract_file: Path, tmp_path: Path) -> None:
    cases = list(
        run_cases(FuzzStress(CASES, 7, contract=slow_contract_file), tmp_path / 'work', tmp_path / 'keep')
    )
    assert [case for case in cases if case.problem] == []
    assert sorted(case.number for case in cases) == list(range(CASES))
    outcomes = Counter(case.outcome for case in cases)
    assert set(outcomes) == set(fuzz.OUTCOMES), 'cases of every kind, or the damages are too mild'


def test_whole_bags_are_in_order(subjects: list[Subject], contract: Contract, tmp_path: Path) -> None:
    whole = [subject for subject in subjects if not subject.is_unfinished]
    assert len(whole) > 4
    assert {judge(subject, subject.path, contract) for subject in whole} == {('read as it was', '')}


def test_what_reading_gets_wrong_is_seen(
    subjects: list[Subject], contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(number: int) -> str:
        return run_case(number, 0, subjects, contract, tmp_path / 'work', tmp_path / 'keep').problem

    plain = subjects[0]
    other = plain.messages[3]._replace(cdr=b'other')
    known = [*plain.messages[:3], other, *plain.messages[4:]]
    monkeypatch.setattr(fuzz_cases, '_make_frames', lambda *_: None)
    changed = Subject(plain.name, plain.path, plain.target, True, known, plain.notes)
    assert 'never recorded' in judge(changed, plain.path, contract)[1]
    changed = Subject(plain.name, plain.path, plain.target, True, plain.messages[:9], plain.notes)
    assert 'never recorded' in judge(changed, plain.path, contract)[1]
    changed = Subject(plain.name, plain.path, plain.target, True, plain.messages * 2, plain.notes)
    assert 'nothing is said' in judge(changed, plain.path, contract)[1]
    notes = plain.notes._replace(task='x')
    changed = Subject(plain.name, plain.path, plain.target, True, plain.messages, notes)
    assert 'notes have changed' in judge(changed, plain.path, contract)[1]
    monkeypatch.setattr(fuzz_cases, 'open_bag', lambda _: 1 / 0)
    assert 'ZeroDivisionError' in said(0)
    assert [path.name for path in (tmp_path / 'keep').iterdir()] == ['0-0']


def test_a_crash_and_a_hang_are_failed_cases(
    slow_contract_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The processes are forked here, so that they do what the test makes of them."""
    fork = multiprocessing.get_context('fork')
    monkeypatch.setattr(fuzz.mp, 'get_context', lambda _: fork)
    monkeypatch.setattr(fuzz, 'run_case', lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert main(FuzzStress(2, workers=1, contract=slow_contract_file, directory=tmp_path)) == 1
    assert 'died with exit code -9' in capsys.readouterr().out
    monkeypatch.setattr(fuzz, 'run_case', lambda *_: threading.Event().wait())
    monkeypatch.setattr(fuzz, 'START_S', 3.0)
    (case,) = run_cases(FuzzStress(1, contract=slow_contract_file), tmp_path / 'work', tmp_path / 'keep')
    assert 'hangs' in case.problem
