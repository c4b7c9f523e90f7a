"""Compares numbers, totals, statistics and files of a data set with its whole episodes."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from restac_ros.dataset.dataset_files import ABOUT, STATS, read_json
from restac_ros.dataset.episode_notes import noted_episodes
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.repair.damage import DatasetDamage, Whole

COUNTERS = {'index', 'episode_index', 'task_index'}  # LeRobot's delete leaves their statistics as they were
STATS_TOLERANCE = 1e-3  # of a column's range
# LeRobot adds up an episode's float32 values one after the other in float32: each of n steps is off by up to
# half a unit in the last place of the sum, so the mean by n times that of the largest value.
FLOAT32_ROUNDING = float(np.finfo(np.float32).eps)


def number_episodes(damage: DatasetDamage) -> None:
    """Number the whole episodes in the order of their rows; list the faults of meta/episodes and rows."""
    start = 0
    for number, whole in enumerate(damage.whole):
        whole.number, whole.start = number, start
        start += whole.rows.count
        places = _places(whole)
        present = whole.about.select(list(places)).to_pylist()[0]
        whole.changes |= {name: value for name, value in places.items() if present[name] != value}
        damage.faults += [f'episode {whole.rows.number}: {text}' for text in whole.rows.renew.values()]
        if whole.changes and not damage.lost:
            names = ', '.join(f'{name} is not {value:g}' for name, value in whole.changes.items())
            damage.faults.append(f'episode {whole.rows.number}: meta/episodes is wrong: {names}')


def _places(whole: Whole) -> dict[str, int]:
    """Return where an episode is, as meta/episodes should have it."""
    file = whole.rows.file
    return {
        'episode_index': whole.number,
        'dataset_from_index': whole.start,
        'dataset_to_index': whole.start + whole.rows.count,
        'data/chunk_index': int(file.parent.name.rpartition('-')[2]),
        'data/file_index': int(file.stem.rpartition('-')[2]),
    }


def totals(damage: DatasetDamage) -> dict[str, Any]:
    """Return what meta/info.json should count of the whole episodes."""
    splits = {'train': f'0:{len(damage.whole)}'}
    if not damage.lost and len(damage.info.get('splits') or {}) > 1:
        splits = damage.info['splits']  # the user's own, and no episode was removed
    return {
        'total_episodes': len(damage.whole),
        'total_frames': sum(whole.rows.count for whole in damage.whole),
        'total_tasks': len(set(damage.numbers.values())),
        'splits': splits,
    }


def check_info(damage: DatasetDamage) -> None:
    """List the totals that are wrong even when lost episodes are counted."""
    if not damage.lost and not damage.info_lost:
        for name, value in totals(damage).items():
            if damage.info.get(name) != value:
                damage.faults.append(f'meta/info.json: {name} is {damage.info.get(name)}, not {value}')


def check_stats(damage: DatasetDamage) -> None:
    """Compare meta/stats.json with the rows, as far as they are numbers."""
    damage.stale_stats = bool(damage.lost)
    try:
        stats = json.loads((damage.root / STATS).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        damage.faults.append(f'{STATS} {"is missing" if missing else f"is damaged: {error}"}')
        damage.stale_stats = True
        return
    compared = [] if damage.lost or not damage.whole else [key for key in stats if key not in COUNTERS]
    wrong = [key for key in compared if _is_stale(key, stats, damage)]
    if wrong:
        damage.faults.append(f'{STATS} is not that of the rows: {", ".join(wrong)}')
        damage.stale_stats = True


def _is_stale(key: str, stats: dict[str, dict[str, list]], damage: DatasetDamage) -> bool:
    """Count, minimum, maximum or mean of a column of numbers differ from those of its rows."""
    parts = [whole.rows.moments[key] for whole in damage.whole if key in whole.rows.moments]
    if len(parts) < len(damage.whole):
        return False  # pictures, words
    counts = [whole.rows.count for whole in damage.whole]
    low, high = np.min([part[0] for part in parts], axis=0), np.max([part[1] for part in parts], axis=0)
    mean = np.sum([part[2] for part in parts], axis=0) / sum(counts)
    largest = np.maximum(np.abs(low), np.abs(high))
    near = STATS_TOLERANCE * (high - low) + 1e-6 * largest + 1e-6
    summed = near + max(counts) * FLOAT32_ROUNDING * largest
    expected = {'min': (low, near), 'max': (high, near), 'mean': (mean, summed)}
    return stats[key].get('count') not in (sum(counts), [sum(counts)]) or any(
        not _is_near(stats[key].get(name), value, tolerance) for name, (value, tolerance) in expected.items()
    )


def _is_near(stored: list | None, value: np.ndarray, tolerance: np.ndarray) -> bool:
    found = np.ravel(np.array(np.nan if stored is None else stored, np.float64))
    return found.shape == value.shape and bool(np.all(np.abs(found - value) <= tolerance))


def find_strays(damage: DatasetDamage, broken: Collection[Path], videos: Collection[Path]) -> None:
    """Files that belong to no whole episode, and descriptions of those that are lost."""
    root = damage.root
    used = {*videos, *(whole.rows.file for whole in damage.whole)}
    files = [path for folder in ('data', 'videos') for path in sorted((root / folder).rglob('*'))]
    damage.strays = [
        path.relative_to(root) for path in files if path.is_file() and path.relative_to(root) not in used
    ]
    damage.strays += [path for path in broken if path.is_relative_to('meta/episodes')]
    kept = {whole.rows.number for whole in damage.whole}
    for number, path in noted_episodes(root).items():
        if number not in kept or not _is_json(root / path):
            damage.strays.append(path)
    if damage.lost:  # a report on other episodes
        damage.strays += [path.relative_to(root) for path in sorted((root / ABOUT).glob('quality.*'))]


def _is_json(path: Path) -> bool:
    try:
        return bool(read_json(path))
    except DatasetError:
        return False
