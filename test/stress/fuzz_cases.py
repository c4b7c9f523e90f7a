"""One damaged bag each: read as it was, told to be damaged, or refused; never read wrongly in silence.

A case fails when reading ends without an error and without a note on the damage, although messages are
missing, additional, in another order or different; when, damage told or not, a message comes out that was
never recorded; when a journal's own notes (task, contract, times) have changed in silence; or when anything
but our own error types is raised. Databases and MCAP files without chunks hold no checksums: there, nobody
can tell a changed message whose place is intact from a recorded one. Such cases count as undetectable.
"""

import random
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fuzz_mutations import BINARY, TEXT
from fuzz_subjects import Subject
from restac_ros.contract.errors import ContractError
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag, open_bag
from restac_ros.dataset.bag.mcap_file import McapFile
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.errors import BagError, ConversionError, JournalError
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.plan import plan_episode
from restac_ros.dataset.recovery import recover
from restac_ros.dataset.survey import recorded_samples, survey
from restac_ros.framing.framer import frames

REFUSALS = (BagError, JournalError)


@dataclass(frozen=True)
class Case:
    """How one came out: `outcome` when in order, else `problem` says what is wrong."""

    number: int
    subject: str
    mutation: str
    outcome: str
    problem: str = ''


@dataclass
class _Reading:
    """What a damaged bag gave: `told` is how it was said that it is damaged."""

    messages: list[BagMessage]
    told: str = ''
    bag: Bag | None = None
    notes_changed: bool = False
    is_unverified: bool = False  # the end of a chunk that was cut off: its checksum covers what is not there


def run_case(
    number: int, seed: int, subjects: list[Subject], contract: Contract, folder: Path, keep: Path
) -> Case:
    """Damage a subject as the seed and the number say, read it, judge; failures are copied to `keep`."""
    rng = random.Random(f'{seed}:{number}')
    subject = subjects[number % len(subjects)]
    mutation = rng.choice(TEXT if subject.target.endswith('.yaml') else BINARY)
    place = folder / f'case-{number}' / subject.path.name
    shutil.copytree(subject.path, place)
    target = place / subject.target
    damaged = mutation(target.read_bytes(), rng)
    target.write_bytes(damaged)
    try:
        outcome, problem = judge(subject, place, contract)
    except Exception as error:  # noqa: BLE001  any type of error that is not ours is what is looked for
        outcome, problem = '', f'{type(error).__module__}.{type(error).__name__}: {error}'
    if problem:
        kept = keep / f'{seed}-{number}'
        shutil.copytree(subject.path, kept, dirs_exist_ok=True)
        (kept / subject.target).write_bytes(damaged)
    shutil.rmtree(place.parent)
    return Case(number, subject.name, mutation.__name__, outcome, problem)


def judge(subject: Subject, place: Path, contract: Contract) -> tuple[str, str]:
    """How a damaged copy of a subject is read: the outcome, and what is wrong with that."""
    reading = _read(subject, place)
    found, known = reading.messages, set(subject.messages)
    altered = sum(message not in known for message in found)
    same = found == subject.messages
    if not same and reading.bag is not None:
        _make_frames(reading.bag, contract)
    if any(before.log_time_ns > after.log_time_ns for before, after in pairwise(found)):
        return '', 'messages are out of order'
    if altered and subject.has_checksums and not reading.is_unverified:
        return '', f'{altered} messages come out that were never recorded; told: {reading.told!r}'
    if reading.told:
        return ('refused' if reading.bag is None else 'told to be damaged'), ''
    if reading.notes_changed:
        return '', 'the notes have changed, and nothing is said'
    if same:
        return 'read as it was', ''
    if subject.has_checksums or len(found) != len(subject.messages):
        return '', f'{len(found)} of {len(subject.messages)} messages, {altered} altered, and nothing is said'
    return 'undetectable', ''


def _read(subject: Subject, place: Path) -> _Reading:
    reading = _Reading([])
    try:
        if subject.is_unfinished:
            recovered = recover(place)
            place, reading.told = recovered.path, recovered.damage or ''
        reading.bag = open_bag(place)
        reading.told = reading.told or '; '.join(reading.bag.notes)
        reading.is_unverified = subject.is_unfinished or any(
            isinstance(file, McapFile) and file.index.cut_chunk is not None for file in reading.bag.files
        )
        for message in reading.bag.messages():
            reading.messages.append(message)
        reading.notes_changed = read_notes(reading.bag) != subject.notes
    except REFUSALS as error:
        reading.told = str(error)
        if not reading.messages:
            reading.bag = None
    return reading


def _make_frames(bag: Bag, contract: Contract) -> None:
    """What the converter does with it, in memory; it may refuse."""
    if bag.bounds_ns is None:
        return
    try:
        surveyed = survey(bag, contract, bag.bounds_ns[0], bag.bounds_ns[1] + 1)
        plan = plan_episode(surveyed, [], keep_longest=True)
        begin_ns, end_ns = (surveyed.grid.tick_ns(plan.first + n) for n in (0, plan.length))
        for _ in frames(contract, recorded_samples(bag, contract, begin_ns, end_ns), begin_ns, end_ns):
            pass
    except (BagError, ConversionError, ContractError):
        return
