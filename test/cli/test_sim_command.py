"""`restac-ros sim`: demonstrations recorded offline hold what a live framer makes of the same messages."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restac_ros.bench.settings import CellBench
from restac_ros.commands.run import Up
from restac_ros.commands.simulating import Sim, SimExpert, SimRecord, record_demonstration
from restac_ros.commands.teleoperating import SimTeleop
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset import convert
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.dataset_files import read_info
from restac_ros.dataset.episode_notes import episode_notes
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.journal import Journal
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.references import episode_references
from restac_ros.dataset.survey import recorded_samples
from restac_ros.framing.encode import driver_message
from restac_ros.framing.framer import frames
from restac_ros.framing.sample import Sample, make_sample
from restac_ros.framing.stamp import with_stamp
from restac_ros.installation import GraphError
from restac_ros.sim.cell.demonstration import Demonstration
from restac_ros.sim.cell.parameters import SIMULATED_START_NS, CellError
from restac_ros.sim.evaluation.settings import SimEvaluationConfig

SEED = 1_000_000
LIMIT_S = 0.6


@pytest.fixture(scope='module')
def contract_file(repository: Path) -> Path:
    return repository / 'config' / 'contract_cell.yaml'


@pytest.fixture(scope='module')
def contract(contract_file: Path) -> Contract:
    return load_contract(contract_file)


def test_a_recording_holds_the_frames_that_a_live_framer_makes_to_the_bit(
    contract: Contract, tmp_path: Path
) -> None:
    assert not record_demonstration(tmp_path / 'journal', contract, SEED, 'insert', LIMIT_S)
    end_ns = SIMULATED_START_NS + round(LIMIT_S * 1e9)
    recorded = frames(
        contract,
        recorded_samples(open_bag(tmp_path / 'journal'), contract, SIMULATED_START_NS, end_ns),
        SIMULATED_START_NS,
        end_ns,
    )
    published = frames(contract, live_samples(contract), SIMULATED_START_NS, end_ns)
    compared = 0
    for one, other in zip(recorded, published, strict=True):
        assert one.reasons == other.reasons
        assert one.streams == other.streams
        if not one.reasons:
            np.testing.assert_array_equal(one.state, other.state)
            np.testing.assert_array_equal(one.target, other.target)
            for name, image in one.images.items():
                np.testing.assert_array_equal(image, other.images[name])
            compared += 1
    assert compared >= 5


def live_samples(contract: Contract) -> list[Sample]:
    """What a subscriber receives of another simulation of the same seed."""
    samples = []
    for reading in Demonstration(contract, SEED).readings(LIMIT_S):
        cdr = driver_message(contract, reading.stream, reading.value)
        stamped = with_stamp(cdr, SIMULATED_START_NS + reading.stamp_ns)
        samples.append(
            make_sample(contract, reading.stream, stamped, SIMULATED_START_NS + reading.publish_ns)
        )
    return samples


def test_demonstrations_become_episodes_and_the_same_call_goes_on(
    contract_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {'to': tmp_path / 'data', 'contract': contract_file, 'first_seed': SEED}
    assert SimRecord(episodes=1, **asked).run() == 0
    assert SimRecord(episodes=1, **asked).run() == 0
    assert '1 episode of seeds from 1000000 on' in ' '.join(capsys.readouterr().out.split())
    assert read_info(tmp_path / 'data')['total_episodes'] == 1
    rows = open_dataset(tmp_path / 'data', [0])
    actions, states = (np.array(rows.hf_dataset[key]) for key in ('action', 'observation.state'))
    assert np.min(actions[:, 2] - states[:, 2]) < -0.005  # pressing: commanded below what is reached
    assert states[-1, 2] - states[:, 2].min() < 0.001  # it ends with the plug in the hole
    shown = Demonstration(load_contract(contract_file), SEED, cameras=False)
    reference = episode_references(tmp_path / 'data', 0)['gelsight_left']
    np.testing.assert_array_equal(reference, shown.loop.sensors.reference())
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith('.')}
    assert left == {'data'}, 'journals are left over'
    with pytest.raises(
        GraphError, match=r"seed 1000000 has the task 'insert the plug.*', expected 'push'; give"
    ):
        SimRecord(episodes=1, task='push', **asked).run()
    with pytest.raises(DatasetError, match='Use another directory, or the contract it was made with'):
        SimRecord(episodes=1, **asked | {'contract': contract_file.with_name('contract.yaml')}).run()
    assert read_info(tmp_path / 'data')['total_episodes'] == 1


def test_an_interrupted_call_that_keeps_journals_goes_on_with_them(
    contract_file: Path, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / 'kept'
    asked = SimRecord(
        tmp_path / 'data', episodes=1, first_seed=SEED, contract=contract_file, keep_journals=kept
    )
    (kept / f'seed_{SEED}.partial').mkdir(parents=True)  # as earlier versions left one

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, 'write', interrupt)
        with pytest.raises(KeyboardInterrupt):
            asked.run()
    assert [path.name for path in kept.iterdir()] == [f'seed_{SEED}.partial'], 'no half journal has the name'
    with monkeypatch.context() as patch:
        patch.setattr(convert, 'convert_episode', interrupt)
        with pytest.raises(KeyboardInterrupt):
            asked.run()
    whole = kept / f'seed_{SEED}'
    written = (whole / 'metadata.yaml').stat().st_mtime_ns
    with pytest.raises(GraphError, match=rf"{whole} is there already, with the task 'insert.*; give another"):
        replace(asked, task='push').run()
    assert asked.run() == 0
    assert (whole / 'metadata.yaml').stat().st_mtime_ns == written, 'it is not recorded again'
    assert episode_notes(tmp_path / 'data', 0)['bag'] == str(whole)


def test_the_expert_is_tried_scene_by_scene(capsys: pytest.CaptureFixture[str]) -> None:
    assert SimExpert(scenes=1, first_seed=7, strategy='guess', limit_s=3.0).run() == 0
    assert 'seed 7: not inserted' in capsys.readouterr().out
    with pytest.raises(GraphError, match='scenes is 0'):
        SimExpert(scenes=0).run()


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'first_seed': -1}, 'first_seed: found -1, expected 0 or more'),
        ({'limit_s': 0.0}, 'limit_s: found 0 s, expected more than 0 and at most 600'),
        ({'limit_s': math.nan}, 'limit_s: found nan s'),
    ],
)
def test_scenes_that_cannot_be_are_refused(
    contract_file: Path, tmp_path: Path, change: dict, reason: str
) -> None:
    for command in (SimExpert(**change), SimRecord(tmp_path / 'data', contract=contract_file, **change)):
        with pytest.raises(CellError, match=reason):
            command.run()
    assert list(tmp_path.iterdir()) == []


def test_what_is_recorded_live_shows_no_scene_of_an_evaluation(tmp_path: Path) -> None:
    evaluated = range(SimEvaluationConfig().first_seed, SEED)
    assert SimTeleop().seed not in evaluated
    recorded = Up(source='sim', expert=True, record=tmp_path / 'data')
    assert recorded._described().seed == SimTeleop().seed
    assert replace(recorded, seed=3)._described().seed == 3
    assert Up(source='sim', expert=True)._described().seed == 0


def test_a_machine_without_the_libraries_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, 'franky_sim', None)
    for command in (Sim(SimExpert()), CellBench(seeds=1)):
        with pytest.raises(CellError, match=r"franky_sim, not .* `pip install -e '\.\[sim\]'`"):
            command.run()


def test_what_fails_too_often_leaves_nothing_and_says_so(
    contract_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = SimRecord(to=tmp_path / 'data', episodes=1, contract=contract_file, limit_s=0.05)
    assert asked.run() == 1
    assert 'the expert failed' in capfd.readouterr().err
    assert not (tmp_path / 'data').exists()
