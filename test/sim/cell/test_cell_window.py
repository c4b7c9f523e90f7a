"""The cell's window shows the simulation and cannot change it; without a display it is refused in words."""

import contextlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('mujoco', reason="the simulated cell is not installed: `pip install -e '.[sim]'`")

from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.cell_window import CellWindow, WindowError
from restac_ros.sim.cell.parameters import CellScene


class Viewer(ModuleType):
    """What the window uses of mujoco.viewer."""

    def __init__(self) -> None:
        super().__init__('mujoco.viewer')
        self.open, self.shown_m, self.locked = True, [], False
        self.cam = SimpleNamespace(lookat=np.zeros(3))

    def launch_passive(self, model, data, show_left_ui, show_right_ui):
        self.data = data
        return self

    def is_running(self) -> bool:
        return self.open

    @contextlib.contextmanager
    def lock(self):
        self.locked = True
        yield
        self.locked = False

    def sync(self) -> None:
        assert not self.locked, 'it takes the lock itself'
        self.shown_m.append(self.data.qpos[:7].copy())

    def close(self) -> None:
        self.open = False


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> Viewer:
    made = Viewer()
    monkeypatch.setitem(sys.modules, 'mujoco.viewer', made)
    monkeypatch.setitem(sys.modules, 'glfw', glfw(window=object()))
    return made


def glfw(init: bool = True, window: object = None) -> SimpleNamespace:
    """What the window uses of GLFW; without `window` none can be opened."""
    return SimpleNamespace(
        VISIBLE=1,
        FALSE=0,
        init=lambda: init,
        window_hint=lambda hint, value: None,
        default_window_hints=lambda: None,
        create_window=lambda *size_and_place: window,
        destroy_window=lambda found: None,
    )


def test_a_window_shows_a_copy_of_the_cell_30_times_a_second_until_it_is_closed(viewer: Viewer) -> None:
    cell = Cell(CellScene())
    window = CellWindow(cell)
    before = cell.data.qpos.copy()
    viewer.data.qpos[:] = 1.0  # somebody pulls with the mouse
    np.testing.assert_array_equal(cell.data.qpos, before)
    for now_ms in range(0, 1000, 5):
        window.show(now_ms * 1_000_000)
    assert 28 <= len(viewer.shown_m) <= 31
    np.testing.assert_array_equal(viewer.shown_m[-1], before[:7])
    viewer.open = False
    window.show(10**10)
    assert len(viewer.shown_m) <= 31
    window.close()


def test_without_a_display_or_its_library_no_window_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(CellScene())
    monkeypatch.setitem(sys.modules, 'glfw', glfw(init=False))
    with pytest.raises(WindowError, match='there is no display here'):
        CellWindow(cell)
    monkeypatch.setitem(sys.modules, 'glfw', glfw())
    with pytest.raises(WindowError, match='offers no OpenGL'):
        CellWindow(cell)
    monkeypatch.setitem(sys.modules, 'glfw', None)
    with pytest.raises(WindowError, match='GLFW, which opens it, cannot be loaded'):
        CellWindow(cell)
