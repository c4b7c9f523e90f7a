"""Journals cut off at random bytes: what is recovered must be every whole message before the cut, no more."""

import random
from collections.abc import Iterator
from pathlib import Path

from restac_ros.bench.recordings import Scene, make_messages, write_recording
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.bag_writer import COMPRESSIONS, PARTIAL, Compression
from restac_ros.dataset.bag.mcap_scan import scan, walk_records
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.errors import BagError, JournalError
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.recovery import find_unfinished, recover
from trial import Trial

SMALL = Scene((64, 48), (64, 48))
SECONDS = 1.0
TASK = 'cut off'
MESSAGE = 0x05


def truncation_trials(folder: Path, contract: Contract, count: int, seed: int) -> Iterator[Trial]:
    """Cut journals of each compression in turn: anywhere, and in what closing has written."""
    rng = random.Random(seed)
    messages = list(make_messages(contract, SECONDS, SMALL))
    for number in range(count):
        compression: Compression = list(COMPRESSIONS)[number % len(COMPRESSIONS)]
        whole = folder / f'whole-{compression}'
        if not whole.exists():
            write_recording(whole, contract, messages, TASK, compression)
        file = next(whole.glob('*.mcap'))
        size = file.stat().st_size
        end = scan(file).end
        cut = rng.randrange(end, size) if number % 2 else rng.randrange(end)
        problem, kept = _try(folder / f'cut-{number}{PARTIAL}', file, cut, messages)
        yield Trial(f'truncated journal, {compression}', number, cut, kept, problem)


def _try(partial: Path, file: Path, cut: int, messages: list[BagMessage]) -> tuple[str, str]:
    """What is wrong with what is recovered of a file's first bytes ('' if nothing), and what is."""
    expected = whole_messages(file, cut)
    partial.mkdir()
    (partial / file.name).write_bytes(file.read_bytes()[:cut])
    if find_unfinished(partial.parent) != [partial]:
        return f'{partial.name} is not found as unfinished', ''
    try:
        recovered = recover(partial)
        bag = open_bag(recovered.path)
        found = list(bag.messages())
    except (BagError, JournalError) as error:
        refused = f'{expected} whole messages are refused: {error}'
        return (refused if expected else ''), 'without a message'
    finally:
        _move_away(partial)
    if found != messages[:expected]:
        return f'{len(found)} messages are recovered, {expected} are whole (or they differ)', ''
    if bag.notes:
        return f'the recovered bag is not in order: {bag.notes}', ''
    if read_notes(bag).task != TASK:
        return f'the task reads {read_notes(bag).task!r}', ''
    return '', 'recovered'


def whole_messages(file: Path, cut: int) -> int:
    """How many of a file's messages lie before a cut: those of compressed chunks all or none."""
    total = 0
    with file.open('rb') as stream:
        for span in scan(file).spans:
            if span.offset + span.length <= cut:
                total += span.counts.total()
            elif not span.compression and span.offset < cut:
                records = walk_records(stream, span.offset, span.offset + span.length)
                total += sum(r.opcode == MESSAGE and r.offset + r.length <= cut for r in records)
    return total


def _move_away(partial: Path) -> None:
    """Out of the way of the next trial's search."""
    done = partial.parent / 'done'
    done.mkdir(exist_ok=True)
    for left in (partial, partial.with_name(partial.name.removesuffix(PARTIAL))):
        if left.exists():
            left.rename(done / left.name)
