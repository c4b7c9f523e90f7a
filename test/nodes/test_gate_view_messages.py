"""Shapes and images as messages: nothing is lost, and rviz is told what went away."""

import numpy as np
import pytest

from markers import shapes_of

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from visualization_msgs.msg import Marker, MarkerArray

from restac_ros.geometry import quaternion as quat
from restac_ros.nodes.gate_view.view_messages import ImageWriter, MarkerWriter
from restac_ros.view.shapes import Shape


def line(name: str = 'ring', number: int = 0, count: int = 5, varied: bool = True) -> Shape:
    rng = np.random.default_rng(count)
    pose = np.eye(4)
    pose[:3, :3] = quat.to_matrix(quat.from_rotvec(rng.normal(size=3)))
    pose[:3, 3] = rng.normal(size=3)
    colours = rng.uniform(size=(count, 4) if varied else (1, 4)).astype(np.float32)
    colours = np.broadcast_to(colours, (count, 4))
    return Shape(name, 'line_strip', pose, 0.005, rng.normal(size=(count, 3)), colours, number=number)


def text(words: str) -> Shape:
    return Shape('label', 'text', np.eye(4), 0.02, np.zeros((0, 3)), np.ones((1, 4), np.float32), words)


def over_the_wire(array: MarkerArray) -> MarkerArray:
    return deserialize_message(serialize_message(array), MarkerArray)


@pytest.mark.parametrize('varied', [True, False])
def test_shapes_survive_the_message(varied: bool) -> None:
    sent = [line(varied=varied), line('chunk', count=2, varied=varied), text('gate 0.50')]
    got = shapes_of(over_the_wire(MarkerWriter('fr3_link0').write(sent)).markers)
    for before, after in zip(sent, got, strict=True):
        for name in ('name', 'number', 'kind', 'text'):
            assert getattr(after, name) == getattr(before, name)
        np.testing.assert_allclose(after.pose, before.pose, atol=1e-12)
        np.testing.assert_allclose(after.points, before.points)
        np.testing.assert_allclose(np.broadcast_to(after.colours, before.colours.shape), before.colours)
        assert after.size_m == pytest.approx(before.size_m)


def test_markers_have_frame_lifetime_and_no_stamp() -> None:
    [marker] = over_the_wire(MarkerWriter('panda_link0').write([line()])).markers
    assert marker.header.frame_id == 'panda_link0'
    assert (marker.header.stamp.sec, marker.header.stamp.nanosec) == (0, 0)
    assert marker.lifetime.sec == 1
    assert (marker.scale.y, marker.scale.z) == (0, 0)  # a line has a width only


def test_what_went_away_is_deleted_once() -> None:
    writer = MarkerWriter('fr3_link0')
    writer.write([line(number=0), line(number=1)])
    second = over_the_wire(writer.write([line(number=0)])).markers
    assert [(m.id, m.action) for m in second] == [(1, Marker.DELETE), (0, Marker.ADD)]
    assert [m.id for m in writer.write([line(number=0)]).markers] == [0]
    back = over_the_wire(writer.write([line(number=0), line(number=1)])).markers
    assert [(m.id, m.action) for m in back] == [(0, Marker.ADD), (1, Marker.ADD)]


def test_a_marker_filled_anew_keeps_nothing_of_before() -> None:
    writer = MarkerWriter('fr3_link0')
    writer.write([line(count=9, varied=True)])
    [marker] = over_the_wire(writer.write([line(count=3, varied=False)])).markers
    assert (len(marker.points), len(marker.colors)) == (3, 0)


def test_no_shapes_is_a_message_too() -> None:
    assert MarkerWriter('fr3_link0').write([]).markers == []


def test_an_image_is_the_same_pixels_also_after_one_of_another_size() -> None:
    writer, rng = ImageWriter('fr3_hand_tcp'), np.random.default_rng(0)
    for height, width in ((7, 5), (7, 5), (4, 9)):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        message = writer.write(image, Time(sec=3))
        assert (message.height, message.width, message.encoding) == (height, width, 'rgb8')
        assert message.step == 3 * width
        assert (message.header.frame_id, message.header.stamp.sec) == ('fr3_hand_tcp', 3)
        np.testing.assert_array_equal(np.frombuffer(message.data, np.uint8).reshape(image.shape), image)
