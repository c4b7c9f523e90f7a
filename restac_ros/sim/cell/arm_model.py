"""The Franka arm and hand of the package franky-sim, reduced to what the cell needs.

`fr3.xml` is MuJoCo Menagerie's FR3 with its Panda hand (Copyright Google DeepMind and Franka Robotics GmbH,
Apache-2.0; NOTICE beside the file in the installed package). Nothing of it is copied into this repository,
and the package itself, whose simulator needs pinocchio, is never imported: only its files are read.
"""

from importlib.util import find_spec
from pathlib import Path

import mujoco

from restac_ros.sim.cell.parameters import check_libraries

ARM_JOINTS = tuple(f'fr3_joint{i}' for i in range(1, 8))
FINGERS = ('left_finger', 'right_finger')
HAND = 'hand'
_SHELLS = (*(f'link{i}_coll' for i in range(8)), 'hand_coll')
_LIGHT, _DARK = (0.93, 0.94, 0.95, 1.0), (0.25, 0.26, 0.28, 1.0)
_DARK_SHELLS = {'link7_coll'}


def model_folder() -> Path:
    """Return the folder of fr3.xml and its meshes; CellError where franky-sim is not installed."""
    check_libraries()
    package = find_spec('franky_sim')
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / 'assets'


def load_arm(friction_share: float) -> mujoco.MjSpec:
    """Return arm and hand with masses, inertias, joint and torque limits, and shells as visuals.

    Actuators, finger joints and detailed meshes are removed; nothing of it collides. `friction_share` scales
    the joints' dry friction.
    """
    folder = model_folder()
    spec = mujoco.MjSpec.from_file(str(folder / 'fr3.xml'))
    spec.modelname = 'restac_cell'
    spec.meshdir = str(folder / 'meshes')
    for drive in (*spec.actuators, *spec.tendons, *spec.equalities, *spec.excludes, *spec.keys):
        spec.delete(drive)
    for joint in list(spec.joints):
        if joint.name not in ARM_JOINTS:
            spec.delete(joint)
        else:
            joint.frictionloss *= friction_share
    for geom in list(spec.geoms):
        if geom.meshname not in _SHELLS:
            spec.delete(geom)
            continue
        geom.group, geom.contype, geom.conaffinity = 2, 0, 0
        geom.rgba = _DARK if geom.meshname in _DARK_SHELLS else _LIGHT
    for mesh in list(spec.meshes):
        if mesh.name not in _SHELLS:
            spec.delete(mesh)
    return spec
