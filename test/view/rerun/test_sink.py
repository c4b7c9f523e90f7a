"""What is logged for Rerun, read back from the file: the numbers and images that were given."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('rerun', reason='the extra view is not installed')

from rerun_file import RerunFile
from restac_ros.contract.schema import Contract
from restac_ros.framing.kinematics import fk_hand_tcp, joint_origins_in_base_m
from restac_ros.view.colours import gate_rgba
from restac_ros.view.rerun import layout
from restac_ros.view.rerun.archetypes import LONGEST_PX, jpeg_image, shape_archetypes
from restac_ros.view.rerun.recordings import new_recording
from restac_ros.view.rerun.sink import RerunSink
from restac_ros.view.samples import GateSample, RunOrigin, chunk_sample, subtask_words
from restac_ros.view.scene import SceneOptions
from restac_ros.view.shapes import Shape

S = 10**9
READY_RAD = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])
EPOCH_NS = 1_760_000_000 * S


@pytest.fixture
def logged(contract: Contract, tmp_path: Path) -> Callable[[Callable[[RerunSink], None]], RerunFile]:
    """Let a test log into a file, and read it back."""

    def run(fill: Callable[[RerunSink], None]) -> RerunFile:
        recording = new_recording('test', contract)
        recording.save(tmp_path / 'test.rrd')
        fill(RerunSink(recording, contract, 'gelsight_left', SceneOptions(reference_frames=2), EPOCH_NS))
        recording.flush()
        recording.disconnect()
        return RerunFile(tmp_path / 'test.rrd')

    return run


def decoded(data: list[int]) -> np.ndarray:
    picture = Image.open(io.BytesIO(bytes(data)))
    assert picture.format == 'JPEG'
    return np.asarray(picture).astype(int)


def test_the_numbers_of_gates_and_chunks_are_those_of_the_messages(
    logged: Callable, make_gate: Callable[..., GateSample], chunk_message: Callable[..., SimpleNamespace]
) -> None:
    def fill(sink: RerunSink) -> None:
        sink.add_gate(make_gate(S, gate=0.25), S)
        sink.add_gate(make_gate(2 * S, gate=0.75, code_index=-1), 2 * S)
        sink.add_chunk(chunk_sample(chunk_message(), 'fr3_link0'), 2 * S)

    file = logged(fill)
    assert file.values('/plots/gate', 'Scalars:scalars') == [0.25, 0.75]
    assert file.times_ns('/plots/gate') == [EPOCH_NS + S, EPOCH_NS + 2 * S]
    assert file.values('/plots/logvar', 'Scalars:scalars') == [0.4, 0.4]
    assert file.values('/plots/code', 'Scalars:scalars') == [12.0], 'encoders without codes have none'
    assert file.values('/plots/durations/touch', 'Scalars:scalars') == [9.0, 9.0]
    assert file.values('/plots/durations/act', 'Scalars:scalars') == [30.0]
    assert file.values('/plots/durations/prefix_age', 'Scalars:scalars') == [90.0]
    assert file.blueprints == 1


def test_chunk_path_and_arm_are_drawn_where_they_are(
    logged: Callable, make_gate: Callable[..., GateSample], chunk_message: Callable[..., SimpleNamespace]
) -> None:
    chunk = chunk_sample(chunk_message(), 'fr3_link0')

    def fill(sink: RerunSink) -> None:
        sink.add_opening(0.04)
        sink.add_pose(fk_hand_tcp(READY_RAD), S)
        sink.add_pose(fk_hand_tcp(READY_RAD + 0.1), S + 10)
        sink.add_joints(READY_RAD, S)
        sink.add_gate(make_gate(S, gate=0.7), S)
        sink.add_chunk(chunk, S)
        sink.draw(S + 20)

    file = logged(fill)
    [strips] = file.values('/world/chunk', 'LineStrips3D:strips')
    drawn = np.concatenate([strips] if np.ndim(strips) == 2 else strips)
    np.testing.assert_allclose(np.unique(drawn, axis=0), np.unique(chunk.points_m, axis=0), atol=1e-6)
    [arm] = file.values('/world/robot', 'LineStrips3D:strips')
    np.testing.assert_allclose(arm, joint_origins_in_base_m(READY_RAD), atol=1e-6)
    [path] = file.values('/world/executed_path', 'LineStrips3D:strips')
    np.testing.assert_allclose(path[-1], fk_hand_tcp(READY_RAD + 0.1)[:3, 3], atol=1e-6)
    fingers = np.array(file.values('/world/fingers', 'LineStrips3D:strips')[0])
    np.testing.assert_allclose(np.linalg.norm(fingers[0] - fingers[1], axis=-1), 0.04, atol=1e-6)
    [label] = file.values('/world/label', 'Points3D:labels')
    assert label == 'gate 0.70'


def test_images_come_as_jpeg_and_the_change_once_there_is_a_reference(logged: Callable) -> None:
    camera = np.full((600, 800, 3), (200, 100, 50), np.uint8)
    free, pressed = np.full((128, 160, 3), 90, np.uint8), np.full((128, 160, 3), 90, np.uint8)
    pressed[40:80, 60:100] = (90, 190, 90)

    def fill(sink: RerunSink) -> None:
        sink.add_image('main', camera, S)
        for tick, image in enumerate((free, free, pressed)):
            sink.add_tactile(image, S + tick)

    file = logged(fill)
    [image] = file.values('/cameras/main', 'EncodedImage:blob')
    assert decoded(image).shape == (360, LONGEST_PX, 3)
    assert np.abs(decoded(image) - (200, 100, 50)).max() <= 3
    touches = file.values('/touch/image', 'EncodedImage:blob')
    assert len(touches) == 3
    assert np.abs(decoded(touches[2])[60, 80] - (90, 190, 90)).max() < 12
    changes = file.values('/touch/change', 'EncodedImage:blob')
    assert len(changes) == 2
    hot, cold = decoded(changes[1])[60, 80], decoded(changes[1])[10, 10]
    assert hot.max() > 150 > cold.max()
    levels = file.values('/plots/contact', 'Scalars:scalars')
    assert levels[0] == 0
    assert levels[1] == pytest.approx(100, abs=2)


def test_words_are_logged_when_they_change(logged: Callable, make_gate: Callable[..., GateSample]) -> None:
    def fill(sink: RerunSink) -> None:
        for tick in range(3):
            sink.add_gate(make_gate(S + tick, origin=RunOrigin('insert the plug', 'abc')), S + tick)
            sink.add_hold('joints are stale' if tick < 2 else '', S + tick)
            sink.add_words('texts/subtask', 'reach' if tick < 1 else 'insert', S + tick)

    file = logged(fill)
    assert file.values('/texts/prompt', 'TextLog:text') == ['insert the plug (checkpoint abc)']
    assert file.values('/texts/policy', 'TextLog:text') == ['held: joints are stale', 'planning']
    assert file.values('/texts/policy', 'TextLog:level') == ['WARN', 'INFO']
    assert file.values('/texts/subtask', 'TextLog:text') == ['reach', 'insert']


def test_the_present_words_are_said_again_for_browsers_that_come_later(
    logged: Callable, make_gate: Callable[..., GateSample]
) -> None:
    def fill(sink: RerunSink) -> None:
        sink.draw(0)
        sink.add_gate(make_gate(S, origin=RunOrigin('insert the plug', 'abc')), S)
        sink.draw(S)
        for second in range(1, 13):
            sink.add_subtask('reach' if second < 4 else 'insert', second * S)
            sink.add_hold('joints are stale' if second < 4 else '', second * S)
            sink.draw(second * S)

    file = logged(fill)
    origin = 'prompt: insert the plug (checkpoint abc)'
    held = f'policy: held: joints are stale\n{origin}\nsubtask: reach'
    plans = f'policy: planning\n{origin}\nsubtask: insert'
    assert file.values('/texts/now', 'TextDocument:text') == [origin, held, plans, plans]
    times_s = [(time_ns - EPOCH_NS) / S for time_ns in file.times_ns('/texts/now')]
    assert times_s == [1, 1, 4, 9], 'when they change, and 5 s later'


def origins(part: object) -> set[str]:
    """Entities that a blueprint's views show."""
    if hasattr(part, 'origin'):
        return {str(part.origin)}
    return set().union(*(origins(inner) for inner in part.contents))


@pytest.mark.parametrize('is_dataset', [False, True])
def test_the_page_shows_the_present_words_and_touch_only_where_there_is_a_sensor(is_dataset: bool) -> None:
    touching, other = (
        origins(layout.blueprint(['main'], has_touch, is_dataset).root_container)
        for has_touch in (True, False)
    )
    assert {layout.AT_NOW, layout.AT_WORLD, layout.camera_path('main')} <= touching & other
    assert {layout.AT_TOUCH_IMAGE, layout.AT_TOUCH_CHANGE} <= touching
    assert not [path for path in other if path.startswith(layout.AT_TOUCH)]


def test_what_is_no_more_is_cleared(
    logged: Callable, make_gate: Callable[..., GateSample], chunk_message: Callable[..., SimpleNamespace]
) -> None:
    """A recording that begins anew has no chunk yet."""

    def fill(sink: RerunSink) -> None:
        sink.add_chunk(chunk_sample(chunk_message(stamp_ns=100 * S), 'fr3_link0'), S)
        sink.draw(S + 1)
        sink.add_gate(make_gate(S), S + 2)
        sink.draw(S + 3)

    assert 'Clear:is_recursive' in str(logged(fill).columns('/world/chunk'))


def test_a_line_of_two_colours_becomes_two_lines_that_touch() -> None:
    points = np.arange(12.0).reshape(4, 3)
    colours = np.stack([gate_rgba(0.1), gate_rgba(0.1), gate_rgba(0.9), gate_rgba(0.9)])
    pose = np.eye(4)
    pose[:3, 3] = 1.0
    lines = shape_archetypes([Shape('chunk', 'line_strip', pose, 0.01, points, colours)])['chunk']
    strips = [np.array(strip) for strip in lines.strips.as_arrow_array().to_pylist()]
    np.testing.assert_allclose(strips[0], points[:2] + 1)
    np.testing.assert_allclose(strips[1], points[1:] + 1)


def test_small_images_keep_their_size() -> None:
    image = np.zeros((16, 20, 3), np.uint8)
    assert decoded(jpeg_image(image).blob.as_arrow_array().to_pylist()[0]).shape == (16, 20, 3)


def test_the_live_subtask_is_a_text_with_who_said_it_and_stands_once(logged: Callable) -> None:
    def said(text: str, source: int) -> str:
        run = SimpleNamespace(prompt=text)
        message = SimpleNamespace(run=run, source=source, SOURCE_OPERATOR=1)
        return subtask_words(SimpleNamespace(**vars(message), mean_log_probability=np.log(0.9)))

    def fill(sink: RerunSink) -> None:
        for number, (text, source) in enumerate([('reach', 0), ('reach', 0), ('wait', 1)]):
            sink.add_words(layout.AT_SUBTASK, said(text, source), number * S)

    file = logged(fill)
    assert file.values('/texts/subtask', 'TextLog:text') == [
        'reach (network, 90% a token)',
        'wait (operator)',
    ]
