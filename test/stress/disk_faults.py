"""Full and read-only disks under the recorder, the converter and the recovery."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from crash_recording import CrashSite, Hit
from crash_saving import make_journal
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.recovery import find_unfinished, recover
from restac_ros.installation import GraphError
from small_disk import SmallDisk, small_disk
from trial import Trial
from workshop import Workshop, contents, digests, save

DISK_BYTES = 24 * 2**20
POLL_S = 0.05
LEFT_BYTES = (16_000, 400_000)  # room for a conversion: too little at its beginning, or in its middle
STOP_TIMEOUT_S = 60.0


def disk_trials(folder: Path, site: CrashSite, count: int, seed: int, workshop: Workshop) -> Iterator[Trial]:
    """`count` conversions onto a full disk, and every other fault once."""
    rng = random.Random(seed)
    with small_disk(folder / 'recording', DISK_BYTES) as disk:
        yield Trial('full disk, recording', 0, DISK_BYTES, *_recording_until_full(site, disk))
    with small_disk(folder / 'saving', 2 * DISK_BYTES) as disk:
        root = disk.path / 'data'
        workshop.do(save, make_journal(folder, site.contract, 1), root)
        for number in range(count):
            journal = make_journal(folder, site.contract, 2 + number)
            left = round(rng.uniform(*LEFT_BYTES))
            yield Trial('full disk, saving', number, left, *_saving(workshop, journal, disk, left))
            shutil.rmtree(journal)
    with small_disk(folder / 'read-only', 2 * DISK_BYTES) as disk:
        for number, fault in enumerate((_recording_read_only, _saving_read_only, _recovering_read_only)):
            kind = fault.__name__.strip('_').split('_')[0]
            yield Trial(f'read-only disk, {kind}', number, 0, *fault(site, disk, workshop))


def _recording_until_full(site: CrashSite, disk: SmallDisk) -> tuple[str, str]:
    """Record until the disk is full; the recorder must say so, and what is on the disk be recovered there."""
    journals = disk.path / 'journals'
    with site.recorder(journals) as (child, log):
        site.wait_for_recording(journals, child, log)
        disk.limit(child.pid, DISK_BYTES // 2)
        if problem := _told(child, log, 'make room'):
            return '', problem
    journal, how, problem, _ = site.look(Hit(journals, 0.0, 0, early=False))
    if journal is None:
        return '', problem or 'nothing could be recovered'
    return f'told, {how} in place', problem


def _saving(workshop: Workshop, journal: Path, disk: SmallDisk, left_bytes: int) -> tuple[str, str]:
    """Convert onto a full disk, then with room."""
    root = disk.path / 'data'
    before, known = contents(root), workshop.do(digests, root)
    disk.fill(left_bytes)
    refused = _refused(lambda: workshop.do(save, journal, root, None if disk.is_mounted else left_bytes))
    disk.make_room()
    if not refused:
        outcome = 'enough room after all'
    elif contents(root) != before:
        return '', 'refused, but files of the data set have changed'
    else:
        workshop.do(save, journal, root)
        outcome = 'refused, as before; done again'
    if workshop.do(digests, root)[:-1] != known:
        return '', 'finished episodes have changed'
    if left := [path.name for path in disk.path.iterdir() if path.name not in ('data', '.data.lock')]:
        return '', f'left behind: {left}'
    return outcome, ''


def _recording_read_only(site: CrashSite, disk: SmallDisk, workshop: Workshop) -> tuple[str, str]:
    """A recorder that cannot write says so; there is nothing to pretend with."""
    with disk.read_only(), site.recorder(disk.path / 'journals') as (child, log):
        problem = _told(child, log, str(disk.path))
    left = list(disk.path.iterdir())
    return 'refused', problem or (f'it has written {left}' if left else '')


def _told(child: subprocess.Popen, log: Path, text: str) -> str:
    """Wait until a recorder has said something, and end it; what is wrong, if anything."""
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while text not in (said := log.read_text(errors='replace')) and child.poll() is None:
        if time.monotonic() > deadline_s:
            return f'the recorder has not said {text!r}, but:\n{said}'
        time.sleep(POLL_S)
    child.send_signal(signal.SIGINT)
    status = child.wait(STOP_TIMEOUT_S)
    if status == 0 or 'ERROR' not in said or 'Traceback' in said:
        return f'the recorder has ended with status {status} and these words:\n{said}'
    return ''


def _saving_read_only(site: CrashSite, disk: SmallDisk, workshop: Workshop) -> tuple[str, str]:
    root = disk.path / 'data'
    workshop.do(save, make_journal(site.folder / 'ro', site.contract, 1), root)
    journal, before = make_journal(site.folder / 'ro', site.contract, 2), contents(root)
    with disk.read_only():
        refused = _refused(lambda: workshop.do(save, journal, root))
        if not refused or contents(root) != before or len(workshop.do(digests, root)) != 1:
            return '', 'not refused, or the data set has changed or cannot be read'
    workshop.do(save, journal, root)
    episodes = len(workshop.do(digests, root))
    return 'refused, as before; done again', '' if episodes == 2 else f'{episodes} episodes, not 2'


def _recovering_read_only(site: CrashSite, disk: SmallDisk, workshop: Workshop) -> tuple[str, str]:
    partial = cut_journal(disk.path / 'recovery', site.contract)
    before = contents(partial)
    with disk.read_only():
        try:
            recover(partial)
        except JournalError:
            if contents(partial) != before or find_unfinished(partial.parent) != [partial]:
                return '', 'refused, but the journal has changed'
        else:
            return '', 'recovered on a read-only disk'
    return 'refused, as before; done again', '' if recover(partial).messages else 'nothing is recovered'


def cut_journal(folder: Path, contract: Contract) -> Path:
    """An unfinished journal: the first two thirds of one."""
    whole = make_journal(folder, contract, 1)
    partial = whole.with_name(whole.name + PARTIAL)
    whole.rename(partial)
    (partial / 'metadata.yaml').unlink()
    file = next(partial.glob('*.mcap'))
    with file.open('r+b') as stream:
        stream.truncate(file.stat().st_size * 2 // 3)
    return partial


def _refused(work: Callable[[], None]) -> bool:
    try:
        work()
    except (GraphError, OSError):
        return True
    return False
