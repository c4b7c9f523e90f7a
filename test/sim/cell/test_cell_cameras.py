"""The cell's cameras: repeatable, blind to the hole and the plug's tilt, clear about a missing OpenGL."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.cell_cameras import OPENGL_PACKAGES, CellCameras
from restac_ros.sim.cell.parameters import MOUNT, CellScene

SIZE_PX = (224, 224)
CAMERAS = ('main', 'side', 'handeye')


@pytest.fixture(scope='module')
def cell() -> Cell:
    return Cell(CellScene())


@pytest.fixture
def cameras(cell: Cell) -> Iterator[CellCameras]:
    opened = CellCameras(cell.model, SIZE_PX)
    yield opened
    opened.close()


def views(cell: Cell, cameras: CellCameras) -> np.ndarray:
    """Of all cameras, int [3, H, W, 3]."""
    mujoco.mj_forward(cell.model, cell.data)
    return np.stack([cameras.image(cell.data, name) for name in CAMERAS]).astype(int)


def test_images_repeat_to_the_bit_in_another_context(cell: Cell, cameras: CellCameras) -> None:
    cell.reset(CellScene())
    seen = views(cell, cameras)
    again = CellCameras(cell.model, SIZE_PX)
    np.testing.assert_array_equal(views(cell, again), seen)
    again.close()
    assert seen.shape == (3, *SIZE_PX, 3)
    assert seen.std(axis=(1, 2, 3)).min() > 20, 'a view without a scene'


def test_no_camera_sees_the_hole(cell: Cell, cameras: CellCameras) -> None:
    images = []
    for hole_m in ((0.005, -0.005), (-0.005, 0.005)):
        cell.reset(replace(CellScene(), hole_m=hole_m))
        images.append(views(cell, cameras))
    np.testing.assert_array_equal(images[0], images[1])


@pytest.mark.parametrize('joint', range(6))
def test_no_camera_shows_what_only_touch_may_say(cell: Cell, cameras: CellCameras, joint: int) -> None:
    """Twice what a press of 5 N displaces: the hand-eye camera sees nothing, the others a few pixels."""
    cell.reset(CellScene())
    at_rest = views(cell, cameras)
    cell.data.joint(MOUNT[joint]).qpos = 0.001 if joint < 3 else 0.06
    change = np.abs(views(cell, cameras) - at_rest)
    seen = dict(zip(CAMERAS, (change.max(axis=-1) > 10).sum(axis=(1, 2)), strict=True))
    assert seen['handeye'] == 0
    assert seen['main'] + seen['side'] < 20


def test_a_machine_without_opengl_is_said_what_to_install(tmp_path: Path) -> None:
    probe = (
        'from restac_ros.sim.cell.cell_model import build_model\n'
        'from restac_ros.sim.cell.cell_cameras import CellCameras, OpenGLError\n'
        'try:\n    CellCameras(build_model(), (48, 64))\n'
        'except OpenGLError as error:\n    print(error)\n'
    )
    env = {**os.environ, '__EGL_VENDOR_LIBRARY_DIRS': str(tmp_path), 'MUJOCO_EGL_DEVICE_ID': '0'}
    run = subprocess.run([sys.executable, '-c', probe], env=env, capture_output=True, text=True, check=False)
    for package in OPENGL_PACKAGES:
        assert package in run.stdout, run.stderr
    assert 'without cameras' in run.stdout
