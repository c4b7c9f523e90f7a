"""Opens the simulated cell, whose libraries are optional."""

from typing import TYPE_CHECKING

from restac_ros.contract.schema import Contract
from restac_ros.nodes.source.source import SourceError

if TYPE_CHECKING:
    from restac_ros.sim.cell.cell_arm import CellArm
    from restac_ros.sim.cell.cell_loop import CellLoop
    from restac_ros.sim.cell.demonstration import Pilot


def open_cell_loop(
    contract: Contract,
    seed: int,
    camera_px: tuple[int, int],
    tactile_px: tuple[int, int],
    cameras: bool,
) -> 'CellLoop':
    """Return the loop of the cell in the scene of `seed`; sizes are height and width.

    Raises:
        SourceError: a library is not installed.
        CellError: the contract does not fit the cell, or nothing can be drawn here.
    """
    try:
        from restac_ros.sim.cell.cell import Cell
        from restac_ros.sim.cell.cell_loop import CellLoop
        from restac_ros.sim.cell.cell_sensors import CellSensors, SensorSizes
        from restac_ros.sim.cell.parameters import draw_scene
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    scene = draw_scene(seed)
    cell = Cell(scene, limits=contract.limits)
    sensors = CellSensors(contract, cell, scene, seed, SensorSizes(camera_px, tactile_px), cameras)
    return CellLoop(contract, cell, sensors, seed)


def open_expert_pilot(loop: 'CellLoop', seed: int) -> 'Pilot':
    """Return the scripted expert at the controls of a cell that is in the scene of `seed`."""
    from restac_ros.sim.cell.demonstration import expert_pilot
    from restac_ros.sim.cell.parameters import draw_scene

    return expert_pilot(loop, draw_scene(seed), seed)


def open_cell_arm(contract: Contract, now_ns: int, camera_px: tuple[int, int]) -> 'CellArm':
    """Return the cell behind an arm's interface, with its cameras; raises as `open_cell_loop`."""
    try:
        from restac_ros.sim.cell.cell_arm import CellArm
        from restac_ros.sim.cell.cell_sensors import SensorSizes
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    return CellArm(contract, now_ns, 0, True, SensorSizes(camera_px))


def _not_installed(error: ModuleNotFoundError) -> SourceError:
    return SourceError(
        f"the simulated cell needs {error.name}, which is not installed: `pip install 'restac_ros[sim]'`"
    )
