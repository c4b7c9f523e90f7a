"""Demonstrations by task and subtask: both layouts, every quirk, and the data set they become."""

import json
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demonstrations import FRAMES, draw, make_run, older_text, poses
from restac_ros.commands.importing import ImportHierarchical
from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import dataset_contract, read_info
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.hierarchical.importing import HERE, ImportRequest, import_runs, plan_import
from restac_ros.dataset.hierarchical.instructions import Instructions
from restac_ros.dataset.hierarchical.layout import DemonstrationRun, find_runs
from restac_ros.dataset.hierarchical.numbers import read_numbers
from restac_ros.dataset.joining import join_datasets
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.repair.deletion import delete_episodes
from restac_ros.dataset.repair.examination import examine_dataset
from restac_ros.framing.kinematics import fk_hand_tcp
from worded import active

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')

STAGES = {
    'high_level_task': 'tidy the_table',
    'task_instructions': [
        {'stage': 1, 'subtask': 'pick up\nthe cup', 'text': 'unused'},
        {'stage': 2, 'text': 'wipe \\n the table'},
        {'stage': 10, 'subtask': 'put it back', 'high_level_task': 'end the work'},
    ],
}
TASKS = {
    'tasks': {
        'tidy_up': {
            'text': 'Tidy up the desk',
            'subtasks': {'pick_cup': {'text': 'pick up the cup'}, 'wipe': {'text': 'wipe the desk'}},
        }
    }
}


@pytest.fixture(scope='module')
def by_stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('stages')
    for seed, name in enumerate(('stage1/run2', 'stage1/run10', 'stage2/run1', 'stage10/run1')):
        make_run(root / name, seed=seed)
    return written_json(root, STAGES)


@pytest.fixture
def by_tasks(tmp_path: Path) -> Path:
    for seed, name in enumerate(('tidy_up/pick_cup/run1', 'tidy_up/wipe/run1')):
        make_run(tmp_path / 'tasks' / name, seed=seed)
    return written_json(tmp_path / 'tasks', TASKS)


def written_json(root: Path, content: Any) -> Path:
    root.mkdir(exist_ok=True)
    (root / 'instructions.json').write_text(json.dumps(content))
    return root


def request(root: Path, contract: Contract, **options: Any) -> ImportRequest:
    asked = ImportRequest(root, root.parent / 'data', contract, root / 'instructions.json')
    return replace(asked, **options)


def told(contract: Contract, root: Path) -> list[tuple[str, str]]:
    return [(one.texts.task, one.texts.subtask) for one in plan_import(request(root, contract)).runs]


@pytest.fixture(scope='module')
def imported(by_stages: Path, contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp('imported') / 'data'
    plan = plan_import(request(by_stages, contract, dataset=to))
    assert [one.episode for one in import_runs(plan)] == [0, 1, 2, 3]
    return to


def test_runs_stages_and_frames_are_in_the_order_in_which_people_count(
    by_stages: Path, imported: Path
) -> None:
    names = [run.path.relative_to(by_stages).as_posix() for run in find_runs(by_stages)]
    assert names == ['stage1/run2', 'stage1/run10', 'stage2/run1', 'stage10/run1']
    dataset = open_dataset(imported)
    column = 'observation.images.main_realsense_rgb'
    blue = [float(dataset[frame][column][2].mean()) * 255 for frame in range(FRAMES)]
    assert np.abs(np.array(blue) - 20 * np.arange(FRAMES)).max() < 6, 'image 2 comes before image 10'


def test_lerobot_reads_task_subtask_and_what_is_still_to_come(imported: Path) -> None:
    dataset = open_dataset(imported)
    assert dataset.meta.total_episodes == 4
    item = dataset[FRAMES + 5]
    assert item['task'] == 'tidy the_table'
    said = item['language_persistent']
    assert active(said, 0.5) == 'pick up the cup'
    assert active(said, 0.5, 'plan') == '1. pick up the cup\n2. wipe the table\n3. put it back'
    assert item['language_events'] == []
    last = dataset[3 * FRAMES]
    assert (last['task'], active(last['language_persistent'], 0.0)) == ('end the work', 'put it back')
    np.testing.assert_allclose(item['observation.state'], poses(FRAMES, 1)[5], rtol=1e-6)
    np.testing.assert_allclose(item['action'], poses(FRAMES, 1)[6], rtol=1e-6)


def test_an_imported_data_set_is_one_of_ours(imported: Path, tmp_path: Path) -> None:
    assert examine_dataset(imported).is_fine
    assert not dataset_contract(imported).streams['side'].required
    assert join_datasets([imported], tmp_path / 'joined') == 4
    assert 'observation.images.side_realsense_rgb' not in read_info(imported)['features']


def test_the_same_call_goes_on_where_it_was_stopped_and_does_not_bring_back_what_was_deleted(
    by_stages: Path, imported: Path, contract: Contract, tmp_path: Path
) -> None:
    plan = plan_import(request(by_stages, contract, dataset=tmp_path / 'data'))
    begun = import_runs(plan)
    assert [next(begun).episode, next(begun).episode] == [0, 1]
    begun.close()
    again = list(import_runs(plan))
    assert [(one.episode, one.already) for one in again] == [(0, True), (1, True), (2, False), (3, False)]
    delete_episodes(tmp_path / 'data', [1])
    last = list(import_runs(plan))
    assert [one.deleted for one in last] == [False, True, False, False]
    assert all(one.already for one in last if not one.deleted)


def test_a_camera_folder_called_run_makes_no_other_layout(tmp_path: Path, contract: Contract) -> None:
    make_run(tmp_path / 'root' / 'stage1' / 'run1', cameras=('run_cam',))
    root = written_json(tmp_path / 'root', STAGES)
    plan = plan_import(request(root, contract, cameras={'run_cam': 'side'}))
    assert [(one.run.stage, list(one.images)) for one in plan.runs] == [(1, ['side'])]


def test_texts_by_tasks_are_those_of_the_map(by_tasks: Path, contract: Contract) -> None:
    assert told(contract, by_tasks) == [
        ('Tidy up the desk', 'pick up the cup'),
        ('Tidy up the desk', 'wipe the desk'),
    ]


def test_names_of_directories_stand_in_only_where_asked_for(by_tasks: Path, contract: Contract) -> None:
    without: Any = deepcopy(TASKS)
    del without['tasks']['tidy_up']['subtasks']['wipe']
    written_json(by_tasks, without)
    fault = r"found no tasks\.tidy_up\.subtasks\.wipe, expected an entry for the directory 'wipe'; .*pick_cup"
    with pytest.raises(DatasetError, match=fault):
        plan_import(request(by_tasks, contract))
    plan = plan_import(request(by_tasks, contract, names_stand_in=True))
    assert [one.texts.subtask for one in plan.runs] == ['pick up the cup', 'wipe']
    plan = plan_import(request(by_tasks, contract, instructions=None))
    assert [(one.texts.task, one.texts.subtask) for one in plan.runs] == [
        ('tidy up', 'pick cup'),
        ('tidy up', 'wipe'),
    ]


def test_an_entry_that_nothing_is_of_is_told(by_tasks: Path, contract: Contract) -> None:
    shutil.rmtree(by_tasks / 'tidy_up' / 'wipe')
    assert 'tasks.tidy_up.subtasks.wipe: nothing' in plan_import(request(by_tasks, contract)).notes[0]


def entry(**fields: Any) -> dict[str, Any]:
    return {'high_level_task': 'tidy', 'task_instructions': [{'stage': 1, **fields}]}


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        (entry(subtask=''), r'subtask of stage 1: found an empty text'),
        (entry(), r'subtask of stage 1: found None, expected a text'),
        (entry(subtask=5), r'subtask of stage 1: found 5, expected a text'),
        ({'task_instructions': [{'stage': 1, 'text': 'a'}]}, 'found no high_level_task, neither of stage 1'),
        (entry(text='a', high_level_task=' '), 'high_level_task of stage 1: found an empty text'),
        ({'high_level_task': 'tidy'}, 'found no entry of stage 1 in task_instructions'),
        ({'task_instructions': {}}, r'task_instructions: found \{\}, expected a list of stages'),
        ({'task_instructions': ['a']}, r"task_instructions\[0\]: found 'a', expected an object"),
        ({'task_instructions': [{'stage': '1'}]}, r"\[0\]\.stage: found '1', expected a whole number from 1"),
        (
            {'task_instructions': [{'stage': 1, 'text': 'a'}, {'stage': 1, 'text': 'b'}]},
            r'task_instructions\[1\]: found .* expected what the entry before says of stage 1',
        ),
        ([], 'found a JSON list, expected an object'),
    ],
)
def test_texts_of_stages_that_are_missing_empty_or_contradictory_are_refused(
    content: Any, fault: str, tmp_path: Path
) -> None:
    path = written_json(tmp_path / 'root', content) / 'instructions.json'
    with pytest.raises(DatasetError, match=fault):
        Instructions.read(path, names_stand_in=True).texts(DemonstrationRun(tmp_path, stage=1))


def test_the_stage_says_the_task_before_the_file_does_and_the_text_stands_in_for_the_subtask() -> None:
    content = entry(text='grasp', high_level_task='clear')
    texts = Instructions(content, 'x', names_stand_in=False).texts(DemonstrationRun(Path(), stage=1))
    assert (texts.task, texts.subtask, texts.to_come) == ('clear', 'grasp', ())


def test_the_older_file_is_read_as_it_is_and_in_the_order_of_its_frames(
    tmp_path: Path, contract: Contract
) -> None:
    """The guide's own pattern for it, escaped twice, never matches: see its numbers here."""
    blocks = older_text(first=7).split('Frame_')[1:]
    shuffled = ''.join(f'Frame_{block}' for block in [*blocks[6:], *blocks[:6]])
    (tmp_path / 'data.txt').write_text(shuffled)
    read = read_numbers(tmp_path, contract, 'pose')
    np.testing.assert_allclose(read.states, poses(FRAMES), atol=1e-6)
    np.testing.assert_allclose(read.actions, poses(FRAMES + 1)[1:], atol=1e-6)


@pytest.mark.parametrize(
    ('text', 'fault'),
    [
        ('Frame 0: action: [1]', 'found no line "Frame_0:"'),
        ('Frame_0:\naction: [1]\n', r"Frame_0: found \['action'\], expected lrstate"),
        ('Frame_0:\naction: [1, x]\nlrstate: [1]', r"Frame_0: action: found '1, x', expected numbers"),
        (older_text(3).replace('Frame_1:', 'Frame_5:'), 'found Frame_2, expected Frame_1'),
        (older_text(3).replace('Frame_1:', 'Frame_0:'), 'found Frame_0, expected Frame_1: .* twice'),
        (older_text(2).replace('lrstate: [', 'lrstate: [0.5, ', 1), 'found 7 numbers, expected 8 as in the'),
    ],
)
def test_a_damaged_older_file_is_refused(text: str, fault: str, tmp_path: Path, contract: Contract) -> None:
    (tmp_path / 'data.txt').write_text(text)
    with pytest.raises(DatasetError, match=fault):
        read_numbers(tmp_path, contract, 'pose')


def test_joints_become_poses_of_the_tool(tmp_path: Path, contract: Contract) -> None:
    joints = np.linspace(
        [0.0, -0.8, 0.0, -2.3, 0.0, 1.6, 0.8, 0.01], [0.1, -0.7, 0, -2.2, 0, 1.5, 0.8, 0.04], 5
    )
    np.save(tmp_path / 'qpos.npy', joints)
    np.save(tmp_path / 'actions.npy', joints.astype(np.float32))
    read = read_numbers(tmp_path, contract, 'joints')
    for row, state in zip(joints, read.states, strict=True):
        offset = np.array(contract.robot.pose_tool_in_hand.xyz_m)
        hand = fk_hand_tcp(row[:7])
        np.testing.assert_allclose(state[:3], hand[:3, 3] + hand[:3, :3] @ offset, atol=1e-12)
        assert state[6] == row[7]
    with pytest.raises(
        DatasetError, match=r'found 8 numbers, expected 7: .*; are these joints\? \(--space joints\)'
    ):
        read_numbers(tmp_path, contract, 'pose')


@pytest.mark.parametrize(
    ('states', 'actions', 'fault'),
    [
        (np.zeros((4, 33)), np.zeros((4, 7)), r'qpos\.npy: states: found 33 numbers, expected at most 32'),
        (
            np.zeros((4, 14)),
            np.zeros((4, 7)),
            'states: found 14 numbers, expected 7: .* convert them to poses',
        ),
        (np.zeros((4, 7)), np.zeros((5, 7)), 'found 4 states and 5 actions, expected as many'),
        (np.zeros((1, 7)), np.zeros((1, 7)), 'found 1 frames, expected at least 2'),
        (np.full((4, 7), np.nan), np.zeros((4, 7)), r'states\[0, 0\]: found nan, expected a finite number'),
        (np.zeros(7), np.zeros((4, 7)), r'found float64 \[7\], expected numbers \[frames, dimensions\]'),
        (np.array([['a']]), np.zeros((4, 7)), 'found <U1'),
        (np.array([{}], object), np.zeros((4, 7)), 'found no array of numbers: .*allow_pickle=False'),
        (np.zeros((4, 7)), None, r'actions\.npy: no such file'),
    ],
)
def test_numbers_that_are_no_run_are_refused(
    states: np.ndarray, actions: np.ndarray | None, fault: str, tmp_path: Path, contract: Contract
) -> None:
    np.save(tmp_path / 'qpos.npy', states)
    if actions is not None:
        np.save(tmp_path / 'actions.npy', actions)
    with pytest.raises(DatasetError, match=fault):
        read_numbers(tmp_path, contract, 'pose')


def test_a_truncated_array_is_refused(tmp_path: Path, contract: Contract) -> None:
    make_run(tmp_path)
    content = (tmp_path / 'qpos.npy').read_bytes()
    (tmp_path / 'qpos.npy').write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r'qpos\.npy: found no array of numbers'):
        read_numbers(tmp_path, contract, 'pose')


def test_folders_that_are_no_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='no such directory'):
        find_runs(tmp_path / 'absent')
    with pytest.raises(
        DatasetError, match='found no run, expected directories stageN/run or task/subtask/run'
    ):
        find_runs(tmp_path)
    make_run(tmp_path / 'stage_one' / 'run1')
    with pytest.raises(DatasetError, match="named 'stage_one', expected stage1, stage2"):
        find_runs(tmp_path)
    (tmp_path / 'stage_one').rename(tmp_path / 'stage0')
    with pytest.raises(DatasetError, match="named 'stage0', expected stage1"):
        find_runs(tmp_path)
    (tmp_path / 'stage0').rename(tmp_path / 'stage1')
    (tmp_path / 'stage1' / 'run3').mkdir()
    with pytest.raises(DatasetError, match=r'found neither actions\.npy nor data\.txt in stage1/run3'):
        find_runs(tmp_path)
    (tmp_path / 'stage1' / 'run3').rmdir()
    make_run(tmp_path / 'task' / 'subtask' / 'run1')
    with pytest.raises(DatasetError, match='found runs in both layouts, stage1/run1 and task/subtask/run1'):
        find_runs(tmp_path)


def test_images_that_do_not_belong_to_the_frames_are_refused(by_tasks: Path, contract: Contract) -> None:
    run = by_tasks / 'tidy_up' / 'wipe' / 'run1'
    (run / 'main' / '5.png').unlink()
    with pytest.raises(DatasetError, match='found 11 images of main and 12 states, expected as many'):
        plan_import(request(by_tasks, contract))
    (run / 'main').rename(run / 'front')
    with pytest.raises(
        DatasetError, match=r"folder 'front', expected .*--cameras front STREAM; .*known: .*main"
    ):
        plan_import(request(by_tasks, contract))
    with pytest.raises(DatasetError, match='found no images, expected a folder'):
        plan_import(request(by_tasks, contract, cameras={'front': ''}))
    draw(run / 'side')
    with pytest.raises(DatasetError, match=r"found images of \['side'\], expected \['main'\]"):
        plan_import(request(by_tasks, contract, cameras={'front': ''}))
    draw(run / 'front')
    with pytest.raises(DatasetError, match='found two folders of stream side'):
        plan_import(request(by_tasks, contract, cameras={'front': 'side'}))


def test_images_may_lie_in_the_run_itself_as_jpeg(tmp_path: Path, contract: Contract) -> None:
    run = make_run(tmp_path / 'root' / 'stage1' / 'run1', cameras=())
    draw(run, suffix='.JPG')
    root = written_json(tmp_path / 'root', STAGES)
    [one] = plan_import(request(root, contract, cameras={HERE: 'main'})).runs
    assert [path.name for path in one.images['main']][:3] == ['0.JPG', '1.JPG', '2.JPG']


def test_a_run_with_an_unreadable_image_is_refused_by_its_file_and_the_next_is_imported(
    by_tasks: Path, contract: Contract
) -> None:
    broken = by_tasks / 'tidy_up' / 'pick_cup' / 'run1' / 'main' / '7.png'
    broken.write_bytes(broken.read_bytes()[:40])
    asked = request(by_tasks, contract)
    refused, whole = import_runs(plan_import(asked))
    assert refused.episode is None
    assert f'{broken}: found no image that can be decoded' in refused.refusal
    assert whole.episode == 0
    assert examine_dataset(asked.dataset).is_fine


def test_all_faults_are_told_at_once_and_nothing_is_written(by_tasks: Path, contract: Contract) -> None:
    for name in ('pick_cup', 'wipe'):
        (by_tasks / 'tidy_up' / name / 'run1' / 'actions.npy').unlink()
    asked = request(by_tasks, contract)
    with pytest.raises(
        DatasetError, match=r'(?s)pick_cup/run1/actions\.npy: no such.*wipe/run1/actions\.npy'
    ):
        plan_import(asked)
    assert not asked.dataset.exists()


def test_the_command_imports_at_its_rate_and_lists_what_it_would_do(
    by_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    command = ImportHierarchical(
        by_tasks,
        tmp_path / 'data',
        by_tasks / 'instructions.json',
        fps=20,
        contract=repository / 'config' / 'contract.yaml',
        dry_run=True,
    )
    assert command.run() == 0
    assert "12 frames of main; 'Tidy up the desk', 'pick up the cup'" in capsys.readouterr().out
    assert not (tmp_path / 'data').exists()
    assert replace(command, dry_run=False).run() == 0
    assert 'tidy_up/wipe/run1: is episode 1' in capsys.readouterr().out
    assert read_info(tmp_path / 'data')['fps'] == 20


def test_a_refusal_of_the_command_is_one_message(tmp_path: Path) -> None:
    words = ['import-hierarchical', str(tmp_path / 'absent'), '--to', str(tmp_path / 'data')]
    run = subprocess.run(
        [sys.executable, '-P', '-m', 'restac_ros.cli', *words], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert run.stderr.startswith('restac-ros: ')
    assert 'no such directory, expected one of demonstrations' in run.stderr
