"""The gate of a session log against the contact force beside it."""

from pathlib import Path

import pytest

from restac_ros.contract.load import load_contract
from restac_ros.dataset.bag.message_types import typestore
from restac_ros.dataset.session_log import SessionLog
from restac_ros.sim.evaluation.logged_gate import logged_gate

GATE, FORCE = 'restac_ros/msg/GateState', 'geometry_msgs/msg/WrenchStamped'
START_NS = 10**18
PERIOD_NS = 50_000_000


class Log:
    """A session log, written as a run in the cell writes it."""

    def __init__(self, folder: Path, repository: Path) -> None:
        contract = load_contract(repository / 'config' / 'contract_cell.yaml')
        self._log = SessionLog(folder / 'log', contract, start_ns=START_NS)
        self._types = typestore().types

    def _header(self, time_ns: int):
        stamp = self._types['builtin_interfaces/msg/Time'](*divmod(time_ns, 10**9))
        return self._types['std_msgs/msg/Header'](stamp, 'fr3_link0')

    def _write(self, topic: str, kind: str, message: object, time_ns: int) -> None:
        self._log.write(topic, kind, bytes(typestore().serialize_cdr(message, kind)), time_ns)

    def add_force(self, frame: int, force_n: float) -> None:
        time_ns = START_NS + frame * PERIOD_NS
        vector, wrench = (self._types[f'geometry_msgs/msg/{name}'] for name in ('Vector3', 'Wrench'))
        message = self._types[FORCE](
            self._header(time_ns), wrench(vector(0.6 * force_n, 0.0, 0.8 * force_n), vector(0.0, 0.0, 0.0))
        )
        self._write('/left/sim_node/contact_force', FORCE, message, time_ns)

    def add_gate(self, frame: int, gate: float) -> None:
        """The tactile frame is captured with the force, its gate is published later."""
        time_ns = START_NS + frame * PERIOD_NS
        run = self._types['restac_ros/msg/RunIdentity']('run', 'checkpoint', 'push', 0)
        message = self._types[GATE](
            self._header(time_ns), run, gate, -1.0, 0.0, 3, 0.5, 30_000_000, 5_000_000, False, 1.0, 1.0
        )
        self._write('/left/policy_node/gate_state', GATE, message, time_ns + 30_000_000)

    def close(self) -> Path:
        return self._log.close(START_NS + 10**10)


@pytest.fixture
def log(tmp_path: Path, repository: Path) -> Log:
    return Log(tmp_path, repository)


def test_each_gate_is_compared_with_the_force_when_its_frame_was_captured(log: Log) -> None:
    for frame in range(20):
        log.add_force(frame, 5.0 if frame >= 10 else 0.1)
        log.add_gate(frame, 0.9 if frame >= 10 else 0.2)
    found = logged_gate(log.close())
    assert found is not None
    assert (found.auroc, found.frames) == (1.0, 20)
    assert (found.free, found.contact) == (pytest.approx(0.2), pytest.approx(0.9))
    assert found.describe() == 'gate against true contact: AUROC 1.00; mean 0.20 free, 0.90 in contact'


def test_a_gate_that_opens_before_contact_is_told_from_one_that_opens_with_it(log: Log) -> None:
    for frame in range(20):
        log.add_force(frame, 5.0 if frame >= 10 else 0.0)
        log.add_gate(frame, 0.9 if frame >= 5 else 0.2)
    found = logged_gate(log.close())
    assert found is not None
    assert found.auroc == pytest.approx(0.75)  # half of the free frames rank below, half are equal


def test_a_run_without_contact_says_that_there_is_nothing_to_compare(log: Log) -> None:
    for frame in range(5):
        log.add_force(frame, 0.0)
        log.add_gate(frame, 0.3)
    found = logged_gate(log.close())
    assert found is not None
    assert found.auroc is None
    assert 'all 5 tactile frames were free' in found.describe()


def test_a_robots_log_has_no_true_contact(log: Log) -> None:
    log.add_gate(0, 0.3)
    assert logged_gate(log.close()) is None
