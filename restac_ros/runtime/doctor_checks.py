"""Findings and remedies of the doctor, from what it received."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from restac_ros.contract.errors import did_you_mean
from restac_ros.contract.schema import Contract, Stream
from restac_ros.dataset.rates import rate_remedy

CheckLevel = Literal['error', 'warning', 'ok']
Reliability = Literal['reliable', 'best_effort']

RATE_WARNING, RATE_ERROR = 0.05, 0.20  # off the declared rate
LOSS_WARNING = 0.01
ROOM_S = 600.0  # of recording that the disk should have room for
SPEED_MARGIN = 2.0  # of disk speed over what the streams bring
NEEDED_RAM = 4 * 10**9
NEEDED_SHARED_MEMORY = 256 * 2**20


@dataclass(frozen=True)
class Publisher:
    """Node, type and reliability of a publisher."""

    node: str
    type: str
    reliability: Reliability


@dataclass(frozen=True)
class StreamReception:
    """One stream while the doctor listened.

    rate_hz: by receive times, lost messages included; None with fewer than two messages
    delay_ms: median from capture (latency subtracted) to receipt; None when all stamps were zero
    others: joint states on its topic that name none of its joints
    problem: why its last message cannot be decoded; '' when it can
    """

    publishers: tuple[Publisher, ...] = ()
    received: int = 0
    lost: int = 0
    zero_stamps: int = 0
    refused: int = 0
    others: int = 0
    bytes_per_s: float = 0.0
    rate_hz: float | None = None
    delay_ms: float | None = None
    problem: str = ''


@dataclass(frozen=True)
class MachineSeen:
    """The machine that will record. Sizes in bytes; None where not measured or absent."""

    journal_dir: str = ''
    write_bytes_per_s: float | None = None
    disk_free: int | None = None
    disk_problem: str = ''
    ram_available: int | None = None
    shared_memory_free: int | None = None
    device: str = 'CPU'  # that runs a policy
    device_problem: str = ''  # why not the GPU that is here
    device_remedy: str = ''


@dataclass(frozen=True)
class Check:
    """A finding about a subject (a stream, or part of the machine), and its remedy."""

    subject: str
    level: CheckLevel
    kind: str
    found: str
    remedy: str = ''


NOBODY = Check(
    'network',
    'error',
    'nobody',
    "nobody publishes any of the contract's topics",
    "Are the drivers running, with this shell's ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE?",
)


def examine_streams(
    contract: Contract,
    streams: Mapping[str, StreamReception],
    topics: Mapping[str, Collection[str]],
    machine: MachineSeen,
) -> list[Check]:
    """Return the findings by subject; a subject without any gets one of level 'ok'.

    `topics` are all published topics, with their types.
    """
    checks = [] if any(stream.publishers for stream in streams.values()) else [NOBODY]
    for name, stream in streams.items():
        spec = contract.streams[name]
        found = list(_of_stream(contract, name, spec, stream, topics))
        rate = 'one message' if stream.rate_hz is None else f'{stream.rate_hz:.1f} Hz'
        checks += found or [Check(name, 'ok', 'ok', f'{rate} on {spec.topic}')]
    needed = sum(stream.bytes_per_s for stream in streams.values())
    return checks + _of_machine(machine, needed)


def is_healthy(checks: Collection[Check]) -> bool:
    """No errors; warnings are allowed."""
    return all(check.level != 'error' for check in checks)


def _of_stream(
    contract: Contract,
    name: str,
    spec: Stream,
    stream: StreamReception,
    topics: Mapping[str, Collection[str]],
) -> Iterator[Check]:
    yield from _of_publishers(name, spec, stream, topics)
    if not stream.received and stream.others:
        count = f'{stream.others} messages on {spec.topic}'
        found = f'{count}, none of them names a joint of {name}: {stream.problem}'
        yield Check(name, _severity(spec), 'joints', found, 'Correct joints or topic in the contract.')
        return
    if not stream.received:
        if any(publisher.type == spec.type for publisher in stream.publishers):
            yield Check(
                name,
                _severity(spec),
                'silent',
                f'{spec.topic} has a publisher, but no message came',
                'Is its sensor connected, its node active? Else a firewall or two ROS_DOMAIN_IDs.',
            )
        return
    yield from _of_rate(name, spec, stream)
    yield from _of_stamps(contract, name, spec, stream)
    if stream.problem:
        yield Check(name, 'error', 'undecodable', stream.problem, 'Correct the driver or the contract.')
    if stream.refused:
        found = f'{stream.refused} messages on {spec.topic} have no readable header'
        yield Check(name, 'error', 'unreadable', found, f'Is it really {spec.type}?')


def _of_publishers(
    name: str, spec: Stream, stream: StreamReception, topics: Mapping[str, Collection[str]]
) -> Iterator[Check]:
    """Existence, type, number and QoS."""
    if not stream.publishers:
        same_type = [topic for topic, types in topics.items() if spec.type in types]
        hint = f'; of this type, {did_you_mean(spec.topic, same_type)}' if same_type else ''
        yield Check(
            name,
            _severity(spec),
            'missing',
            f'nobody publishes {spec.topic}',
            f'Start its driver, or correct topic in the contract{hint}.',
        )
        return
    if wrong := sorted({publisher.type for publisher in stream.publishers} - {spec.type}):
        found = f'{spec.topic} is published as {", ".join(wrong)}, the contract expects {spec.type}'
        yield Check(name, 'error', 'type', found, 'Correct topic or type in the contract.')
    if len(stream.publishers) > 1 and not stream.others:  # several may share a topic for joints of their own
        nodes = ', '.join(publisher.node for publisher in stream.publishers)
        found = f'{spec.topic} has {len(stream.publishers)} publishers: {nodes}'
        yield Check(name, 'error', 'publishers', found, 'Stop all but one, or remap: their messages mix.')
    best_effort = [
        publisher.node for publisher in stream.publishers if publisher.reliability == 'best_effort'
    ]
    if best_effort and spec.reliability == 'reliable':
        found = (
            f'{", ".join(best_effort)} publishes best effort, the contract asks for reliable: no reception'
        )
        yield Check(name, 'error', 'qos', found, f'Set reliability: best_effort for {name} in the contract.')


def _of_rate(name: str, spec: Stream, stream: StreamReception) -> Iterator[Check]:
    if stream.rate_hz is None:
        yield Check(name, 'error', 'rate', f'one message only, {spec.rate_hz:g} Hz declared', 'Is it alive?')
        return
    off = stream.rate_hz / spec.rate_hz - 1
    if abs(off) > RATE_WARNING:
        level: CheckLevel = 'error' if abs(off) > RATE_ERROR else 'warning'
        found = (
            f'{stream.rate_hz:.1f} Hz on {spec.topic}, the contract declares {spec.rate_hz:g} ({off:+.0%})'
        )
        yield Check(name, level, 'rate', found, rate_remedy(spec, stream.rate_hz, len(stream.publishers)))
    total = stream.received + stream.lost
    if stream.lost > LOSS_WARNING * total:
        found = f'{stream.lost} of {total} messages did not arrive'
        yield Check(name, 'warning', 'lost', found, 'Lower the load; enlarge shared memory (/dev/shm).')


def _of_stamps(contract: Contract, name: str, spec: Stream, stream: StreamReception) -> Iterator[Check]:
    if stream.zero_stamps:
        found = (
            f'{stream.zero_stamps} of {stream.received} stamps are zero, so that receipt counts as capture'
        )
        remedy = f'Let the driver stamp at capture, or set latency_ms ({spec.latency_ms:g}) to its latency.'
        yield Check(name, 'warning', 'zero-stamp', found, remedy)
    if stream.delay_ms is None:
        return
    if stream.delay_ms < -contract.max_skew_ms:
        found = f'stamps are {-stream.delay_ms:.0f} ms ahead of this clock (limit {contract.max_skew_ms:g})'
        yield Check(name, 'error', 'future', found, 'Synchronise the clocks of the machines (chrony, PTP).')
    elif stream.delay_ms > spec.max_age_ms:
        found = f'messages are {stream.delay_ms:.0f} ms old on arrival (max_age_ms {spec.max_age_ms:g})'
        remedy = 'Synchronise the clocks; several subscribers to a RealSense can delay it by a second.'
        yield Check(name, 'error', 'late', found, remedy)


def _severity(spec: Stream) -> CheckLevel:
    return 'error' if spec.required else 'warning'


def _of_machine(machine: MachineSeen, needed: float) -> list[Check]:
    checks = [*_of_disk(machine, needed), *_of_memory(machine)]
    if machine.device_problem:
        found = f'a policy runs on the CPU: {machine.device_problem}'
        remedy = f'{machine.device_remedy[0].upper()}{machine.device_remedy[1:]}.'
        checks.append(Check('device', 'warning', 'gpu', found, remedy))
    else:
        checks.append(Check('device', 'ok', 'ok', f'a policy runs on: {machine.device}'))
    return checks


def _of_disk(machine: MachineSeen, needed: float) -> Iterator[Check]:
    """Compare speed and free space of the disk with the streams' `needed` bytes/s."""
    if machine.disk_problem:
        yield Check(
            'disk', 'error', 'disk', machine.disk_problem, 'Record to a directory that can be written.'
        )
    if machine.write_bytes_per_s is None or machine.disk_free is None:
        return
    speed, room_s = machine.write_bytes_per_s, machine.disk_free / needed if needed else float('inf')
    text = f'{machine.journal_dir} writes {speed / 1e6:.0f} MB/s, has {machine.disk_free / 1e9:.0f} GB free'
    text += f'; the streams bring {needed / 1e6:.0f} MB/s'
    if speed < needed:
        yield Check('disk', 'error', 'disk-speed', text, 'Record to a faster disk, or smaller images.')
    elif speed < SPEED_MARGIN * needed:
        yield Check('disk', 'warning', 'disk-speed', text, 'Record to a faster disk, or smaller images.')
    elif room_s < ROOM_S:
        yield Check('disk', 'error', 'disk-full', f'{text}: room for {room_s:.0f} s', 'Make room.')
    else:
        yield Check('disk', 'ok', 'ok', text)


def _of_memory(machine: MachineSeen) -> Iterator[Check]:
    if (ram := machine.ram_available) is not None:
        text = f'{ram / 1e9:.1f} GB available'
        if ram < NEEDED_RAM:
            remedy = 'Stop other programs; a full-size policy needs far more.'
            yield Check('memory', 'warning', 'memory', f'{text}, {NEEDED_RAM / 1e9:g} GB expected', remedy)
        else:
            yield Check('memory', 'ok', 'ok', text)
    if (shared := machine.shared_memory_free) is not None:
        text = f'/dev/shm has {shared / 2**20:.0f} MiB free'
        if shared < NEEDED_SHARED_MEMORY:
            remedy = 'Start the container with --shm-size=1g or --ipc=host: images are lost otherwise.'
            yield Check('shared memory', 'error', 'shared-memory', text, remedy)
        else:
            yield Check('shared memory', 'ok', 'ok', text)
