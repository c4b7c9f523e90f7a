"""Refuses broken data sets: episodes of whole ones only are deleted, joined and compacted."""

from pathlib import Path

from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.repair.damage import DatasetDamage
from restac_ros.dataset.repair.examination import examine_dataset


def check_whole(root: Path, staging: Path | None = None) -> DatasetDamage:
    """Refuse a data set in which anything is broken; return what was found of it.

    In a transaction its copy `staging` is examined, and `root` named.

    Raises:
        DatasetError: it is broken, not a v3.0 data set, or being written at the moment.
    """
    examined = staging or root
    try:
        found = examine_dataset(examined)
    except DatasetError as error:
        raise DatasetError(str(error).replace(str(examined), str(root))) from error
    if not found.is_fine:
        raise DatasetError(f'{root} is broken. First mend it: `restac-ros repair {root}`')
    return found


def broken_parts(root: Path) -> str:
    """Return what is broken in a data set, '' where nothing is.

    Raises:
        DatasetError: it is not a v3.0 data set, or being written at the moment.
    """
    found = examine_dataset(root)
    lost = [f'episode {one.number}: {one.reasons[0]}' for one in found.lost]
    return '; '.join([*found.faults, *lost, *map(str, [*found.strays, *found.leftovers])])
