"""gate_view_node as a process: what it publishes follows what it is fed, and bad input is named, not shown.

Nothing here waits for a fixed time: the feeder publishes until what is expected has come, or a generous
deadline has passed.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from markers import shapes_of
from node_process import NodeProcess

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from policy_feeder import READY_RAD, PolicyFeeder, plain_image, tool_position
from restac_ros.framing.kinematics import fk_hand_tcp
from restac_ros.nodes.gate_view.gate_view_node import OUTPUT_QOS
from restac_ros.view.colours import gate_colours
from restac_ros.view.preview import save_preview
from restac_ros.view.shapes import RING_RADIUS_M, Shape

RESIDUAL_COLUMN = 2 * 160 + 10  # where it begins, right of image and heat


class Feeder(PolicyFeeder):
    """Publishes the robot's and the policy's topics until the view shows what is expected."""

    def __init__(self, contract_file: Path, domain: int) -> None:
        super().__init__(contract_file, domain)
        self.got = SimpleNamespace(markers=None, tactile=None, chart=None, diagnostics='', reference='')
        for name, kind in (('markers', MarkerArray), ('tactile', Image), ('chart', Image)):
            self.node.create_subscription(kind, f'/gate_view_node/{name}', self._keep(name), OUTPUT_QOS)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, 10)

    def shapes(self) -> dict[tuple[str, int], Shape]:
        """The last markers."""
        found = shapes_of(self.got.markers.markers) if self.got.markers else []
        return {(shape.name, shape.number): shape for shape in found}

    def label(self) -> str:
        """The text at the tool."""
        shape = self.shapes().get(('label', 0))
        return shape.text if shape else ''

    def image(self, name: str) -> np.ndarray:
        """The last picture of 'tactile' or 'chart', uint8 [H, W, 3] RGB."""
        message = getattr(self.got, name)
        return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)

    def seen(self) -> str:
        return self.got.diagnostics

    def _keep(self, name: str) -> Callable[[object], None]:
        return lambda message: setattr(self.got, name, message)

    def _diagnose(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name == 'gate_view_node: view':
                self.got.diagnostics = status.message
                self.got.reference = {pair.key: pair.value for pair in status.values}.get('reference', '')


def pressed_image() -> np.ndarray:
    """A disc of 40 px at column 100, row 120, of twice the size that the model sees."""
    return cv2.circle(plain_image(), (100, 120), 40, (90, 170, 90), -1)


@pytest.fixture
def start(start_node: Callable[..., NodeProcess]) -> Callable[..., NodeProcess]:
    return partial(start_node, 'gate_view_node', reference_frames=3)


@pytest.fixture
def feeder(repository: Path, ros_domain: int) -> Iterator[Feeder]:
    feeder = Feeder(repository / 'config' / 'contract.yaml', ros_domain)
    yield feeder
    feeder.close()


def test_gate_chunk_and_touch_are_shown_where_they_belong(
    start: Callable, feeder: Feeder, tmp_path: Path
) -> None:
    view = start()
    feeder.until(  # topics are found one after the other: pictures without a residual come before
        lambda: (
            'gate 0.75' in feeder.label()
            and ('chunk steps', 0) in feeder.shapes()
            and feeder.got.chart is not None
            and feeder.got.tactile is not None
            and feeder.got.tactile.width > RESIDUAL_COLUMN
        )
    )
    shapes = feeder.shapes()
    assert {marker.header.frame_id for marker in feeder.got.markers.markers} == {'fr3_link0'}
    np.testing.assert_allclose(shapes['ring', 0].pose, fk_hand_tcp(np.array(READY_RAD)), atol=1e-6)
    arc = np.linalg.norm(np.diff(shapes['ring', 1].in_base(), axis=0), axis=1).sum()
    assert arc == pytest.approx(0.75 * 2 * np.pi * RING_RADIUS_M, rel=1e-2)
    path = shapes['chunk', 0].in_base()
    np.testing.assert_allclose(path[0], tool_position(), atol=1e-6)
    np.testing.assert_allclose(path[-1] - path[0], [0, 0, -0.16], atol=1e-6)
    np.testing.assert_allclose(shapes['chunk steps', 0].colours[0, :3] * 255, gate_colours(0.75), atol=1)
    assert 'touch event 12' in shapes['label', 0].text
    assert feeder.got.chart.encoding == feeder.got.tactile.encoding == 'rgb8'
    beside = feeder.image('tactile')[:, RESIDUAL_COLUMN:]  # one position is hot
    assert beside[40:-40].astype(int).max() > 200

    png = save_preview(
        tmp_path / 'rviz.png',
        list(shapes.values()),
        feeder.image('tactile'),
        feeder.image('chart'),
        'fr3_link0',
    )
    picture = cv2.imread(str(png))[..., ::-1].astype(int)
    assert (np.abs(picture - gate_colours(0.75).astype(int)).max(axis=-1) < 25).sum() > 500

    assert view.end() == 0
    assert view.summary['received']['gate'] > 0
    assert view.summary['latencies_ms']['draw']['count'] > 0


def test_a_press_is_hot_until_it_becomes_the_reference(start: Callable, feeder: Feeder) -> None:
    start()

    def heat() -> int:
        """How much brighter the press is than the rest; zoom and caption leave it at about (100, 140)."""
        image = feeder.image('tactile').astype(int)
        return int(image[130:150, 90:110].max() - image[130:150, 250:270].max())

    feeder.until(lambda: feeder.got.tactile is not None and 'gate' in feeder.label())
    feeder.until(lambda: feeder.got.diagnostics == 'all inputs are shown')
    feeder.until(lambda: feeder.got.reference == '3 of 3')  # pictures come before, from the first frame on
    feeder.now.image = pressed_image()
    feeder.until(lambda: heat() > 100)
    answer = feeder.request('/gate_view_node/set_reference', Trigger)
    assert answer.success
    assert 'next 3 tactile frames' in answer.message
    feeder.until(lambda: heat() < 80)


def test_a_bag_is_shown_as_what_is_live(
    start: Callable, start_node: Callable, feeder: Feeder, tmp_path: Path
) -> None:
    feeder.now.gate = 0.6
    bag = feeder.record(tmp_path / 'bag', ticks=40)
    start()
    start_node('replay_node', bag=bag, loop=True, share_topics=True)  # the feeder has them, too
    feeder.until(
        lambda: (
            'gate 0.60' in feeder.label()
            and ('chunk', 0) in feeder.shapes()
            and feeder.got.tactile is not None
        ),
        acting=False,
    )
    np.testing.assert_allclose(feeder.shapes()['ring', 0].pose[:3, 3], tool_position(), atol=1e-6)


def test_a_policy_that_stops_is_said_to_have_stopped(start: Callable, feeder: Feeder) -> None:
    start(stale_s=0.5)
    feeder.until(lambda: 'gate 0.75' in feeder.label())
    feeder.now.policy = False
    feeder.until(lambda: feeder.label().startswith('no gate for'))
    assert ('ring', 1) not in feeder.shapes()


def test_bad_input_is_named_and_recovered_from(start: Callable, feeder: Feeder) -> None:
    start()
    feeder.until(lambda: 'gate 0.75' in feeder.label())
    feeder.now.gate = float('nan')
    feeder.until(lambda: 'gate nan' in feeder.label())
    assert ('ring', 1) not in feeder.shapes()
    feeder.now.gate, feeder.now.cut = 0.4, 5
    feeder.until(lambda: 'delta_pose has 43 numbers, expected 48' in feeder.got.diagnostics)
    feeder.now.cut, feeder.now.encoding = 0, 'mono16'
    feeder.until(lambda: "encoding 'mono16'" in feeder.got.diagnostics)
    feeder.now.encoding = 'bgr8'
    feeder.until(lambda: feeder.got.diagnostics == 'all inputs are shown' and 'gate 0.40' in feeder.label())


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'heat_threshold': 90.0}, 'threshold 90, full 60'),
        ({'tactile_stream': 'gelsight_right'}, "'gelsight_right'"),
        ({'rate_hz': 0.0}, "'rate_hz' is 0.0"),
        ({'rate': 15.0}, 'rate_hz'),
    ],
)
def test_contradictory_parameters_are_refused_with_the_remedy(
    parameters: dict, words: str, start: Callable
) -> None:
    view = start(exit_on_refusal=True, **parameters)
    assert view.wait() == 1
    assert 'cannot configure' in view.log
    assert words in view.log
