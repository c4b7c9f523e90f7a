"""What a path in a directory of recordings is."""

from pathlib import Path

from restac_ros.dataset.bag.bag_reader import ENDINGS, Bag
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.session_log import is_session_log


def holds_bag(path: Path) -> bool:
    """Whether there is a bag at a path, by the names of its files."""
    if not path.is_dir():
        return path.name.endswith(ENDINGS)
    names = [file.name for file in path.iterdir()]
    return 'metadata.yaml' in names or any(
        holds_bag(path / name) for name in names if (path / name).is_file()
    )


def kind_of(bag: Bag) -> str:
    """'session log', 'journal' or 'bag'."""
    if is_session_log(bag):
        return 'session log'
    return 'bag' if read_notes(bag).contract_text is None else 'journal'
