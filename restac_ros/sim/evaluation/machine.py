"""What draws and what computes: the same seed may give another attempt where either differs."""

import os
from dataclasses import dataclass
from functools import cache

import jax

from restac_ros.model.device import policy_device
from restac_ros.policy.arithmetic import cpu_facts
from restac_ros.sim.cell.cell_cameras import renderer_name


@dataclass(frozen=True)
class Machine:
    """What an attempt's outcome depends on of the machine; its speed is not among it.

    Attributes:
        renderer: what draws the cameras, by OpenGL's name.
        device: what computes the policy: a GPU with its driver, or CPU.
    """

    renderer: str
    device: str

    def __str__(self) -> str:
        """Return both, for people."""
        return f'drawn by {self.renderer}, computed on {self.device}'


def this_machine() -> Machine:
    """Return what draws and computes here; JAX is not started for it: other processes may be to use the GPU.

    Raises:
        OpenGLError: nothing can be drawn here.
    """
    return Machine(renderer_name(), _device_name())


@cache
def _device_name() -> str:
    return policy_device().name


def computer_name() -> str:
    """Return the name of what computes, as people know it: a GPU's, or a CPU's with its cores."""
    device = jax.devices()[0]
    if device.platform != 'cpu':
        return device.device_kind
    return f'{cpu_facts()[0]}, {len(os.sched_getaffinity(0))} cores'
