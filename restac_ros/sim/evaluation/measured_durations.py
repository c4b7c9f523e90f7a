"""How long a checkpoint's calls take on this machine: measured once, and kept beside its attempts."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from restac_ros.framing.values import STATE_DIM
from restac_ros.sim.cell.parameters import CellError
from restac_ros.sim.evaluation.attempts import Attempts, open_policies
from restac_ros.sim.evaluation.machine import computer_name
from restac_ros.sim.evaluation.settings import CallDurations, check_durations
from restac_ros.sim.evaluation.timed_policy import Attempt, TimedPolicy
from restac_ros.whole_files import read_bounded_json, replaced

DURATIONS_FILE = 'durations.json'
_MOST_BYTES = 1 << 20
_CALLS, _WARM_UPS = 50, 5


@dataclass(frozen=True)
class MeasuredDurations:
    """Durations of a checkpoint's calls, and what they were measured on."""

    durations: CallDurations
    measured_on: str


def with_measured_durations(
    planned: Sequence[Attempts], to: Path, clock_s: Callable[[], float]
) -> list[Attempts]:
    """Return attempts in which each checkpoint's calls take as long as they do on this machine.

    What `to` holds of an earlier call is taken, so that attempts go on as they began; other checkpoints are
    measured, and added to the file.

    Raises:
        CellError: the file is damaged.
        CheckpointError, PolicyError, NormStatsError, TokenizerError: see `OpenPolicies`.
    """
    path = to / DURATIONS_FILE
    known = _read(path)
    policies = open_policies(planned[0])
    for attempts in planned:
        if attempts.fingerprint not in known:
            policy = policies.policy(attempts.checkpoint, None)
            known[attempts.fingerprint] = MeasuredDurations(call_durations(policy, clock_s), computer_name())
            with replaced(path) as partial:
                partial.write_text(json.dumps({key: asdict(one) for key, one in known.items()}, indent=1))
    return [replace(attempts, **vars(known[attempts.fingerprint])) for attempts in planned]


def call_durations(policy: TimedPolicy, clock_s: Callable[[], float]) -> CallDurations:
    """Return the median duration of each of a policy's calls, without what surrounds them on a robot.

    `clock_s` is read before and after each call. Tactile frames of a policy without touch take no time.
    """
    rng, config = np.random.default_rng(0), policy.config
    shape = (config.image_size, config.image_size, 3)
    images = {name: rng.integers(0, 256, shape, np.uint8) for name in policy.camera_streams}
    tactile = rng.integers(0, 256, config.tactile_shape, np.uint8) if policy.uses_touch else None
    state = np.zeros(STATE_DIM)
    policy.begin(Attempt(CallDurations(0, 0, 0), lambda _: None, lambda image, _: image, seed=0))
    times_s: list[tuple[float, ...]] = []
    for _ in range(_WARM_UPS + _CALLS):
        begun_s = clock_s()
        prefix = policy.encode_prefix(images, 0, state)
        seen_s = clock_s()
        touch = None if tactile is None else policy.encode_tactile(tactile, prefix, state, 0)
        felt_s = clock_s()
        policy.act(prefix, touch, state)
        times_s.append((seen_s - begun_s, felt_s - seen_s if touch else 0.0, clock_s() - felt_s))
    medians_s = map(statistics.median, zip(*times_s[_WARM_UPS:], strict=True))
    return CallDurations(*(round(1e3 * value, 2) for value in medians_s))


def _read(path: Path) -> dict[str, MeasuredDurations]:
    if not path.exists():
        return {}
    remedy = 'it holds no durations that were measured: remove it'
    values = read_bounded_json(path, _MOST_BYTES, CellError, remedy=remedy)
    try:
        known = {
            key: MeasuredDurations(CallDurations(**one['durations']), str(one['measured_on']))
            for key, one in values.items()
        }
        for one in known.values():
            check_durations(one.durations)
    except (TypeError, KeyError, CellError) as error:
        raise CellError(f'{path}: {error}; {remedy}') from error
    return known
