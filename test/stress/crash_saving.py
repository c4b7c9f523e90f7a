"""Conversions killed at random moments: what was finished stays, what was not can be done again."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from restac_ros.bench.recordings import START_NS, Scene, make_messages, write_recording
from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import DatasetError
from trial import Trial
from workshop import Workshop, append, contents, digests, episode_of, save

SECONDS = 1.2
CAMERA_PX, TACTILE_PX = (64, 48), (64, 48)
MAX_EPISODES = 3  # in a data set; then the next, so that reading all of it again stays quick
APPENDED = 'had become an episode'
BEYOND = 1.1  # of an undisturbed conversion's time: some trials are not hit at all
WAYS: dict[str, Callable[[Path, Path], None]] = {'saving': save, 'appending': append}


def saving_trials(
    folder: Path, contract: Contract, count: int, seed: int, workshop: Workshop
) -> Iterator[Trial]:
    """Kill conversions, of both ways in turn; after each, all episodes are read again."""
    rng = random.Random(seed)
    sites = {kind: _Site(folder / kind, contract, work, workshop) for kind, work in WAYS.items()}
    for number in range(count):
        kind = list(WAYS)[number % len(WAYS)]
        yield sites[kind].hit(kind, number, rng.uniform(0, BEYOND))


def make_journal(folder: Path, contract: Contract, number: int) -> Path:
    """A small finished recording, different for each number."""
    scene = Scene(CAMERA_PX, TACTILE_PX, seed=number)
    messages = make_messages(contract, SECONDS, scene, START_NS + number * 10**12)
    return write_recording(folder / f'journal-{number}', contract, messages)


class _Site:
    """A data set, what its finished episodes are known to hold, and how long a conversion into it takes."""

    def __init__(
        self, folder: Path, contract: Contract, work: Callable[[Path, Path], None], workshop: Workshop
    ) -> None:
        self._folder, self._contract, self._work, self._workshop = folder, contract, work, workshop
        self._usual_s = 0.0
        self._sets = 0
        self._journals = 0
        self._known: list[str] = []
        self._begin_set()
        self._convert(self._next_journal())  # into an existing set, from now on as usual
        self._known = workshop.do(digests, self._root)

    @property
    def _root(self) -> Path:
        return self._folder / f'set-{self._sets}' / 'data'

    def hit(self, kind: str, number: int, share: float) -> Trial:
        """Kill one conversion after a share of the time that it usually takes."""
        if len(self._known) >= MAX_EPISODES:
            self._begin_set()
        journal, before = self._next_journal(), contents(self._root)
        moment_s = share * self._usual_s
        process = self._workshop.begin(self._work, journal, self._root)
        process.join(moment_s)
        process.kill()
        process.join()
        try:
            outcome, problem = self._look(journal, before)
        except DatasetError as error:
            outcome, problem = '', f'the data set cannot be read: {error}'
        if problem:
            self._begin_set()
        return Trial(kind, number, round(moment_s * 1e3), outcome, problem)

    def _look(self, journal: Path, before: dict[str, bytes]) -> tuple[str, str]:
        """How things stand after the kill; the recording is converted if it is no episode yet."""
        if not self._root.exists():
            return '', 'the data set is gone'
        outcome = APPENDED
        if episode_of(journal, self._root) is None:
            if (after := contents(self._root)) != before:
                changed = sorted(name for name, _ in after.items() ^ before.items())
                return '', f'no episode, but files have changed: {", ".join(changed)}'
            self._convert(journal)
            outcome = 'as before, then done again'
        index, found = episode_of(journal, self._root), self._workshop.do(digests, self._root)
        if found[:-1] != self._known or index != len(self._known):
            same = sum(one == other for one, other in zip(found, self._known, strict=False))
            return '', f'episode {index} of {len(found)}; {same} of {len(self._known)} others as before'
        if outcome == APPENDED and self._left():  # by a kill after the swap: the next write must remove it
            self._convert(self._next_journal())
            known, found = found, self._workshop.do(digests, self._root)
            if found[:-1] != known:
                return '', 'a write after the kill has changed finished episodes'
        self._known = found
        return outcome, f'left behind: {left}' if (left := self._left()) else ''

    def _left(self) -> set[str]:
        """What lies beside the data set, but for locks."""
        beside = {path.name for path in self._root.parent.iterdir() if not path.name.endswith('.lock')}
        return beside - {self._root.name}

    def _convert(self, journal: Path) -> None:
        begun_s = time.monotonic()
        self._workshop.do(self._work, journal, self._root)
        self._usual_s = time.monotonic() - begun_s

    def _begin_set(self) -> None:
        self._sets += 1
        self._root.parent.mkdir(parents=True)
        self._convert(self._next_journal())
        self._known = self._workshop.do(digests, self._root)

    def _next_journal(self) -> Path:
        self._journals += 1
        return make_journal(self._folder, self._contract, self._journals)
