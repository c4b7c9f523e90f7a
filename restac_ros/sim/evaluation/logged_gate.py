"""The gate of a run in the cell against true contact, from the run's session log."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.message_types import deserialize
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.sim.evaluation.contact_trace import ContactTrace
from restac_ros.training.evaluation.gate_figures import auroc

_GATE_TYPE, _FORCE_TYPE = 'restac_ros/msg/GateState', 'geometry_msgs/msg/WrenchStamped'
FORCE_NAME = '/contact_force'  # how its topic ends, whatever the cell's node is called


@dataclass(frozen=True)
class LoggedGate:
    """The gate of the tactile frames of one run.

    Attributes:
        auroc: probability that the gate of a frame in contact is above that of a free one; None without both
            kinds of frames.
        free, contact: mean gate; None without such frames.
        frames: that a gate was published for.
    """

    auroc: float | None
    free: float | None
    contact: float | None
    frames: int

    def describe(self) -> str:
        """Return the figures in one line."""
        if self.auroc is None:
            kind = 'free' if self.contact is None else 'in contact'
            return (
                f'gate against true contact: nothing to compare, all {self.frames} tactile frames were {kind}'
            )
        return (
            f'gate against true contact: AUROC {self.auroc:.2f}; mean {self.free:.2f} free, '
            f'{self.contact:.2f} in contact'
        )


def logged_gate(log: Path) -> LoggedGate | None:
    """Compare each published gate with the contact force when its tactile frame was captured.

    Returns:
        None where the log holds no gate or no contact force, as on a robot.

    Raises:
        BagError: the log cannot be read, or a message in it.
    """
    bag = open_bag(log)
    wanted = {
        name
        for name, topic in bag.topics.items()
        if topic.type == _GATE_TYPE or (topic.type == _FORCE_TYPE and name.endswith(FORCE_NAME))
    }
    gates: dict[int, float] = {}
    forces: dict[int, np.ndarray] = {}
    for message in bag.messages(wanted):
        _read(message, gates, forces)
    if not gates or not forces:
        return None
    trace = ContactTrace()
    for time_ns in sorted(forces):
        trace.add(time_ns, forces[time_ns])
    known = {time_ns: gate for time_ns, gate in gates.items() if time_ns >= min(forces)}
    touching = np.array([trace.in_contact_at(time_ns) for time_ns in known], dtype=bool)
    gate = np.array(list(known.values()))
    both = bool(touching.any() and not touching.all())
    return LoggedGate(
        auroc=float(auroc(gate, touching)[0]) if both else None,
        free=_mean(gate[~touching]),
        contact=_mean(gate[touching]),
        frames=len(gate),
    )


def _read(message: BagMessage, gates: dict[int, float], forces: dict[int, np.ndarray]) -> None:
    value = deserialize(message.cdr, message.type)
    stamp = value.header.stamp
    time_ns = int(stamp.sec) * 10**9 + int(stamp.nanosec)
    if message.type == _GATE_TYPE:
        gates[time_ns] = float(value.gate)
    else:
        force = value.wrench.force
        forces[time_ns] = np.array([force.x, force.y, force.z])


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None
