"""Finds quality reports, and reads their verdicts."""

from pathlib import Path
from typing import NamedTuple

from restac_ros.dataset.dataset_files import ABOUT, is_dataset
from restac_ros.dataset.errors import DatasetError
from restac_ros.whole_files import read_bounded_json

_MAX_BYTES = 64 * 2**20
_ASSESS_AGAIN = 'assess it again with `restac-ros quality`'


class Verdicts(NamedTuple):
    """Verdicts of a report, and their reasons; `file` is None where there is no report."""

    file: Path | None
    verdict: str
    episodes: list[str]
    reasons: list[str]


def report_file(path: Path, to: Path | None = None) -> Path:
    """Return the path of the JSON report of a recording or data set; in the directory `to` if given."""
    if to is not None:
        return to / 'quality.json'
    if is_dataset(path):
        return path / ABOUT / 'quality.json'
    return path / 'quality.json' if path.is_dir() else path.with_name(f'{path.stem}.quality.json')


def read_verdicts(path: Path) -> Verdicts:
    """Read the verdicts on a recording or data set.

    Raises:
        DatasetError: there is one, but it cannot be read.
    """
    file = report_file(path)
    if not file.is_file():
        return Verdicts(None, '', [], [])
    try:
        report = read_bounded_json(file, _MAX_BYTES, DatasetError, remedy=_ASSESS_AGAIN)
        episodes = [str(episode['verdict']) for episode in report['episodes']]
        findings = [
            *report['findings'],
            *(found for episode in report['episodes'] for found in episode['findings']),
        ]
        reasons = [str(found['text']) for found in findings if found['severity'] != 'note']
        return Verdicts(file, str(report['verdict']), episodes, reasons[:10])
    except (OSError, KeyError, TypeError) as error:
        raise DatasetError(f'{file} is damaged ({error}): {_ASSESS_AGAIN}.') from error
