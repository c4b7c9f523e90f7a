"""config/restac.rviz: displays that exist in rviz2, topics that are published, a QoS that matches."""

from pathlib import Path

import pytest
import yaml

from restac_ros.contract.load import load_contract

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from restac_ros.nodes.gate_view import gate_view_node
from restac_ros.nodes.subscriptions import stream_qos

# rviz_default_plugins/plugins_description.xml of ROS 2 Jazzy: class name -> message it shows.
DISPLAYS = {
    'rviz_default_plugins/Grid': None,
    'rviz_default_plugins/Image': Image,
    'rviz_default_plugins/MarkerArray': MarkerArray,
}
OTHER_CLASSES = {
    'rviz_common/Displays',
    'rviz_common/Views',
    'rviz_default_plugins/FocusCamera',
    'rviz_default_plugins/Interact',
    'rviz_default_plugins/Measure',
    'rviz_default_plugins/MoveCamera',
    'rviz_default_plugins/Orbit',
    'rviz_default_plugins/Select',
    'rviz_default_plugins/TF',
}
# rviz_common/src/rviz_common/properties/qos_profile_property.cpp: the words rviz2 reads; others are ignored.
RELIABILITY = {'Reliable': ReliabilityPolicy.RELIABLE, 'Best Effort': ReliabilityPolicy.BEST_EFFORT}
DURABILITY = {'Volatile': DurabilityPolicy.VOLATILE, 'Transient Local': DurabilityPolicy.TRANSIENT_LOCAL}
HISTORY = {'Keep Last': HistoryPolicy.KEEP_LAST, 'Keep All': HistoryPolicy.KEEP_ALL}
PUBLISHED = {
    '/gate_view_node/markers': MarkerArray,
    '/gate_view_node/tactile': Image,
    '/gate_view_node/chart': Image,
}


@pytest.fixture(scope='module')
def config(repository: Path) -> dict:
    return yaml.safe_load((repository / 'config' / 'restac.rviz').read_text())


@pytest.fixture(scope='module')
def displays(config: dict) -> list[dict]:
    return config['Visualization Manager']['Displays']


def wanted_qos(topic: dict) -> QoSProfile:
    return QoSProfile(
        depth=topic['Depth'],
        history=HISTORY[topic['History Policy']],
        reliability=RELIABILITY[topic['Reliability Policy']],
        durability=DURABILITY[topic['Durability Policy']],
        liveliness=LivelinessPolicy.AUTOMATIC,
    )


def classes_in(value: object) -> set[str]:
    """Every plugin class named anywhere in the configuration."""
    if isinstance(value, list):
        return set().union(*map(classes_in, value))
    if not isinstance(value, dict):
        return set()
    own = {value['Class']} if value.get('Class') else set()
    return own.union(*map(classes_in, value.values()))


def test_every_class_exists_in_jazzy(config: dict) -> None:
    assert classes_in(config) <= set(DISPLAYS) | OTHER_CLASSES
    assert config['Visualization Manager']['Views']['Current']['Class'] == 'rviz_default_plugins/Orbit'


def test_all_that_is_published_is_shown_by_a_display_of_its_type(displays: list[dict]) -> None:
    shown = {d['Topic']['Value']: DISPLAYS[d['Class']] for d in displays if d['Enabled'] and 'Topic' in d}
    assert shown == PUBLISHED
    names = {gate_view_node.MARKERS, gate_view_node.TACTILE, gate_view_node.CHART}
    assert {name.replace('~', '/gate_view_node') for name in names} == set(PUBLISHED)


def test_every_qos_matches_its_publisher(displays: list[dict], repository: Path) -> None:
    cameras = load_contract(repository / 'config' / 'contract.yaml').by_role('camera')
    offered = dict.fromkeys(PUBLISHED, gate_view_node.OUTPUT_QOS)
    offered |= {camera.topic: stream_qos(camera, camera.rate_hz) for camera in cameras.values()}
    topics = [display['Topic'] for display in displays if 'Topic' in display]
    assert len(topics) >= len(PUBLISHED)
    for topic in topics:
        qos = offered[topic['Value']]
        qos.liveliness = LivelinessPolicy.AUTOMATIC  # what every middleware takes for the default
        compatible, reason = qos_check_compatible(qos, wanted_qos(topic))
        assert compatible == QoSCompatibility.OK, f'{topic["Value"]}: {reason}'


def test_the_fixed_frame_is_that_of_the_markers(config: dict, repository: Path) -> None:
    robot = load_contract(repository / 'config' / 'contract.yaml').robot
    assert config['Visualization Manager']['Global Options']['Fixed Frame'] == robot.base_frame


def test_the_background_is_the_one_the_colours_were_chosen_for(config: dict) -> None:
    from restac_ros.view.colours import BACKGROUND

    written = config['Visualization Manager']['Global Options']['Background Color']
    assert tuple(int(part) for part in written.split(';')) == BACKGROUND


def test_names_are_unique_and_enabled_displays_say_so_twice(displays: list[dict]) -> None:
    """rviz stores the tick in both `Enabled` and `Value`; where they differ the second counts."""
    assert len({display['Name'] for display in displays}) == len(displays)
    assert all(display['Enabled'] == display['Value'] for display in displays)
