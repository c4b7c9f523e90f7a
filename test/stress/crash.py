"""What is left when recorders and conversions are killed, disks are full, and journals are cut off.

A finished episode must never be lost, of a running one at most the last second, and the work must go on.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from crash_recording import CrashSite, recording_trials
from crash_saving import saving_trials
from disk_faults import disk_trials
from restac_ros.bench.processes import scratch
from restac_ros.bench.table import show, write_figures
from restac_ros.contract.load import load_contract
from restac_ros.installation import config_file
from trial import MAX_LOSS_MS, Trial, trial_rows
from truncation import truncation_trials
from workshop import Workshop

NEEDED_BYTES = 4 * 10**9
FULL_DISK_SHARE = 10  # of so many trials of the other kinds, one with a full disk


@dataclass(frozen=True)
class CrashStress:
    """kill -9 while recording, saving and appending; full and read-only disks; journals cut off anywhere.

    Afterwards every finished episode must be as it was, of the running one at most the last second be lost,
    and the work go on. 50 trials of each kind take about 10 minutes and 4 GB of free disk.
    """

    count: int = 50
    """Kills while recording, kills while saving or appending, cuts: so many each."""
    seed: int = 0
    """Of the random moments."""
    contract: Path | None = None
    """Streams to record; default: the installed contract."""
    directory: Path = Path('runs')
    """Where to record to."""
    json: Path | None = None
    """Also write the trials here."""

    def run(self) -> int:
        """Run, print a table, write JSON if asked; 1 when a trial failed."""
        return main(self)


def main(wish: CrashStress) -> int:
    """Run, print a table, write JSON if asked; 1 when a trial failed.

    Raises:
        GraphError: a node or a conversion did not do its part undisturbed.
        JournalError: too little free disk in `wish.directory`.
    """
    console, begun_s = Console(stderr=True), time.monotonic()
    trials: list[Trial] = []
    with scratch(wish.directory.absolute(), NEEDED_BYTES) as folder, console.status('starting') as status:
        for trial in run_trials(wish, folder):
            trials.append(trial)
            status.update(f'{trial.kind} {trial.number + 1}, {time.monotonic() - begun_s:.0f} s')
            if trial.problem:
                console.print(f'{trial.kind} {trial.number}: {trial.problem}', markup=False, soft_wrap=True)
    problems = [f'{t.kind} {t.number} at {t.moment:g}: {t.problem}' for t in trials if t.problem]
    problems += [
        f'{t.kind} {t.number} at {t.moment:g}: the last {t.lost_ms:.0f} ms are lost'
        for t in trials
        if t.lost_ms is not None and t.lost_ms > MAX_LOSS_MS
    ]
    seconds = time.monotonic() - begun_s
    rows = [*trial_rows(trials), ('time', f'{seconds:.0f} s', '')]
    show(f'crashes and disk faults, seed {wish.seed}', rows, problems)
    described = {'seed': wish.seed, 'seconds': seconds, 'trials': [asdict(trial) for trial in trials]}
    write_figures(wish.json, described | {'missed': problems})
    return 1 if problems else 0


def run_trials(wish: CrashStress, folder: Path) -> Iterator[Trial]:
    """All kinds of trials in `folder`, one after the other.

    Raises:
        GraphError: a node or a conversion did not do its part undisturbed.
    """
    contract_file = wish.contract or config_file('contract.yaml')
    contract = load_contract(contract_file)
    folders = [folder / name for name in ('truncated', 'saving', 'recording', 'disk')]
    for place in folders:
        place.mkdir(parents=True)
    yield from truncation_trials(folders[0], contract, wish.count, wish.seed)
    workshop = Workshop()
    yield from saving_trials(folders[1], contract, wish.count, wish.seed, workshop)
    with CrashSite(folders[2], contract_file) as site:
        site.learn()
        yield from recording_trials(site, wish.count, wish.seed, workshop)
        if site.deaf_starts:
            outcome = f'{site.deaf_starts} recorders that heard nothing were started again'
            yield Trial('middleware after kills', 0, 0, outcome)
        full = max(1, wish.count // FULL_DISK_SHARE)
        yield from disk_trials(folders[3], site, full, wish.seed, workshop)
