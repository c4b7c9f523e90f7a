"""What the converter noted of each episode: a JSON file per episode in a data set's meta/restac_ros."""

from pathlib import Path
from typing import Any

from restac_ros.dataset.dataset_files import ABOUT, read_json
from restac_ros.dataset.errors import DatasetError

DELETED = ABOUT / 'deleted.json'  # fingerprints of recordings whose episodes were deleted


def notes_path(index: int) -> Path:
    """Return where an episode's notes lie in a data set, relative to it."""
    return ABOUT / 'episodes' / f'episode_{index:06d}.json'


def noted_episodes(root: Path) -> dict[int, Path]:
    """Return the files of notes, relative to the data set, by number of the episode."""
    files = sorted((root / ABOUT / 'episodes').glob('episode_[0-9]*.json'))
    return {int(file.stem.rpartition('_')[2]): file.relative_to(root) for file in files}


def episode_notes(root: Path, index: int) -> dict[str, Any]:
    """Return the notes of an episode; empty where there are none.

    Raises:
        DatasetError: they are damaged.
    """
    path = root / notes_path(index)
    try:
        return read_json(path) if path.is_file() else {}
    except DatasetError as error:
        raise damaged_notes(root, index, error) from error


def damaged_notes(root: Path, index: int, error: Exception) -> DatasetError:
    """Return the error for notes that cannot be used."""
    found = f'{root / notes_path(index)} is damaged: {error}'
    return DatasetError(f'{found}. Remove it, or convert the recording again.')


def converted_recordings(root: Path) -> dict[str, int]:
    """Return the number of the episode of each recording that a data set holds, by fingerprint."""
    notes = (episode_notes(root, index) for index in noted_episodes(root))
    return {about['fingerprint']: about['episode_index'] for about in notes if about.get('fingerprint')}


def deleted_recordings(root: Path) -> set[str]:
    """Return the fingerprints of recordings whose episodes were deleted from a data set."""
    return set(read_json(root / DELETED)['fingerprints']) if (root / DELETED).is_file() else set()
