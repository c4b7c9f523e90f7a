"""Which scenes of the simulated cell a data set shows: each episode's notes hold its seed."""

from collections import defaultdict
from pathlib import Path

SEED_NOTE = 'simulated cell, seed '


def recorded_seeds(root: Path) -> dict[int, set[str]]:
    """Return the seeds whose episodes a data set holds, and their tasks; other recordings have none."""
    from restac_ros.dataset.episode_notes import episode_notes, noted_episodes

    tasks: defaultdict[int, set[str]] = defaultdict(set)
    for index in noted_episodes(root):
        about = episode_notes(root, index)
        for note in about.get('notes', []):
            if note.startswith(SEED_NOTE):
                tasks[int(note.removeprefix(SEED_NOTE))].add(str(about.get('task', '')))
    return dict(tasks)
