"""A network's attempts from the command line: report, going on after an interrupt, what is refused."""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import pytest
import tyro

from micro_network import MICRO
from restac_ros.commands.sim_evaluating import SimEvaluate
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.manifest import current_versions
from restac_ros.model.checkpoint.provenance import Origin
from restac_ros.model.checkpoint.store import checkpoint_fingerprint, load_info
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.init_checkpoint import init_checkpoint
from restac_ros.sim.cell import revision
from restac_ros.sim.cell.impedance import ImpedanceGains
from restac_ros.sim.cell.parameters import CellError, CellParameters, SceneRanges
from restac_ros.sim.evaluation import cell_card, evaluate_cell, machine, measured_durations
from restac_ros.sim.evaluation.attempts import Attempts
from restac_ros.sim.evaluation.cell_card import ShownData, write_card
from restac_ros.sim.evaluation.conditions import AS_IT_IS
from restac_ros.sim.evaluation.deployment_files import Deployment
from restac_ros.sim.evaluation.settings import CallDurations, SimEvaluationConfig

LIMIT_S = 0.5
CONDITIONS = ('gate 1',)


@pytest.fixture(scope='module')
def checkpoint(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('checkpoints') / 'micro'
    init_checkpoint(MICRO, contract, path)
    return path


@pytest.fixture(scope='module')
def asked(checkpoint: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> SimEvaluate:
    """An evaluation that has been made."""
    asked = SimEvaluate(
        [checkpoint],
        to=tmp_path_factory.mktemp('evaluation'),
        contract=repository / 'config' / 'contract_cell.yaml',
        config=repository / 'config',
        videos=(0,),
        settings=SimEvaluationConfig(seeds=2, limit_s=LIMIT_S, conditions=CONDITIONS),
    )
    assert asked.run() == 0
    return asked


@pytest.fixture
def planned(asked: SimEvaluate, contract: Contract, deployment: Deployment, tmp_path: Path) -> list[Attempts]:
    """What is to be done in a folder where nothing is yet."""
    return evaluate_cell.plan_attempts(
        asked.checkpoints, contract, deployment, asked.settings, asked.task, tmp_path / 'shared'
    )


def test_the_report_has_every_condition_and_a_page_with_pictures(asked: SimEvaluate) -> None:
    figures = json.loads((asked.to / 'sim_evaluation.json').read_text())
    assert [(one['condition'], one['attempts']) for one in figures['figures']] == [
        (AS_IT_IS, 2),
        ('gate 1', 2),
    ]
    assert figures['version'] == current_versions()['restac_ros']
    assert figures['figures'][1]['against_as_it_is']['value'] == 0
    assert figures['figures'][1]['gate']['saturated_open'] == 1.0
    assert figures['figures'][0]['gate']['saturated_open'] < 1.0
    assert figures['changed_parameters'] == {}
    page = (asked.to / 'sim_evaluation.html').read_text()
    assert 'Parameters of policy and streamer: as installed. The attempts were drawn by ' in page
    assert 'In simulated time a prefix takes 60 ms, a tactile frame 10 ms, a chunk 50 ms. ' in page
    assert page.count('data:image/png') >= 3
    assert f'restac_ros {figures["version"]}.' in page
    assert 'src="attempts/micro/as_it_is/0.mp4"' in page


def test_the_video_shows_scene_and_touch_side_by_side(asked: SimEvaluate) -> None:
    with av.open(str(asked.to / 'attempts' / 'micro' / 'as_it_is' / '0.mp4')) as container:
        frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert frames[0].shape == (448, 896, 3)
    assert len(frames) == pytest.approx(15 * LIMIT_S, abs=2)
    assert frames[-1][:, :448].std() > 20
    assert frames[-1][:352, 448:].std() > 5


def test_after_an_interrupt_the_same_call_makes_only_what_is_missing(
    asked: SimEvaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    records = {path: path.read_bytes() for path in asked.to.glob('attempts/*/*/*.json')}
    assert len(records) == 4
    missing = asked.to / 'attempts' / 'micro' / 'gate_1' / '1.json'
    written = {path: path.stat().st_mtime_ns for path in records if path != missing}
    missing.unlink()
    assert asked.run() == 0
    assert {path: path.read_bytes() for path in records} == records, 'the same seed gives the same record'
    assert {path: path.stat().st_mtime_ns for path in written} == written
    printed = capsys.readouterr().out
    assert 'micro, gate 1: 0 of 2 inserted (0% to 66%); points against nothing changed +0 [' in printed


def test_records_of_other_settings_are_never_mixed_in(asked: SimEvaluate) -> None:
    longer = replace(asked.settings, durations=CallDurations(act_ms=70))
    with pytest.raises(CellError, match=r'is of another evaluation.*give another --to'):
        replace(asked, settings=longer).run()


def test_records_of_another_simulator_are_never_mixed_in(
    asked: SimEvaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name, changed in (
        (revision, 'CELL_REVISION', revision.CELL_REVISION + 1),
        (revision.mujoco, '__version__', '0.0'),
        (revision, 'ImpedanceGains', partial(ImpedanceGains, lateral_n_m=1000.0)),
        (revision, 'CellParameters', partial(CellParameters, friction_share=0.2)),
        (revision, 'SceneRanges', partial(SceneRanges, hole_m=0.006)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, changed)
            with pytest.raises(CellError, match='is of another evaluation'):
                asked.run()


def test_records_of_another_renderer_or_device_are_never_mixed_in(
    asked: SimEvaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, 'renderer_name', lambda: 'another GPU')
    with pytest.raises(
        CellError, match=r"another evaluation: .*expected '.*, drawn by another GPU, computed"
    ):
        asked.run()


def test_parameters_that_differ_from_the_installed_ones_are_named_with_the_command(
    asked: SimEvaluate, tmp_path: Path
) -> None:
    for node, values in (('policy', 'replan_hz: 5.0'), ('streamer', '')):
        text = f'/**/{node}_node: {{ros__parameters: {{{values}}}}}\n'
        (tmp_path / f'{node}.yaml').write_text(text)
    to, card = tmp_path / 'to', tmp_path / 'card.md'
    assert replace(asked, config=tmp_path, to=to, videos=(), card=card).run() == 0
    values = json.loads((to / 'sim_evaluation.json').read_text())
    assert values['changed_parameters'] == {'policy_node.replan_hz': {'installed': 10.0, 'here': 5.0}}
    for text in ((to / 'sim_evaluation.html').read_text(), card.read_text()):
        assert 'policy_node.replan_hz 5.0 (installed: 10.0); else as installed' in text
        assert f'--config {tmp_path}' in text
    assert "--conditions 'gate 1'" in card.read_text()


def test_the_command_is_understood_and_asks_for_the_same(asked: SimEvaluate) -> None:
    settings = replace(asked.settings, first_seed=7, durations=CallDurations(act_ms=70.25))
    given = replace(asked, to=None, videos=(), settings=settings, task="the plug's")
    words = shlex.split(given.command_line())
    assert tyro.cli(SimEvaluate, args=words[3:], config=(tyro.conf.OmitSubcommandPrefixes,)) == given


def test_each_other_call_has_a_folder_of_its_own_below_the_working_directory(
    asked: SimEvaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [
        asked,
        replace(asked, task='another'),
        replace(asked, settings=replace(asked.settings, conditions=('latency',))),
        replace(asked, settings=replace(asked.settings, durations=CallDurations(act_ms=70))),
        replace(asked, measure_durations=True),
        replace(asked, checkpoints=[*asked.checkpoints, tmp_path]),
    ]
    folders = [call.default_folder() for call in calls]
    assert len(set(folders)) == len(calls)
    assert all(folder.match('runs/sim_evaluation/micro-0-2-*') for folder in folders)
    assert replace(asked, videos=(1,), engine='ray').default_folder() == folders[0], 'it goes on there'
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'runs').write_text('in the way')
    with pytest.raises(CellError, match=r'to: found .*sim_evaluation.*, which cannot be written \(Not a dir'):
        replace(asked, to=None).run()


def test_measured_durations_are_kept_for_who_goes_on(
    asked: SimEvaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(asked.settings, conditions=(AS_IT_IS,))
    measured = replace(asked, to=tmp_path, videos=(), measure_durations=True, settings=settings)
    assert measured.run() == 0
    kept = json.loads((tmp_path / 'durations.json').read_text())
    [one] = json.loads((tmp_path / 'sim_evaluation.json').read_text())['checkpoints']
    assert {name: one[name] for name in ('durations', 'measured_on')} == kept[one['fingerprint']]
    assert all(value > 0 for value in one['durations'].values())
    assert f'(measured on {one["measured_on"]})' in (tmp_path / 'sim_evaluation.html').read_text()
    (tmp_path / 'attempts' / 'micro' / 'as_it_is' / '1.json').unlink()
    monkeypatch.setattr(measured_durations, 'call_durations', None)  # not called again
    assert measured.run() == 0
    with pytest.raises(CellError, match='takes the place of'):
        replace(measured, settings=replace(asked.settings, durations=CallDurations(act_ms=70))).run()
    (tmp_path / 'durations.json').write_text(
        json.dumps({'x': {'durations': {'act_ms': -1}, 'measured_on': ''}})
    )
    with pytest.raises(CellError, match=r'durations.json: act_ms: found -1 ms.*remove it'):
        measured.run()


def test_a_cluster_without_a_shared_folder_is_refused_at_the_first_piece(
    planned: Sequence[Attempts], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def spread(function: Callable, items: Sequence[Attempts]) -> Iterator[int]:
        for number, _ in enumerate(items):  # each host writes to a disk of its own
            told.append(number)
            yield number

    make = evaluate_cell.make_on_hosts(spread)
    with pytest.raises(CellError, match=r'0\.json is not found on .*file system that every host .* mounts'):
        evaluate_cell.run_attempts(planned, make, lambda done, total: None)
    assert told == [0]
    with monkeypatch.context() as patch:
        patch.setattr(machine, 'renderer_name', lambda: 'another GPU')
        with pytest.raises(CellError, match=r'host .*: found drawn by another GPU, .*hosts that are alike'):
            evaluate_cell.make_attempts_on_host(planned[0])
    planned[0].folder.rmdir()
    with pytest.raises(CellError, match=r'as_it_is is not there on host .*file system that every host'):
        evaluate_cell.make_attempts_on_host(planned[0])


def test_the_card_says_what_a_policy_is_made_of_and_where_it_fails(
    asked: SimEvaluate, tmp_path: Path
) -> None:
    card = tmp_path / 'README.md'
    assert replace(asked, card=card).run() == 0
    text = card.read_text()
    assert f'Checkpoint {checkpoint_fingerprint(asked.checkpoints[0])}' in text
    assert '- made from random, untrained, seed 0 by `restac-ros init-checkpoint`' in text
    rows = [line.split(' | ')[1:4] for line in text.splitlines() if line.startswith('| micro')]
    assert rows == [[AS_IT_IS, '0%', '0% to 66%'], ['gate 1', '0%', '0% to 66%']]
    assert 'With nothing changed it fails in 2 of 2 scenes.' in text
    with pytest.raises(CellError, match=r'card: found .*, expected a file in a directory that exists'):
        replace(asked, card=tmp_path).run()
    with pytest.raises(CellError, match='add `--card FILE`'):
        replace(asked, data=(tmp_path,)).run()


def test_a_card_names_the_seeds_of_what_the_policy_was_made_with_and_of_nothing_else(
    asked: SimEvaluate, contract: Contract, deployment: Deployment, tmp_path: Path
) -> None:
    planned = evaluate_cell.plan_attempts(
        asked.checkpoints, contract, deployment, asked.settings, asked.task, asked.to
    )
    report = evaluate_cell.report_on(planned, contract, asked.settings, asked.task, asked.command_line())
    origin = Origin('train cell', '/somewhere/gated', 42, 5000, data=('data aa11',))
    info = replace(load_info(asked.checkpoints[0]), origin=origin)
    seeds = frozenset({5, 3, 9, 4})
    write_card(report, info, [ShownData('copy aa11', 6, seeds)], tmp_path / 'card.md')
    text = (tmp_path / 'card.md').read_text()
    assert '- `restac-ros train cell`: 5000 steps from gated, seed 42' in text
    assert '- 6 demonstrations that the policy was trained on: copy aa11, seeds 3 to 5, 9' in text
    assert 'are evaluated, too' not in text
    write_card(report, info, [ShownData('copy aa11', 6, seeds | {1})], tmp_path / 'shared.md')
    assert 'seeds 1 are evaluated, too, which tells nothing' in (tmp_path / 'shared.md').read_text()
    with pytest.raises(CellError, match=r'data: found data bb22, expected .* made with: data aa11'):
        write_card(report, info, [ShownData('data bb22', 4, seeds)], tmp_path / 'other.md')
    assert not (tmp_path / 'other.md').exists()


@pytest.mark.parametrize(
    ('made_by', 'flow_steps', 'lines'),
    [
        ('train cell', None, ['- `restac-ros train cell`: 4500 steps from cell, seed 42']),
        (
            'distil --steps 1',
            1,
            [
                '- `restac-ros distil --steps 1`: 4500 steps from cell, seed 42',
                '- distilled: a chunk takes 1 Euler steps',
            ],
        ),
        ('quantise', None, ['- made from cell by `restac-ros quantise`']),
        (
            'merge-lora',
            2,
            ['- made from cell by `restac-ros merge-lora`', '- distilled: a chunk takes 2 Euler steps'],
        ),
    ],
)
def test_a_card_states_the_steps_and_the_seed_of_trainings_only(
    asked: SimEvaluate, made_by: str, flow_steps: int | None, lines: list[str]
) -> None:
    """A quantised or merged policy has those of the policy that it was made from."""
    origin = Origin(made_by, '/somewhere/cell', 42, 4500, flow_steps=flow_steps)
    found = cell_card._made(replace(load_info(asked.checkpoints[0], checksums=False), origin=origin))
    assert list(found)[: len(lines) + 1] == [*lines, '- trained on nothing that it names']


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'seeds': 1}, 'seeds: found 1, expected at least 2'),
        ({'first_seed': -1}, 'first_seed: found -1'),
        ({'limit_s': 0.0}, 'limit_s: found 0 s'),
        ({'conditions': ('gate 2',)}, "no condition 'gate 2'; did you mean 'gate"),
        ({'durations': CallDurations(tactile_ms=-1)}, 'tactile_ms: found -1 ms'),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict, reason: str) -> None:
    with pytest.raises(CellError, match=reason):
        evaluate_cell.check_sim_settings(SimEvaluationConfig(**change), ())
    with pytest.raises(CellError, match='videos: found seed 60, expected seeds of the evaluation: 0 to 49'):
        evaluate_cell.check_sim_settings(SimEvaluationConfig(), (60,))


def test_a_checkpoint_for_another_robot_is_refused_before_anything_runs(
    asked: SimEvaluate, repository: Path, tmp_path: Path
) -> None:
    with pytest.raises((PolicyError, CheckpointError), match='contract'):
        replace(asked, contract=repository / 'config' / 'contract.yaml', to=tmp_path / 'other').run()
    assert not (tmp_path / 'other').exists()
    with pytest.raises(CellError, match='expected one or more, each once'):
        replace(asked, checkpoints=asked.checkpoints * 2).run()
    with pytest.raises(CellError, match='found none'):
        replace(asked, checkpoints=[]).run()
    with pytest.raises(CellError, match='add `--engine ray`'):
        replace(asked, workers=2).run()
    assert load_contract(asked.contract).name == 'fr3_cell'
