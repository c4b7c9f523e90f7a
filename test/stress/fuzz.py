"""Damaged bags by the thousand, read in processes that may crash or hang without harm.

Each case has a number, and seed and number say everything about it: `--case N` runs one again.
"""

import multiprocessing as mp
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil
from rich.console import Console

from fuzz_cases import Case, run_case
from fuzz_subjects import make_subjects, slow
from restac_ros.bench.processes import scratch
from restac_ros.bench.table import Row, show, write_figures
from restac_ros.contract.load import load_contract
from restac_ros.installation import config_file

HANG_S = 60.0  # a case takes some hundredths of a second
START_S = 120.0
MAX_GROWTH_BYTES = 3 * 2**30  # of a worker's memory: a corrupt length must not be believed
NEEDED_BYTES = 10**9
OUTCOMES = ('read as it was', 'told to be damaged', 'refused', 'undetectable')


@dataclass(frozen=True)
class FuzzStress:
    """Damaged bags and journals: each must be read as it was, told to be damaged, or refused.

    Never may reading hang, crash or give something else in silence. 1000 cases take half a minute.
    """

    cases: int = 1000
    """How many."""
    seed: int = 0
    """Of the damages."""
    case: int | None = None
    """Run this one again, instead."""
    workers: int = 2
    """Processes that read."""
    contract: Path | None = None
    """Streams of the bags; default: the installed contract."""
    directory: Path = Path('runs')
    """Where bags are put; failed ones stay in fuzz-failures."""
    json: Path | None = None
    """Also write the cases here."""

    def run(self) -> int:
        """Run, print a table, write JSON if asked; 1 when a case failed."""
        return main(self)

    @property
    def numbers(self) -> range:
        """The numbers of the cases."""
        return range(self.cases) if self.case is None else range(self.case, self.case + 1)

    @property
    def contract_file(self) -> Path:
        """The contract's file."""
        return self.contract or config_file('contract.yaml')


def main(wish: FuzzStress) -> int:
    """Run, print a table, write JSON if asked; 1 when a case failed. Failed cases are kept.

    Raises:
        JournalError: too little free disk in `wish.directory`.
    """
    console, begun_s = Console(stderr=True), time.monotonic()
    cases: list[Case] = []
    directory = wish.directory.absolute()
    keep = directory / 'fuzz-failures'
    with scratch(directory, NEEDED_BYTES) as folder, console.status('starting') as status:
        for case in run_cases(wish, folder, keep):
            cases.append(case)
            status.update(f'{len(cases)} of {len(wish.numbers)}')
    seconds = time.monotonic() - begun_s
    cases.sort(key=lambda case: case.number)
    problems = [
        f'case {case.number} ({case.subject}, {case.mutation}): {case.problem}; damaged bags are in {keep}'
        for case in cases
        if case.problem
    ]
    show(f'fuzzing, seed {wish.seed}', [*_rows(cases), ('time', f'{seconds:.0f} s', '')], problems)
    described = {'seed': wish.seed, 'seconds': seconds, 'cases': [asdict(case) for case in cases]}
    write_figures(wish.json, described | {'missed': problems})
    return 1 if problems else 0


def run_cases(wish: FuzzStress, folder: Path, keep: Path) -> Iterator[Case]:
    """Cases as they come out, from several processes; one that dies or hangs has failed and is replaced."""
    todo = iter(wish.numbers)
    count = min(wish.workers, len(wish.numbers))
    workers = [_Worker(wish, folder / f'worker-{number}', keep) for number in range(count)]
    try:
        for worker in workers:
            worker.give(next(todo, None))
        while busy := [worker for worker in workers if worker.case is not None]:
            wait([worker.pipe for worker in busy], timeout=1.0)
            for worker in busy:
                if (case := worker.look()) is not None:
                    yield case
                    worker.give(next(todo, None))
    finally:
        for worker in workers:
            worker.end()


@dataclass
class _Worker:
    """A process, the case it works on, and since when."""

    wish: FuzzStress
    folder: Path
    keep: Path
    case: int | None = None
    since_s: float = 0.0
    patience_s: float = START_S
    pipe: Connection = field(init=False)
    process: mp.Process = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    def give(self, case: int | None) -> None:
        """The next case, or none."""
        self.case, self.since_s = case, time.monotonic()
        if case is not None:
            self.pipe.send(case)

    def look(self) -> Case | None:
        """What has become of the case, if anything yet."""
        if self.pipe.poll():
            try:
                outcome = self.pipe.recv()
            except EOFError:
                self.process.join()
                return self._failed(f'the process died with exit code {self.process.exitcode}')
            self.patience_s = HANG_S
            return outcome
        if time.monotonic() - self.since_s > self.patience_s:
            return self._failed(f'it hangs: no answer within {self.patience_s:g} s')
        return None

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()

    def _failed(self, problem: str) -> Case:
        self.end()
        self._start()
        return Case(self.case, 'unknown', 'unknown', '', problem)

    def _start(self) -> None:
        context = mp.get_context('spawn')
        self.pipe, theirs = context.Pipe()
        number = len(list(self.folder.glob('*')))
        arguments = (theirs, self.wish, self.folder / str(number), self.keep)
        self.process = context.Process(target=_serve, args=arguments)
        self.process.start()
        theirs.close()
        self.patience_s = START_S


def _serve(pipe: Connection, wish: FuzzStress, folder: Path, keep: Path) -> None:
    """Run the cases that come, until the pipe closes."""
    folder.mkdir(parents=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    contract = slow(load_contract(wish.contract_file))
    subjects = make_subjects(folder, contract)
    limit = psutil.Process().memory_info().vms + MAX_GROWTH_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        pipe.send(run_case(number, wish.seed, subjects, contract, folder, keep))


def _rows(cases: list[Case]) -> list[Row]:
    rows = []
    for subject in sorted({case.subject for case in cases}):
        members = [case for case in cases if case.subject == subject]
        outcomes = Counter(case.outcome for case in members if not case.problem)
        said = ', '.join(f'{outcomes[outcome]} {outcome}' for outcome in OUTCOMES if outcomes[outcome])
        rows.append((f'{subject}: {len(members)} cases', said, ''))
    failed = sum(bool(case.problem) for case in cases)
    return [*rows, ('failed', str(failed), '0')]
