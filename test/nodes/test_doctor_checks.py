"""The doctor's judgement, without ROS: every fault alone gives its finding, and nothing else."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.runtime.doctor_checks import (
    Check,
    MachineSeen,
    Publisher,
    StreamReception,
    examine_streams,
    is_healthy,
)
from restac_ros.runtime.doctor_machine import measure_machine

JOINTS, MAIN = '/franka/joint_states', '/cameras/main/color/image_raw'
MACHINE = MachineSeen('/data', 500e6, 10**12, '', 32 * 10**9, 2**30)


@pytest.fixture(scope='module')
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


@pytest.fixture
def healthy(contract: Contract) -> dict[str, StreamReception]:
    """Every stream as declared, for 5 s."""
    return {
        name: StreamReception(
            publishers=(Publisher(f'/driver_{name}', spec.type, 'reliable'),),
            received=round(5 * spec.rate_hz),
            bytes_per_s=spec.rate_hz * (921_600 if 'Image' in spec.type else 400),
            rate_hz=spec.rate_hz,
            delay_ms=10.0,
        )
        for name, spec in contract.streams.items()
    }


def troubles(checks: list[Check]) -> list[tuple[str, str, str]]:
    return [(check.subject, check.level, check.kind) for check in checks if check.level != 'ok']


def test_what_is_in_order_has_one_line_each(contract: Contract, healthy: dict[str, StreamReception]) -> None:
    checks = examine_streams(contract, healthy, {}, MACHINE)
    assert troubles(checks) == []
    assert is_healthy(checks)
    machine = ['disk', 'memory', 'shared memory', 'device']
    assert [check.subject for check in checks] == [*contract.streams, *machine]


def publisher(
    kind: str = 'sensor_msgs/msg/Image', reliability: str = 'reliable', node: str = '/a'
) -> Publisher:
    return Publisher(node, kind, reliability)


FAULTS = {
    'missing': ('main', {'publishers': (), 'received': 0}, 'error', 'start its driver'),
    'silent': ('main', {'received': 0, 'rate_hz': None, 'delay_ms': None}, 'error', 'sensor connected'),
    'qos': ('main', {'publishers': (publisher(reliability='best_effort'),)}, 'error', 'best_effort'),
    'publishers': ('main', {'publishers': (publisher(), publisher(node='/b'))}, 'error', 'all but one'),
    'rate': ('main', {'rate_hz': 20.0}, 'error', 'USB'),
    'lost': ('main', {'lost': 10}, 'warning', 'shared memory'),
    'zero-stamp': ('gelsight_left', {'zero_stamps': 90, 'delay_ms': None}, 'warning', 'latency_ms'),
    'future': ('side', {'delay_ms': -21.0}, 'error', 'synchronise'),
    'late': ('side', {'delay_ms': 151.0}, 'error', 'synchronise'),
    'undecodable': ('main', {'problem': "encoding 'bgr8'"}, 'error', 'contract'),
    'unreadable': ('main', {'refused': 3}, 'error', 'sensor_msgs/msg/Image'),
}


@pytest.mark.parametrize('kind', FAULTS)
def test_each_fault_alone(kind: str, contract: Contract, healthy: dict[str, StreamReception]) -> None:
    name, changes, level, remedy = FAULTS[kind]
    checks = examine_streams(contract, {**healthy, name: replace(healthy[name], **changes)}, {}, MACHINE)
    assert troubles(checks) == [(name, level, kind)]
    assert remedy.lower() in next(check.remedy for check in checks if check.kind == kind).lower()
    assert is_healthy(checks) == (level == 'warning')


def test_another_type_of_message(contract: Contract, healthy: dict[str, StreamReception]) -> None:
    compressed = publisher('sensor_msgs/msg/CompressedImage')
    seen = replace(healthy['main'], publishers=(compressed,), received=0)
    checks = examine_streams(contract, {**healthy, 'main': seen}, {}, MACHINE)
    assert troubles(checks) == [('main', 'error', 'type')]
    assert 'CompressedImage' in checks[0].found


def test_two_publishers_of_joints_of_their_own_are_no_fault(
    contract: Contract, healthy: dict[str, StreamReception]
) -> None:
    both = (publisher('sensor_msgs/msg/JointState'), publisher('sensor_msgs/msg/JointState', node='/b'))
    shared = healthy | {'joints': replace(healthy['joints'], publishers=both, others=75)}
    assert troubles(examine_streams(contract, shared, {}, MACHINE)) == []
    found = healthy | {'joints': replace(healthy['joints'], publishers=both)}
    assert troubles(examine_streams(contract, found, {}, MACHINE)) == [('joints', 'error', 'publishers')]


def test_messages_without_any_of_the_joints_are_named(
    contract: Contract, healthy: dict[str, StreamReception]
) -> None:
    wrong = StreamReception(
        healthy['joints'].publishers, others=500, problem='no joint fr3_joint1; the message has panda_joint1'
    )
    checks = examine_streams(contract, healthy | {'joints': wrong}, {}, MACHINE)
    assert troubles(checks) == [('joints', 'error', 'joints')]
    [text] = [check.found for check in checks if check.kind == 'joints']
    assert text.startswith('500 messages on /franka/joint_states, none of them names a joint of joints')
    assert 'panda_joint1' in text


def test_the_merged_joint_states_of_thirty_hertz(
    contract: Contract, healthy: dict[str, StreamReception]
) -> None:
    checks = examine_streams(
        contract, {**healthy, 'joints': replace(healthy['joints'], rate_hz=30.0)}, {}, MACHINE
    )
    assert troubles(checks) == [('joints', 'error', 'rate')]
    assert 'joint_state_publisher' in next(check.remedy for check in checks if check.kind == 'rate')


def test_a_topic_of_nearly_that_name(contract: Contract, healthy: dict[str, StreamReception]) -> None:
    topics = {
        '/camera/main/color/image_raw': ['sensor_msgs/msg/Image'],
        JOINTS: ['sensor_msgs/msg/JointState'],
    }
    checks = examine_streams(contract, {**healthy, 'main': StreamReception()}, topics, MACHINE)
    assert "did you mean '/camera/main/color/image_raw'" in checks[0].remedy
    assert JOINTS not in checks[0].remedy


def test_a_slightly_slow_stream_is_a_warning(contract: Contract, healthy: dict[str, StreamReception]) -> None:
    checks = examine_streams(
        contract, {**healthy, 'main': replace(healthy['main'], rate_hz=27.0)}, {}, MACHINE
    )
    assert troubles(checks) == [('main', 'warning', 'rate')]


def test_nobody_at_all_points_to_the_domain(contract: Contract) -> None:
    checks = examine_streams(contract, dict.fromkeys(contract.streams, StreamReception()), {}, MACHINE)
    assert checks[0].kind == 'nobody'
    assert 'ROS_DOMAIN_ID' in checks[0].remedy


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'write_bytes_per_s': 80e6}, [('disk', 'error', 'disk-speed')]),
        ({'write_bytes_per_s': 150e6}, [('disk', 'warning', 'disk-speed')]),
        ({'disk_free': 10**9}, [('disk', 'error', 'disk-full')]),
        ({'disk_problem': 'read-only', 'write_bytes_per_s': None}, [('disk', 'error', 'disk')]),
        ({'ram_available': 10**9}, [('memory', 'warning', 'memory')]),
        ({'shared_memory_free': 64 * 2**20}, [('shared memory', 'error', 'shared-memory')]),
        ({'write_bytes_per_s': None, 'disk_free': None}, []),
    ],
)
def test_the_machine(
    changes: dict, expected: list, contract: Contract, healthy: dict[str, StreamReception]
) -> None:
    """The streams bring 99 MB/s."""
    assert troubles(examine_streams(contract, healthy, {}, replace(MACHINE, **changes))) == expected


def test_the_disk_is_left_as_it_was(tmp_path: Path) -> None:
    seen = measure_machine(tmp_path / 'not' / 'yet', 2**20, time.monotonic_ns)
    assert seen.write_bytes_per_s > 0
    assert seen.disk_free > 0
    assert not seen.disk_problem
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_refuses() -> None:
    assert (
        'cannot be written'
        in measure_machine(Path('/proc/recordings'), 2**20, time.monotonic_ns).disk_problem
    )


@pytest.mark.parametrize(
    ('machine', 'level', 'found'),
    [
        (MACHINE, 'ok', 'a policy runs on: CPU'),
        (replace(MACHINE, device='NVIDIA H100'), 'ok', 'a policy runs on: NVIDIA H100'),
        (
            replace(MACHINE, device_problem='NVIDIA H100 is here, but', device_remedy="run 'make setup'"),
            'warning',
            'a policy runs on the CPU: NVIDIA H100 is here, but',
        ),
    ],
)
def test_the_device_that_runs_a_policy_is_named(
    contract: Contract, machine: MachineSeen, level: str, found: str
) -> None:
    [check] = [one for one in examine_streams(contract, {}, {}, machine) if one.subject == 'device']
    assert (check.level, check.found[: len(found)]) == (level, found)
