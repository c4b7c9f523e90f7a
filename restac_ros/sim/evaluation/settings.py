"""What a closed-loop evaluation is asked to do."""

from dataclasses import dataclass, field

from restac_ros.sim.cell.parameters import CellError


@dataclass(frozen=True)
class CallDurations:
    """How long the policy's calls take in simulated time, whatever machine simulates, ms.

    The defaults are fixed, so that the machine changes no result: of the order of a full-size network
    on one server GPU, and above what the policy that comes along was measured to take on two cores beside the
    simulator: 14, 9 and 3 ms in the median. `restac-ros sim evaluate --measure-durations` takes yours.

    Attributes:
        prefix_ms: cameras and prompt.
        tactile_ms: one tactile frame.
        act_ms: one chunk.
    """

    prefix_ms: float = 60.0
    tactile_ms: float = 10.0
    act_ms: float = 50.0


@dataclass(frozen=True)
class SimEvaluationConfig:
    """Sizes and seeds; equal ones give equal figures.

    Attributes:
        seeds: scenes per condition; the same for all checkpoints.
        first_seed: of them; demonstrations are recorded with seeds from 1,000,000 on.
        limit_s: longest attempt, simulated time.
        conditions: names; empty: all.
        durations: of the policy's calls.
    """

    seeds: int = 50
    first_seed: int = 0
    limit_s: float = 20.0
    conditions: tuple[str, ...] = ()
    durations: CallDurations = field(default_factory=CallDurations)


def check_durations(durations: CallDurations) -> None:
    """Refuse what no call takes; CellError names the duration, what was found and expected."""
    for name, value in vars(durations).items():
        if not 0 <= value <= 10_000:
            raise CellError(f'{name}: found {value:g} ms, expected 0 to 10000')


def check_scenes(first_seed: int, limit_s: float) -> None:
    """Refuse scenes that cannot be drawn or tried; CellError names what, what was found and expected."""
    if first_seed < 0:
        raise CellError(f'first_seed: found {first_seed}, expected 0 or more')
    if not 0 < limit_s <= 600:
        raise CellError(f'limit_s: found {limit_s:g} s, expected more than 0 and at most 600')
