"""What a path in a directory of recordings is."""

from pathlib import Path

from restac_ros.dataset.bag.bag_reader import ENDINGS, Bag
from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.session_log import is_session_log


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


def kind_of(bag: Bag) -> str:
    """Return 'session log', 'journal' or 'bag'."""
    if is_session_log(bag):
        return 'session log'
    return 'bag' if read_notes(bag).contract_text is None else 'journal'
