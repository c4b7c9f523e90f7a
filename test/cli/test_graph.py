"""The process list: what starts for which arguments, and what is refused."""

from pathlib import Path

import pytest

from restac_ros.commands.run import where_view_is_shown
from restac_ros.graph import SIM_LONGEST_S, Run, Source, processes
from restac_ros.installation import PACKAGE, GraphError, package_prefix
from restac_ros.process import command


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An install prefix that holds the package, found through the environment."""
    prefix = tmp_path / 'prefix'
    share = prefix / 'share' / PACKAGE
    share.mkdir(parents=True)
    (share / 'package.xml').write_text('<package/>')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{tmp_path / "other"}:{prefix}')
    return prefix


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    (tmp_path / 'bag').mkdir()
    return tmp_path / 'bag'


def run_with(tmp_path: Path, **options) -> Run:
    (tmp_path / 'c').mkdir(exist_ok=True)
    return Run(directory=tmp_path / 'run', **options)


def test_listeners_come_before_the_source_that_waits_for_them(
    installed: Path, tmp_path: Path, bag: Path
) -> None:
    listed = processes(
        run_with(
            tmp_path,
            checkpoint=tmp_path / 'c',
            prompt='push',
            record=tmp_path / 'd',
            source=Source.BAG,
            bag=bag,
        )
    )
    assert [p.executable for p in listed] == ['policy_node', 'recorder_node', 'replay_node']
    assert listed[-1].parameters['wait_nodes'] == ['policy_node', 'recorder_node']
    assert not listed[-1].parameters['any_topics'], 'a policy needs its streams'
    assert [p.ends_run for p in listed] == [False, False, True]


def test_without_a_record_directory_nothing_is_recorded(installed: Path, tmp_path: Path) -> None:
    listed = processes(run_with(tmp_path, checkpoint=tmp_path / 'c', prompt='push'))
    assert [p.executable for p in listed] == ['policy_node']


def test_where_rviz2_is_missing_the_view_says_how_else_to_look(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    assert 'rviz2, which shows it, is not installed here' in where_view_is_shown()
    (tmp_path / 'rviz2').touch(mode=0o755)
    assert (
        where_view_is_shown() == f'view: show it by rviz2 -d {installed}/share/restac_ros/config/restac.rviz'
    )


def test_the_view_listens_but_no_source_waits_for_it(installed: Path, tmp_path: Path, bag: Path) -> None:
    listed = processes(run_with(tmp_path, view='rviz', source=Source.BAG, bag=bag))
    assert [p.executable for p in listed] == ['gate_view_node', 'replay_node']
    assert listed[-1].parameters['wait_nodes'] == ['']
    assert listed[-1].parameters['any_topics'], 'a session log can be looked at'


def test_the_session_log_starts_first_to_stop_last(installed: Path, tmp_path: Path) -> None:
    options = {'checkpoint': tmp_path / 'c', 'prompt': 'push', 'source': Source.SYNTHETIC}
    listed = processes(run_with(tmp_path, sessions=tmp_path / 's', **options))
    assert [p.executable for p in listed] == ['session_log_node', 'policy_node', 'synthetic_node']
    assert listed[0].parameters['log_dir'] == str(tmp_path / 's')
    assert listed[0].parameters['task'] == 'push'
    assert listed[-1].parameters['wait_nodes'] == ['policy_node']


def test_a_run_does_not_end_for_its_picture_or_its_log(installed: Path, tmp_path: Path) -> None:
    options = {'checkpoint': tmp_path / 'c', 'prompt': 'push', 'execute': True, 'view': 'rviz'}
    listed = processes(run_with(tmp_path, sessions=tmp_path / 's', record=tmp_path / 'd', **options))
    vital = {process.executable for process in listed if process.vital}
    assert vital == {'policy_node', 'recorder_node', 'streamer_node'}
    assert listed[-1].executable == 'streamer_node', 'told first to stop, so that it holds first'


def test_all_nodes_share_one_contract(installed: Path, tmp_path: Path) -> None:
    listed = processes(
        run_with(
            tmp_path, checkpoint=tmp_path / 'c', prompt='push', record=tmp_path / 'd', source=Source.SYNTHETIC
        )
    )
    assert {p.parameters['contract'] for p in listed} == {
        str(installed / 'share/restac_ros/config/contract.yaml')
    }
    assert len({p.summary_file for p in listed}) == len(listed)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'source': Source.BAG, 'checkpoint': Path('c'), 'prompt': 'x'}, 'a bag is played with source "bag"'),
        (
            {'source': Source.BAG, 'bag': Path('/nowhere/at/all'), 'checkpoint': Path('c'), 'prompt': 'x'},
            'no bag at /nowhere/at/all',
        ),
        ({}, 'nothing to do'),
        ({'checkpoint': Path('c'), 'prompt': '  '}, 'needs a prompt'),
        ({'checkpoint': Path('c'), 'prompt': 'x', 'rate': 0.0}, 'rate is 0'),
        ({'checkpoint': Path('/nowhere'), 'prompt': 'x'}, 'no checkpoint at /nowhere'),
        ({'record': Path('d')}, 'recording needs a task text'),
        ({'record': Path('d'), 'prompt': 'x', 'execute': True}, 'needs a checkpoint'),
        (
            {'checkpoint': Path('c'), 'prompt': 'x', 'execute': True, 'source': Source.SYNTHETIC},
            'live drivers',
        ),
        ({'teleoperate': True}, "teleoperate moves .* needs source sim.* source is 'none'"),
        ({'record': Path('d'), 'prompt': 'x', 'expert': True}, 'expert moves .* needs source sim'),
        (
            {
                'checkpoint': Path('c'),
                'prompt': 'x',
                'source': Source.SIM,
                'expert': True,
                'execute': True,
            },
            'execute and expert each move the arm',
        ),
        ({'source': Source.SIM, 'expert': True, 'teleoperate': True}, 'expert and teleoperate each move'),
    ],
)
def test_contradictions_are_refused_with_a_remedy(
    installed: Path, tmp_path: Path, options: dict, words: str
) -> None:
    with pytest.raises(GraphError, match=words):
        processes(run_with(tmp_path, **options))


def test_a_source_is_known_by_its_name_or_the_nearest_is_named() -> None:
    assert Source.named('bag') is Source.BAG
    with pytest.raises(GraphError, match="did you mean 'bag'"):
        Source.named('bagg')


def test_a_policy_is_executed_only_where_set_points_move_what_the_streams_show() -> None:
    assert {source for source in Source if source.closes_loop} == {Source.DRIVERS, Source.SIM}


def test_beside_the_simulated_cell_every_node_follows_its_clock_and_the_streamer_knows_its_robot(
    installed: Path, tmp_path: Path
) -> None:
    options = {'checkpoint': tmp_path / 'c', 'prompt': 'push', 'execute': True, 'record': tmp_path / 'd'}
    run = run_with(tmp_path, source=Source.SIM, seed=4, cameras=False, **options)
    listed = {process.executable: process.parameters for process in processes(run)}
    assert listed['sim_node'].items() >= {'seed': 4, 'cameras': False}.items()
    assert listed['sim_node']['wait_nodes'] == ['policy_node', 'recorder_node']
    assert 'seconds' not in listed['sim_node']
    assert {Path(parameters['contract']).name for parameters in listed.values()} == {'contract_cell.yaml'}
    follows = {name: parameters['use_sim_time'] for name, parameters in listed.items()}
    assert follows == {'policy_node': True, 'recorder_node': True, 'streamer_node': True, 'sim_node': False}
    assert listed['streamer_node']['robot_state_topic'] == 'sim_node/robot_mode'
    assert listed['streamer_node']['gripper_type'] == 'std_msgs/msg/Float64'


def test_a_teleoperated_cell_runs_until_it_is_ended(installed: Path, tmp_path: Path) -> None:
    run = run_with(tmp_path, source=Source.SIM, teleoperate=True, record=tmp_path / 'd', prompt='push')
    listed = {process.executable: process.parameters for process in processes(run)}
    assert list(listed) == ['recorder_node', 'teleop_node', 'sim_node']
    assert not listed['sim_node']['end_when_inserted']
    assert listed['sim_node']['seconds'] == SIM_LONGEST_S
    assert listed['teleop_node']['use_sim_time']
    assert [*processes(run_with(tmp_path, source=Source.SIM, teleoperate=True))]


def test_the_cells_expert_moves_the_arm_only_when_asked(installed: Path, tmp_path: Path) -> None:
    for expert in (False, True):
        run = run_with(tmp_path, source=Source.SIM, record=tmp_path / 'd', prompt='push', expert=expert)
        listed = {process.executable: process.parameters for process in processes(run)}
        assert listed['sim_node']['expert'] is expert
        assert 'streamer_node' not in listed


def test_all_nodes_of_a_run_know_each_other_and_no_other_run(installed: Path, tmp_path: Path) -> None:
    options = {'checkpoint': tmp_path / 'c', 'prompt': 'push', 'execute': True, 'record': tmp_path / 'd'}
    ours, theirs = ({p.parameters['run_id'] for p in processes(run_with(tmp_path, **options))} for _ in 'ab')
    assert len(ours) == len(theirs) == 1
    assert ours != theirs


def test_a_robot_moves_only_when_asked(installed: Path, tmp_path: Path) -> None:
    def names(**options) -> list[str]:
        run = run_with(tmp_path, checkpoint=tmp_path / 'c', prompt='push', **options)
        return [process.executable for process in processes(run)]

    assert 'streamer_node' not in names()
    assert 'streamer_node' in names(execute=True)


def test_a_package_that_is_not_installed_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    with pytest.raises(GraphError, match='make build'):
        package_prefix()


def test_namespace_remappings_and_simulated_time_reach_every_node(installed: Path, tmp_path: Path) -> None:
    listed = processes(
        run_with(
            tmp_path,
            checkpoint=tmp_path / 'c',
            prompt='push',
            execute=True,
            view='rviz',
            namespace='left/',
            remaps=('camera:=/cam0',),
            use_sim_time=True,
        )
    )
    assert len(listed) == 3
    for process in listed:
        line = ' '.join(command(process))
        assert '-r __ns:=/left -r camera:=/cam0' in line
        assert '-p use_sim_time:=true' in line
        assert process.summary_file == tmp_path / 'run' / 'left' / f'{process.executable}.json'


def test_a_bag_played_in_simulated_time_gives_the_time(installed: Path, tmp_path: Path, bag: Path) -> None:
    *_, source = processes(run_with(tmp_path, view='rviz', source=Source.BAG, bag=bag, use_sim_time=True))
    assert source.parameters['publish_clock']
    assert source.parameters['stamps'] == 'keep'
    assert not source.parameters['use_sim_time'], 'it would wait for its own clock'


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'namespace': 'le ft'}, "namespace is 'le ft'; expected letters"),
        ({'namespace': '2left'}, "namespace is '2left'"),
        ({'remaps': ('/a=/b',)}, "remapping '/a=/b'; expected FROM:=TO"),
        ({'remaps': ('__node:=b',)}, "remapping '__node:=b'; expected FROM:=TO"),
    ],
)
def test_names_that_ros_would_refuse_in_every_node_are_refused_once(
    installed: Path, tmp_path: Path, options: dict, words: str
) -> None:
    with pytest.raises(GraphError, match=words):
        processes(run_with(tmp_path, checkpoint=tmp_path / 'c', prompt='push', **options))
