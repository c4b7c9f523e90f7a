"""The outcome of one attempt, as a file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from restac_ros.sim.cell.parameters import CellError
from restac_ros.whole_files import read_bounded_json, replaced

_MOST_BYTES = 16 << 20


@dataclass
class FeltFrames:
    """Gate and surprise of each tactile frame, in order.

    Attributes:
        time_s: of its capture, after the start.
        known_s: when its gate was known.
        contact: whether there was contact at its capture.
        gate, logvar: of the policy.
        squared_residual: mean square of felt minus expected latent; empty for encoders without a prior.
    """

    time_s: list[float] = field(default_factory=list)
    known_s: list[float] = field(default_factory=list)
    contact: list[bool] = field(default_factory=list)
    gate: list[float] = field(default_factory=list)
    logvar: list[float] = field(default_factory=list)
    squared_residual: list[float] = field(default_factory=list)


@dataclass
class AttemptRecord:
    """Times are simulated, s after the start; None where something did not happen.

    Attributes:
        seed: of the scene, the noise and the delays.
        success: the plug was in for a second within the limit.
        seconds: how long the attempt lasted.
        touched_s: first contact, which ends the alignment and begins the interaction.
        inserted_s: from when on the plug was in.
        contact_share: of the time, in contact.
        peak_n, mean_n: contact force; the mean over the time in contact.
        touch_miss_m, miss_m: distance of peg and hole in the plane, at the first contact and at the end.
        halted: why the streamer had halted at the end, as on a robot, or why the simulation broke off; empty:
            neither.
        dropped: the plug was let go.
        refused: commands that the cell refused.
        chunks, triggered, held: chunks planned, those that the gate triggered, replans without a chunk.
        hold_reasons: of these, by reason.
        felt: gate and surprise; empty without touch.
    """

    seed: int
    success: bool
    seconds: float
    touched_s: float | None
    inserted_s: float | None
    contact_share: float
    peak_n: float
    mean_n: float | None
    touch_miss_m: float | None
    miss_m: float
    halted: str
    dropped: bool
    refused: int
    chunks: int
    triggered: int
    held: int
    hold_reasons: Mapping[str, int]
    felt: FeltFrames

    @property
    def interaction_s(self) -> float | None:
        """From the first contact to the insertion; None without both."""
        if self.touched_s is None or self.inserted_s is None or not self.success:
            return None
        return self.inserted_s - self.touched_s


def write_record(record: AttemptRecord, identity: str, path: Path) -> None:
    """Write a record whole or not at all; `identity` names its attempt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as partial:
        partial.write_text(json.dumps({'identity': identity, **asdict(record)}, allow_nan=False) + '\n')


def read_record(path: Path, identity: str) -> AttemptRecord | None:
    """Return a record that was written before; None where there is none.

    Raises:
        CellError: it is of something else, or damaged.
    """
    if not path.exists():
        return None
    values = read_bounded_json(
        path, _MOST_BYTES, CellError, remedy='it is no record of an attempt: remove it'
    )
    try:
        found = values.pop('identity')
        record = AttemptRecord(**{**values, 'felt': FeltFrames(**values['felt'])})
    except (TypeError, KeyError) as error:
        raise CellError(f'{path} is no record of an attempt ({error}): remove it') from error
    if found != identity:
        raise CellError(
            f'{path} is of another evaluation: found {found!r}, expected {identity!r}; give another --to, or '
            'remove it'
        )
    return record
