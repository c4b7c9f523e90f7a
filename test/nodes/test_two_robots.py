"""Two robots in one domain: each in a namespace of its own, neither receives what belongs to the other."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from diagnostic_msgs.msg import DiagnosticArray

from restac_ros.dataset.bag.bag_reader import open_bag

SIDES = ('left', 'right')
DEADLINE_S = 240.0
SMALL_IMAGES = """
/**/synthetic_node:
  ros__parameters: {camera_width_px: 64, camera_height_px: 48}
"""


@pytest.fixture
def relative_contract(repository: Path, tmp_path: Path) -> Path:
    """The repository's contract with relative topics, as one file for all robots of a kind has them."""
    text = (repository / 'config' / 'contract.yaml').read_text().replace('topic: /', 'topic: ')
    # No test of speed: two robots are more than a busy machine keeps up with.
    text = text.replace('rate_hz: 1000', 'rate_hz: 100').replace('rate_hz: 30\n', 'rate_hz: 15\n')
    text = text.replace('fps: 15', 'fps: 5')  # a source that is starved still is faster than the frames
    text = re.sub(r'max_age_ms: \d+', 'max_age_ms: 2000', text)
    path = tmp_path / 'relative.yaml'
    path.write_text(text)
    return path


def test_two_runs_side_by_side_record_each_its_own_robot(
    ros_domain: int, relative_contract: Path, tmp_path: Path
) -> None:
    env = {**os.environ, 'ROS_DOMAIN_ID': str(ros_domain)}
    (tmp_path / 'small.yaml').write_text(SMALL_IMAGES)
    runs = {}
    for side in SIDES:
        line = ['up', '--namespace', side, '--contract', relative_contract, '--run-dir', tmp_path / 'run']
        line += ['--record', tmp_path / side, '--prompt', f'push {side}', '--params', tmp_path / 'small.yaml']
        line += ['--source', 'synthetic', '--seconds', '2']
        said = (tmp_path / f'{side}.log').open('wb')
        runs[side] = subprocess.Popen(
            [sys.executable, '-P', '-m', 'restac_ros.cli', *map(str, line)], env=env, stdout=said, stderr=said
        )
    codes = {side: run.wait(DEADLINE_S) for side, run in runs.items()}
    said = {side: (tmp_path / f'{side}.log').read_text() for side in SIDES}
    assert codes == dict.fromkeys(SIDES, 0), said
    for side in SIDES:
        folder = tmp_path / 'run' / side
        source = json.loads((folder / 'synthetic_node.json').read_text())
        recorder = json.loads((folder / 'recorder_node.json').read_text())
        assert recorder['node'] == f'{side}/recorder_node'
        assert recorder['received'] == source['streams'], said[side]
        bag = open_bag(Path(recorder['journal']))
        assert all(topic.startswith(f'/{side}/') for topic in bag.topics)


def test_streamers_and_views_follow_the_policy_of_their_own_namespace(
    start_node, robot, wait_until, relative_contract: Path
) -> None:
    names = ('streamer_node', 'gate_view_node')
    nodes = {
        (side, name): start_node(name, '-r', f'__ns:=/{side}', contract=relative_contract)
        for side in SIDES
        for name in names
    }
    diagnostics = robot.listen('/diagnostics', DiagnosticArray, 100)

    def names_of(infos: list) -> set[str]:
        return {f'{info.node_namespace}/{info.node_name}' for info in infos}

    def subscribers(topic: str) -> set[str]:
        return names_of(robot.node.get_subscriptions_info_by_topic(topic))

    def publishers(topic: str) -> set[str]:
        return names_of(robot.node.get_publishers_info_by_topic(topic))

    def all_is_connected() -> bool:
        return all(
            subscribers(f'/{side}/policy_node/action_chunk') == {f'/{side}/{name}' for name in names}
            and publishers(f'/{side}/target_pose') == {f'/{side}/streamer_node'}
            for side in SIDES
        )

    wait_until(all_is_connected, 'every node is connected inside its namespace')
    assert subscribers('/policy_node/action_chunk') == set()
    assert publishers('/target_pose') == set()
    said = wait_until(
        lambda: {
            (status.name, status.hardware_id) for message in diagnostics for status in message.status
        }.issuperset({(f'{side}/{name}: state', f'restac_ros/{side}') for side in SIDES for name in names}),
        'all four report under their full names',
    )
    assert said
    for node in nodes.values():
        assert node.end() == 0, node.log


def test_messages_name_a_stream_by_the_topic_it_was_remapped_to(start_node, tmp_path: Path) -> None:
    recorder = start_node(
        'recorder_node',
        '-r',
        '/gelsight/left/image_raw:=/cell/gel',
        journal_dir=tmp_path / 'journals',
        task='push',
    )
    recorder.wait_for(r'gelsight_left \(/cell/gel\)')
    assert '/gelsight/left/image_raw' not in recorder.log


def test_remappings_that_form_a_chain_are_refused(start_node, tmp_path: Path) -> None:
    swapped = ['-r', '/cameras/main/color/image_raw:=/cameras/side/color/image_raw']
    swapped += ['-r', '/cameras/side/color/image_raw:=/elsewhere']
    recorder = start_node(
        'recorder_node', *swapped, journal_dir=tmp_path / 'j', task='push', exit_on_refusal=True
    )
    assert recorder.wait() == 1
    assert 'which is itself remapped to /elsewhere' in recorder.log
