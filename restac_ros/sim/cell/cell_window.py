"""The cell in a window of MuJoCo's own viewer, with its camera moved by the mouse."""

import copy
import importlib
import warnings

import mujoco

from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.parameters import CellError

_PERIOD_NS = 33_000_000  # of simulated time between two pictures
_LOOKS_AT_M, _DISTANCE_M, _AZIMUTH_DEG, _ELEVATION_DEG = (0.48, 0.0, 0.12), 1.1, 140.0, -20.0


class WindowError(CellError):
    """No window can be opened here; the text names the reason."""


class CellWindow:
    """Shows a cell as it was when `show` was called last, 30 times a simulated second.

    The viewer has a copy of the cell's state: neither it nor the mouse changes what is simulated.
    """

    def __init__(self, cell: Cell) -> None:
        """Open the window.

        Raises:
            WindowError: there is no display, or none with OpenGL.
        """
        _check_display()
        self._cell, self._shown, self._due_ns = cell, copy.copy(cell.data), 0
        viewer = importlib.import_module('mujoco.viewer')
        self._handle = viewer.launch_passive(cell.model, self._shown, show_left_ui=False, show_right_ui=False)
        with self._handle.lock():
            camera = self._handle.cam
            camera.lookat[:] = _LOOKS_AT_M
            camera.distance, camera.azimuth, camera.elevation = _DISTANCE_M, _AZIMUTH_DEG, _ELEVATION_DEG

    def show(self, now_ns: int) -> None:
        """Show the cell's state, `now_ns` after the start, if a picture is due and the window is open."""
        if now_ns >= self._due_ns and self._handle.is_running():
            self._due_ns = now_ns + _PERIOD_NS
            with self._handle.lock():
                mujoco.mj_copyData(self._shown, self._cell.model, self._cell.data)
            self._handle.sync()

    def close(self) -> None:
        """Close the window."""
        self._handle.close()


def _check_display() -> None:
    """Refuse where GLFW can open no window: the viewer's thread would end, and its caller wait for ever."""
    try:
        glfw = importlib.import_module('glfw')
    except ImportError as error:  # also where its shared library cannot be loaded
        raise WindowError(f'no window: GLFW, which opens it, cannot be loaded ({error})') from error
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # it says the same as the error below
        if not glfw.init():
            raise WindowError(
                'no window: there is no display here (DISPLAY or WAYLAND_DISPLAY names none); go without one'
            )
        glfw.window_hint(glfw.VISIBLE, glfw.FALSE)
        probe = glfw.create_window(16, 16, '', None, None)
        glfw.default_window_hints()
        if not probe:
            raise WindowError('no window: the display here offers no OpenGL; go without one')
        glfw.destroy_window(probe)
