"""What a path in a directory of recordings is."""

import json
from pathlib import Path

from restac_ros.dataset.bag.bag_reader import ENDINGS, Bag
from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.session_log import is_session_log

LOG_SUFFIX = '.conversion.jsonl'  # of the converter's events, beside a journal
MOST_LOG_BYTES = 2**24


def holds_bag(path: Path) -> bool:
    """Return whether there is a bag at a path, by the names of its files."""
    if not path.is_dir():
        return path.name.endswith(ENDINGS)
    files = [file for file in path.iterdir() if file.is_file()]
    return any(file.name == 'metadata.yaml' or holds_bag(file) for file in files)


def no_recording(path: Path) -> str:
    """Return why one of several paths, as a shell's pattern gives them, is no finished recording; else ''."""
    if path.name.endswith(PARTIAL):
        return 'unfinished: being recorded, or left by a crash (then `restac-ros recover`)'
    return 'no recording' if path.exists() and not holds_bag(path) else ''


def conversion_refusal(path: Path) -> str:
    """Return why a journal became no episode when it was saved; '' where that is not known.

    The converter's events lie beside a journal, a JSON object a line.
    """
    log = path.with_name(f'{path.name}{LOG_SUFFIX}')
    if not log.is_file() or log.stat().st_size > MOST_LOG_BYTES:
        return ''
    reason = ''
    for line in log.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a line that a crash cut off
        if isinstance(event, dict) and event.get('event') == 'failed':
            reason = str(event.get('error', '')).removeprefix(f'{path}: ')
    return reason


def kind_of(bag: Bag) -> str:
    """Return 'session log', 'journal' or 'bag'."""
    if is_session_log(bag):
        return 'session log'
    return 'bag' if read_notes(bag).contract_text is None else 'journal'
