"""What the simulator itself is: attempts of two simulators cannot be compared."""

from dataclasses import asdict

import mujoco

from restac_ros.sim.cell.impedance import ImpedanceGains
from restac_ros.sim.cell.parameters import CellParameters, SceneRanges

# Raise it by hand with every change of what an attempt does or records that no dataclass below shows:
# physics, sensors and their noise, timing, the closed loop, the meaning of an attempt's figures.
CELL_REVISION = 2


def simulator() -> dict[str, object]:
    """Return what the outcome of an attempt depends on besides its seed and settings, for JSON."""
    return {
        'revision': CELL_REVISION,
        'mujoco': mujoco.__version__,
        'cell': asdict(CellParameters()),
        'scenes': asdict(SceneRanges()),
        'gains': asdict(ImpedanceGains()),
    }
