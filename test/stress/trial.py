"""One attempt to break something, and how it came out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from restac_ros.bench.table import Row

MAX_LOSS_MS = 1000.0


@dataclass(frozen=True)
class Trial:
    """`moment` is where it was hit (ms or bytes), `outcome` what was found in order, `problem` what was not.

    `lost_ms` is how much of what had been offered is gone, where that was measured.
    """

    kind: str
    number: int
    moment: float
    outcome: str
    problem: str = ''
    lost_ms: float | None = None


def trial_rows(trials: Iterable[Trial]) -> list[Row]:
    """How trials of each kind came out; the worst loss of each."""
    kinds: dict[str, list[Trial]] = {}
    for trial in trials:
        kinds.setdefault(trial.kind, []).append(trial)
    rows = []
    for kind, members in kinds.items():
        outcomes = Counter(trial.outcome for trial in members if not trial.problem)
        failed = sum(bool(trial.problem) for trial in members)
        said = ', '.join(f'{count} {outcome}' for outcome, count in outcomes.most_common())
        rows.append((f'{kind}: {len(members)} trials', said + (f', {failed} FAILED' if failed else ''), ''))
        losses = [trial.lost_ms for trial in members if trial.lost_ms is not None]
        if losses:
            rows.append((f'{kind}: worst loss', f'{max(losses):.0f} ms', f'<= {MAX_LOSS_MS:g} ms'))
    return rows
