"""Reasons why no chunk may be planned: invalid streams, and products above their maximal age."""

from collections.abc import Iterable, Mapping

from restac_ros.contract.schema import Contract
from restac_ros.framing.frame import StreamStatus
from restac_ros.runtime.complaints import Complaint

_STREAM_REMEDIES = {
    'missing': 'start the driver, or correct the topic in the contract',
    'stale': 'see whether the driver runs; if it is only slow, raise max_age_ms or correct latency_ms',
    'frozen': 'start the driver anew; a simulator that draws the same image again needs max_frozen_ms: 0',
}
START_GRACE_NS = 3_000_000_000  # before that, missing streams are not reported
NOT_YET = frozenset({'missing', 'pending'})  # usual at the start

# Complaints by subject: a stream, 'prefix', 'touch', 'act' ...
Reasons = dict[str, Complaint]


def invalid_streams(contract: Contract, statuses: Mapping[str, StreamStatus], every: bool = False) -> Reasons:
    """Return the faults of required streams, or of `every` stream given."""
    return {
        name: _stream_complaint(contract, name, status)
        for name, status in statuses.items()
        if not status.valid and (every or contract.streams[name].required)
    }


def pending(name: str) -> Reasons:
    """Return that the first product of this name is not ready."""
    return {name: Complaint('pending', f'the first {name} is not ready yet')}


def too_old(name: str, age_ns: int, usual_ns: int | None, limit_ns: int) -> Reasons:
    """Return that a product is older than its limit, or than what is usual on this machine; else nothing."""
    if age_ns > limit_ns:
        bound, remedy = limit_ns, f'the machine is too slow or too busy; else raise max_{name}_age_ms'
    elif usual_ns is not None and age_ns > usual_ns:
        bound, remedy = usual_ns, 'the machine has just become slower: the next one is overdue'
    else:
        return {}
    found = f'{name} is {age_ns / 1e6:.0f} ms old, limit {bound / 1e6:.0f} ms'
    return {name: Complaint('stale', found, remedy)}


def refused(name: str, error: Exception) -> Reasons:
    """Return that the policy refused a call."""
    return {name: Complaint('refused', f'{name}: {error}')}


def merged(several: Iterable[Reasons]) -> Reasons:
    """Return all reasons; of two about one subject the first, which was found later."""
    result: Reasons = {}
    for reasons in several:
        result = reasons | result
    return result


def _stream_complaint(contract: Contract, name: str, status: StreamStatus) -> Complaint:
    kind = status.reason.partition(':')[0]
    found = f'{name} ({contract.streams[name].topic}) {status.reason}'
    return Complaint(kind, found, _STREAM_REMEDIES.get(kind, ''))
