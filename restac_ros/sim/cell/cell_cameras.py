"""Images of the cell's cameras, drawn by MuJoCo through EGL: no window, no display, on a GPU or by Mesa."""

import importlib
import os
from functools import cache

import mujoco
import numpy as np

from restac_ros.sim.cell.parameters import CellError

OPENGL_PACKAGES = ('libegl1', 'libegl-mesa0', 'libgl1-mesa-dri')
_SAMPLES = 4  # per pixel: edges of the plug would flicker from image to image without
_FONT_SCALE = 100  # MuJoCo's smallest; no text is drawn


class OpenGLError(CellError):
    """Nothing can be drawn on this machine; the text names what to install."""


class CellCameras:
    """Draws the views of the model's cameras; on one machine the same state gives the same image, to the bit.

    To be used by the thread that made it, as OpenGL's contexts are.
    """

    def __init__(self, model: mujoco.MjModel, size_px: tuple[int, int]) -> None:
        """Open an OpenGL context for images of `size_px` (height, width).

        Raises:
            OpenGLError: there is no EGL, or no driver below it.
        """
        height, width = size_px
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        model.vis.quality.offsamples = _SAMPLES
        # Mesa's software renderer draws such small images no faster with more threads.
        os.environ.setdefault('LP_NUM_THREADS', '1')
        self._context = _open_context(width, height)
        self._context.make_current()
        self._model, self._option = model, mujoco.MjvOption()
        self._scene = mujoco.MjvScene(model, maxgeom=200)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = False
        self._renderer = mujoco.MjrContext(model, _FONT_SCALE)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._renderer)
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._upside_down = np.empty((height, width, 3), np.uint8)

    def image(self, data: mujoco.MjData, name: str) -> np.ndarray:
        """Return the image of camera `name`, uint8 [H, W, 3] RGB."""
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = self._model.camera(name).id
        every = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._option, None, camera, every, self._scene)
        mujoco.mjr_render(self._rectangle, self._scene, self._renderer)
        mujoco.mjr_readPixels(self._upside_down, None, self._rectangle, self._renderer)
        return self._upside_down[::-1].copy()

    def close(self) -> None:
        """Release the context."""
        self._renderer.free()
        self._context.free()


@cache
def renderer_name() -> str:
    """Return OpenGL's name of what draws here; no cameras may be open in the calling thread.

    Raises:
        OpenGLError: nothing can be drawn here.
    """
    context = _open_context(1, 1)
    context.make_current()
    try:
        gl = importlib.import_module('OpenGL.GL')  # comes with MuJoCo; cannot be loaded without OpenGL
        return (gl.glGetString(gl.GL_RENDERER) or b'unknown').decode(errors='replace')
    finally:
        context.free()


def _open_context(width: int, height: int):  # type: ignore[no-untyped-def]  # mujoco's GLContext has no types
    try:
        return importlib.import_module('mujoco.egl').GLContext(width, height)
    except Exception as error:  # PyOpenGL fails by whatever it meets first where a library is missing
        raise OpenGLError(
            f'the cameras of the cell cannot be drawn: no OpenGL through EGL here ({error}). Install it '
            f'(`apt-get install {" ".join(OPENGL_PACKAGES)}`, or the GPU driver), or go without cameras'
        ) from error
