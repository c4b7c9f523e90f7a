"""Deletes episodes of a data set: they are moved aside as by repair, and no video is encoded anew."""

from collections.abc import Collection
from pathlib import Path

from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.episode_notes import DELETED, deleted_recordings, episode_notes
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.repair.damage import Lost
from restac_ros.dataset.repair.examination import examine_dataset
from restac_ros.dataset.repair.repair import repair
from restac_ros.dataset.repair.whole import check_whole


def delete_episodes(root: Path, numbers: Collection[int]) -> tuple[Path, list[Lost]]:
    """Remove episodes from a whole data set; return the folder of replaced files, and what was removed.

    The episodes after them get lower numbers. The data set keeps which recordings were deleted, so that
    converting them all again does not bring these back.

    Raises:
        DatasetError: it is broken, lacks such an episode, or would be empty. It is as before.
    """
    root = dataset_place(root)
    before = check_whole(root)
    known = {episode.rows.number for episode in before.whole}
    if unknown := sorted(set(numbers) - known):
        shown = ', '.join(map(str, unknown))
        raise DatasetError(f'{root} has no episode {shown}: its episodes are 0 to {max(known)}')
    if known <= set(numbers):
        raise DatasetError(f'{root} would be empty. Remove the directory itself.')
    damage = examine_dataset(root, dict.fromkeys(numbers, 'deleted on request'))
    damage.state = before.state  # the numbers are those of the first examination
    found = {episode_notes(root, number).get('fingerprint', '') for number in numbers}
    gone = sorted(deleted_recordings(root) | found - {''})
    return repair(damage, 'deleted', {DELETED: {'fingerprints': gone}}), damage.lost
