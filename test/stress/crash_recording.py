"""Recorders killed at random moments: at most the last second of what they were offered may be missing.

A source publishes patterns without a pause, each message stamped with the moment it is due. What a killed
recorder leaves is recovered and converted: no message may be missing between the first and the last, none
may have other content than the source sends; how old the last is, is what was lost. Some recorders are killed
at once, perhaps before they hear the source: what they leave must be recoverable, or empty.
"""

import hashlib
import random
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from restac_ros.bench.processes import EMPTY_JOURNAL_BYTES, end_family, ended_in_order, journal_bytes, started
from restac_ros.contract.load import load_contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.bag.mcap_scan import MESSAGE_HEAD, scan, span_contents, walk_records
from restac_ros.dataset.errors import BagError, JournalError
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.recovery import find_unfinished, recover
from restac_ros.installation import GraphError
from restac_ros.process import Process
from trial import Trial
from workshop import Workshop, digests, save

LONGEST_S = 2.5  # of recording before the kill
EARLY_S = 1.0  # after the journal's first byte
EARLY_SHARE = 0.2  # of the trials
CLOSING_S = 0.4  # between Ctrl-C and the kill, where the closing is hit
CLOSING_SHARE = 0.3  # of the others
REFERENCE_S = 4.5  # two loops of the source's patterns, so that each of its messages is known
MIN_EPISODE_NS = 10**9  # shorter recordings may be refused
START_TIMEOUT_S = 30.0
MAX_STARTS = 3
POLL_S = 0.01
CAMERA_PX = (160, 120)
MESSAGE = 0x05  # a record's opcode


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
        self.deaf_starts = 0
        self._source = started(
            self._process(
                'synthetic_node',
                {
                    'seconds': 86_400.0,
                    'wait_subscribers': 0,
                    'camera_width_px': CAMERA_PX[0],
                    'camera_height_px': CAMERA_PX[1],
                },
            ),
            folder / 'source.log',
        )

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

        After a kill, Fast DDS may fail to open a port in shared memory, so that the next process hears
        nothing (and says so). That is started again, and counted in `deaf_starts`.

        Raises:
            GraphError: it did not begin, whatever was tried.
        """
        for attempt in range(1, MAX_STARTS):
            try:
                return self._kill(self.folder / f'journals-{number}-{attempt}', rng)
            except GraphError:
                self.deaf_starts += 1
        return self._kill(self.folder / f'journals-{number}-{MAX_STARTS}', rng)

    def _kill(self, journals: Path, rng: random.Random) -> Hit:
        early = rng.random() < EARLY_SHARE
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
        lost_ms, problem = self._compare(journal, hit)
        return journal, how, problem, None if hit.early else lost_ms

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

    def _compare(self, journal: Path, hit: Hit) -> tuple[float, str]:
        """How many ms before the last offer the last message was received, and what is wrong."""
        bag = open_bag(journal)
        if bag.notes:
            return 0.0, f'the bag is not in order: {bag.notes}'
        newest_ns = hit.offered_until_ns
        for message in bag.messages():
            if payload(message.cdr) not in self._payloads.get(message.topic, ()):
                return 0.0, f'a message on {message.topic} has content that nobody has sent'
            newest_ns = message.log_time_ns
        lost_ms = max(0.0, (hit.offered_until_ns - newest_ns) / 1e6)
        return lost_ms, '; '.join(f'channel {c}: {gap}' for c, gap in gaps(next(journal.glob('*.mcap'))))


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
                how, problem = _converted(journal, how, workshop)
        except BagError as error:
            how, problem, lost_ms = '', str(error), None
        yield Trial('recording', number, round(hit.moment_s * 1e3), how, problem, lost_ms)


def gaps(file: Path) -> Iterator[tuple[int, str]]:
    """Channels of which not every message is there, from the first that was written to the last.

    A recorder numbers what it writes. What the middleware loses on a busy machine is not numbered.
    """
    numbers = defaultdict(list)
    with file.open('rb') as stream:
        for span in scan(file).spans:
            raw = span_contents(stream, span)
            for record in walk_records(BytesIO(raw), 0, len(raw)):
                if record.opcode == MESSAGE:
                    channel, number, _, _ = MESSAGE_HEAD.unpack_from(raw, record.offset)
                    numbers[channel].append(number)
    for channel, found in numbers.items():
        if found != list(range(len(found))):
            yield channel, f'{found[-1] + 1 - len(found)} of {found[-1] + 1} messages are missing'


def payload(cdr: bytes) -> bytes:
    """Digest of a message but for its stamp."""
    return hashlib.blake2b(cdr[:4] + cdr[12:], digest_size=16).digest()


def _converted(journal: Path, how: str, workshop: Workshop) -> tuple[str, str]:
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
