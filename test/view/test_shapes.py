"""Geometry of what is drawn in space: lengths and angles are the gate, frames are kept, rviz accepts it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restac_ros.geometry import quaternion as quat
from restac_ros.view.colours import INVALID, gate_colours, rgba
from restac_ros.view.errors import ViewError
from restac_ros.view.samples import chunk_sample
from restac_ros.view.shapes import (
    BAR_HEIGHT_M,
    PAST_ALPHA,
    RING_RADIUS_M,
    Shape,
    bar,
    chunk_shapes,
    executed_path,
    gate_shapes,
    ring,
)

gates = st.floats(0, 1)
vectors = st.tuples(*[st.floats(-1.5, 1.5)] * 3)
poses = st.tuples(vectors, vectors)


def pose_of(parts: tuple[tuple[float, ...], tuple[float, ...]]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = quat.to_matrix(quat.from_rotvec(np.array(parts[0])))
    pose[:3, 3] = parts[1]
    return pose


def length_m(shape: Shape) -> float:
    return float(np.linalg.norm(np.diff(shape.in_base(), axis=0), axis=1).sum())


def check_for_rviz(shapes: list[Shape]) -> None:
    """What rviz refuses or warns of: too few points, a colour for some points only, doubled identities."""
    assert len({(shape.name, shape.number) for shape in shapes}) == len(shapes)
    for shape in shapes:
        assert shape.size_m > 0
        assert np.isfinite(shape.points).all()
        assert np.isfinite(shape.colours).all()
        assert ((shape.colours >= 0) & (shape.colours <= 1)).all()
        if shape.kind == 'text':
            assert shape.text.isascii()  # rviz's font and OpenCV's have no others
            assert shape.colours.shape == (1, 4)
        else:
            assert len(shape.points) >= (2 if shape.kind == 'line_strip' else 1)
            assert shape.colours.shape == (len(shape.points), 4)


@given(gates, poses)
def test_the_arc_is_as_long_as_the_gate_is_open(gate: float, parts: tuple) -> None:
    pose = pose_of(parts)
    track, *arc = ring(pose, gate)
    relative = track.in_base() - pose[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(relative, axis=1), RING_RADIUS_M, atol=1e-9)
    np.testing.assert_allclose(relative @ pose[:3, 2], 0, atol=1e-9)  # in the plane across the tool's axis
    if gate == 0:
        assert arc == []
        return
    # Chords are shorter than their arc by about a thousandth at 36 segments a turn.
    assert length_m(arc[0]) == pytest.approx(gate * 2 * np.pi * RING_RADIUS_M, rel=4e-3)
    np.testing.assert_allclose(arc[0].in_base()[0], pose[:3, 3] + RING_RADIUS_M * pose[:3, 0], atol=1e-9)
    assert (arc[0].colours == rgba(gate_colours(gate))).all()


@given(gates, vectors)
def test_the_bar_stands_upright_and_fills_from_below(gate: float, position: tuple) -> None:
    frame, *column = bar(np.array(position), gate)
    heights = frame.in_base()[:, 2]
    assert np.ptp(heights) == pytest.approx(BAR_HEIGHT_M)
    if gate > 0:
        low, high = column[0].in_base()
        assert low[2] == pytest.approx(heights.min())
        assert high[2] - low[2] == pytest.approx(gate * BAR_HEIGHT_M)
        np.testing.assert_allclose(low[:2], high[:2])


@given(gates, poses)
def test_rviz_accepts_every_gate(gate: float, parts: tuple) -> None:
    check_for_rviz(ring(pose_of(parts), gate) + bar(pose_of(parts)[:3, 3], gate))


def test_the_label_says_the_values(make_gate: Callable) -> None:
    label = gate_shapes(np.eye(4), make_gate(gate=0.731, code_index=41, logvar_standardised=-1.26))[-1]
    for words in ('gate 0.73', 'touch event 41', 'unsure by -1.3 sd', 'felt minus expected 0.8'):
        assert words in label.text
    assert 'saturated' not in label.text
    assert 'saturated' in gate_shapes(np.eye(4), make_gate(gate=0.99, saturated=True))[-1].text


@pytest.mark.parametrize('gate', [np.nan, np.inf, -np.inf])
def test_a_gate_that_is_no_number_is_shown_as_such(gate: float, make_gate: Callable) -> None:
    shapes = gate_shapes(np.eye(4), make_gate(gate=gate))
    check_for_rviz(shapes)
    assert [shape.number for shape in shapes if shape.name in ('ring', 'bar')] == [0, 0]
    np.testing.assert_allclose(shapes[-1].colours[0], rgba(INVALID))


def test_an_old_gate_is_not_drawn_as_if_it_held(make_gate: Callable) -> None:
    shapes = gate_shapes(np.eye(4), make_gate(gate=0.9), problem='no gate for 3.1 s')
    check_for_rviz(shapes)
    assert shapes[-1].text == 'no gate for 3.1 s'
    assert all(shape.number == 0 for shape in shapes)


def test_a_chunk_is_anchor_plus_deltas_in_the_base_frame(chunk_message: Callable) -> None:
    chunk = chunk_sample(chunk_message(), 'fr3_link0')
    expected = [[0.4 + 0.01 * i, -0.1, 0.3] for i in range(5)]
    np.testing.assert_allclose(chunk.points_m, expected)
    assert chunk.due_ns.tolist() == [10**9 + i * 50_000_000 for i in range(5)]


def test_steps_whose_time_has_come_fade(chunk_message: Callable) -> None:
    chunk = chunk_sample(chunk_message(), 'fr3_link0')
    path, steps = chunk_shapes(chunk, now_ns=10**9 + 120_000_000)
    check_for_rviz([path, steps])
    np.testing.assert_allclose(path.colours[:, 3], [PAST_ALPHA] * 3 + [1, 1])
    np.testing.assert_allclose(steps.in_base(), chunk.points_m[3:])
    np.testing.assert_allclose(path.colours[:, :3], np.tile(rgba(gate_colours(0.7))[:3], (5, 1)))
    only_path = chunk_shapes(chunk, now_ns=10**9 + 10**9)
    check_for_rviz(only_path)
    assert [shape.name for shape in only_path] == ['chunk']


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'delta_pose': np.zeros(23)}, 'delta_pose has 23 numbers, expected 24'),
        ({'horizon': 0, 'delta_pose': np.zeros(0)}, 'horizon is 0'),
        ({'horizon': 5000, 'delta_pose': np.zeros(30000)}, 'expected 1 to'),
        ({'delta_pose': np.full(24, np.nan)}, r'delta_pose\[0\] is nan'),
    ],
)
def test_a_malformed_chunk_is_refused(changed: dict, words: str, chunk_message: Callable) -> None:
    with pytest.raises(ViewError, match=words):
        chunk_sample(chunk_message(**changed), 'fr3_link0')


def test_a_chunk_in_another_frame_is_refused(chunk_message: Callable) -> None:
    with pytest.raises(ViewError, match=r"frame_id 'fr3_link0'.*base_frame 'panda_link0'"):
        chunk_sample(chunk_message(), 'panda_link0')


def test_the_executed_path_keeps_the_gates_of_its_places() -> None:
    positions = np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0.1]])
    [path] = executed_path(positions, np.array([0.0, np.nan, 1.0]))
    check_for_rviz([path])
    np.testing.assert_allclose(path.in_base(), positions)
    np.testing.assert_allclose(path.colours[[0, 2], :3], rgba(gate_colours(np.array([0.0, 1.0])))[:, :3])
    assert (np.diff(path.colours[:, 3]) > 0).all()
    assert executed_path(positions[:1], np.zeros(1)) == []
