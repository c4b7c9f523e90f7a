"""Recorders killed at random moments: at most the last second of what they were offered may be missing.

A source publishes patterns without a pause, each message stamped with the moment it is due. What a killed
recorder leaves is recovered and converted; no message may be missing between the first and the last, none
may have other content than the source sends, and the last must be younger than a second. Some recorders are
killed at once, perhaps before they hear the source: what they leave must be recoverable, or empty.
"""

import hashlib
import random
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from restac_ros.bench.datasets import Workshop, digests, save
from restac_ros.bench.processes import EMPTY_JOURNAL_BYTES, end_family, ended_in_order, journal_bytes, started
from restac_ros.bench.trial import Trial
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag_reader import Bag, open_bag
from restac_ros.dataset.bag_writer import PARTIAL
from restac_ros.dataset.errors import BagError, JournalError
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.recovery import find_unfinished, recover
from restac_ros.framing.sample import make_sample
from restac_ros.graph import GraphError, Process

MAX_LOSS_NS = 10**9
LONGEST_S = 2.5  # of recording before the kill
EARLY_S = 1.0  # after the journal's first byte
EARLY_SHARE = 0.2  # of the trials
CLOSING_S = 0.4  # between Ctrl-C and the kill, where the closing is hit
CLOSING_SHARE = 0.3  # of the others
REFERENCE_S = 4.5  # two loops of the source's patterns, so that each of its messages is known
MIN_EPISODE_NS = 10**9  # shorter recordings may be refused
START_TIMEOUT_S = 60.0
POLL_S = 0.01
CAMERA_PX = (160, 120)


class Hit(NamedTuple):
    """A killed recorder's folder of journals, and until when (ns, system's clock) messages were offered.

    `early`: it was killed before it was known to have recorded anything.
    """

    journals: Path
    moment_s: float
    offered_until_ns: int
    early: bool


class CrashSite:
    """A source that publishes while the block lasts, and recorders that are killed."""

    def __init__(self, folder: Path, contract_file: Path) -> None:
        self.folder = folder
        self.contract = load_contract(contract_file)
        self._shared = {'contract': str(contract_file), 'exit_on_refusal': True}
        self._payloads: dict[str, set[bytes]] = {}
        self._source = started(self._process('synthetic_node', {
            'seconds': 86_400.0,
            'wait_subscribers': 0,
            'camera_width_px': CAMERA_PX[0],
            'camera_height_px': CAMERA_PX[1],
        }), folder / 'source.log')

    def __enter__(self) -> 'CrashSite':
        self._source.__enter__()
        return self

    def __exit__(self, *about: object) -> None:
        self._source.__exit__(*about)

    def learn(self) -> None:
        """Record two loops undisturbed: all that the source ever sends, but for the stamps.

        Raises:
            GraphError: the recorder did not do its part.
        """
        journals = self.folder / 'reference'
        with self.recorder(journals) as (child, log):
            self.wait_for_recording(journals, child, log)
            time.sleep(REFERENCE_S)
            child.send_signal(signal.SIGINT)
            ended_in_order('the recorder', child, log, START_TIMEOUT_S)
        (journal,) = (path for path in journals.iterdir() if path.is_dir())
        payloads = defaultdict(set)
        for message in open_bag(journal).messages():
            payloads[message.topic].add(payload(message.cdr))
        self._payloads = dict(payloads)

    def kill(self, number: int, rng: random.Random) -> Hit:
        """Kill a recorder while it records, or some of them while they close the journal.

        Raises:
            GraphError: it did not begin.
        """
        journals, early = self.folder / f'journals-{number}', rng.random() < EARLY_SHARE
        moment_s = rng.uniform(0, EARLY_S if early else LONGEST_S)
        with self.recorder(journals) as (child, log):
            self.wait_for_recording(journals, child, log, 0 if early else EMPTY_JOURNAL_BYTES)
            time.sleep(moment_s)
            offered_until_ns = time.time_ns()
            if not early and rng.random() < CLOSING_SHARE:
                child.send_signal(signal.SIGINT)
                time.sleep(rng.uniform(0, CLOSING_S))
            end_family(child)
        return Hit(journals, moment_s, offered_until_ns, early)

    def look(self, hit: Hit) -> tuple[Path | None, str, str, float | None]:
        """What is left: the bag, how it was found, what is wrong, and how many ms are lost."""
        left = [path for path in hit.journals.iterdir() if path.is_dir()]
        if len(left) != 1:
            return None, '', f'{len(left)} journals are left, not one', None
        (journal,), how = left, 'found finished'
        if journal.name.endswith(PARTIAL):
            if find_unfinished(hit.journals) != [journal]:
                return None, '', 'the journal is not found as unfinished', None
            try:
                journal, how = recover(journal).path, 'recovered'
            except JournalError as error:
                return None, 'nothing yet', '' if hit.early else str(error), None
        bag = open_bag(journal)
        lost_ms, problem = self._compare(bag, hit)
        return journal, how, problem, lost_ms

    def recorder(self, journals: Path, **parameters: object) -> 'RecorderProcess':
        """A recorder that begins at once, as a block."""
        given = {
            'journal_dir': str(journals),
            'task': 'crash',
            'autostart_recording': True,
            'min_free_gb': 0.0,
            **parameters,
        }
        return RecorderProcess(self._process('recorder_node', given), self.folder / f'{journals.name}.log')

    def wait_for_recording(
        self, journals: Path, child: subprocess.Popen, log: Path, beyond_bytes: int = EMPTY_JOURNAL_BYTES
    ) -> None:
        """Until a journal is larger than `beyond_bytes`; GraphError when none comes."""
        for _ in range(round(START_TIMEOUT_S / POLL_S)):
            if journal_bytes(journals) > beyond_bytes:
                return
            if child.poll() is not None:
                break
            time.sleep(POLL_S)
        raise GraphError(f'the recorder has not begun to record; it said:\n{log.read_text(errors="replace")}')

    def _process(self, name: str, parameters: dict[str, object]) -> Process:
        summary = {'summary_file': str(self.folder / f'{name}.json')}
        return Process(name, self._shared | summary | parameters)

    def _compare(self, bag: Bag, hit: Hit) -> tuple[float, str]:
        """The longest loss at the end of a stream in ms, and what else is wrong."""
        if bag.notes:
            return 0.0, f'the bag is not in order: {bag.notes}'
        stamps = defaultdict(list)
        names = {spec.topic: name for name, spec in self.contract.streams.items()}
        for message in bag.messages():
            if payload(message.cdr) not in self._payloads.get(message.topic, ()):
                return 0.0, f'a message on {message.topic} has content that nobody has sent'
            sample = make_sample(self.contract, names[message.topic], message.cdr, message.log_time_ns)
            stamps[names[message.topic]].append(sample.stamp_ns)
        losses = {name: self._lost_ns(name, found, hit) for name, found in stamps.items()}
        problems = [f'{name}: {gap}' for name, found in stamps.items() if (gap := self._gap(name, found))]
        worst = max(losses, key=losses.get, default='')
        lost_ns = losses.get(worst, 0)
        if lost_ns > MAX_LOSS_NS and not hit.early:
            problems.append(f'{worst}: the last {lost_ns / 1e6:.0f} ms are lost')
        return max(0, lost_ns) / 1e6, '; '.join(problems)

    def _lost_ns(self, name: str, stamps: list[int], hit: Hit) -> int:
        """From the first message that is missing to the last moment in which one could be offered."""
        return hit.offered_until_ns - stamps[-1] - round(1e9 / self.contract.streams[name].rate_hz)

    def _gap(self, name: str, stamps: list[int]) -> str:
        """Messages that are missing between the first and the last."""
        expected = round((stamps[-1] - stamps[0]) * self.contract.streams[name].rate_hz / 1e9) + 1
        return f'{expected - len(stamps)} of {expected} are missing' if len(stamps) != expected else ''


class RecorderProcess:
    """A started recorder and its log, as a block; what still runs at the end is killed."""

    def __init__(self, process: Process, log: Path) -> None:
        self._log = log
        self._running = started(process, log)

    def __enter__(self) -> tuple[subprocess.Popen, Path]:
        return self._running.__enter__(), self._log

    def __exit__(self, *about: object) -> None:
        self._running.__exit__(*about)


def recording_trials(site: CrashSite, count: int, seed: int, workshop: Workshop) -> Iterator[Trial]:
    """Kill recorders; make an episode of what each leaves."""
    rng = random.Random(seed)
    for number in range(count):
        hit = site.kill(number, rng)
        try:
            journal, how, problem, lost_ms = site.look(hit)
            if journal and not problem:
                how, problem = _converted(site.contract, journal, how, workshop)
        except BagError as error:
            how, problem, lost_ms = '', str(error), None
        yield Trial('recording', number, round(hit.moment_s * 1e3), how, problem, lost_ms)


def payload(cdr: bytes) -> bytes:
    """Digest of a message but for its stamp."""
    return hashlib.blake2b(cdr[:4] + cdr[12:], digest_size=16).digest()


def _converted(contract: Contract, journal: Path, how: str, workshop: Workshop) -> tuple[str, str]:
    """Make an episode of a journal and read it; short ones may be refused."""
    bag = open_bag(journal)
    first_ns, last_ns = bag.bounds_ns or (0, 0)
    root = journal.parent / 'data'
    try:
        workshop.do(save, journal, root)
    except GraphError as error:
        begin_ns = max(first_ns, read_notes(bag).start_ns or 0)
        return f'{how}, too short', str(error) if last_ns - begin_ns > MIN_EPISODE_NS else ''
    episodes = len(workshop.do(digests, root))
    return f'{how}, converted', '' if episodes == 1 else f'{episodes} episodes were made of it'
