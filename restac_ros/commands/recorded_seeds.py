"""Which scenes of the simulated cell a data set shows: each episode's notes hold its seed."""

from pathlib import Path

SEED_NOTE = 'simulated cell, seed '


def recorded_seeds(root: Path) -> set[int]:
    """Return the seeds whose episodes a data set holds; of other recordings there are none."""
    from restac_ros.dataset.episode_notes import episode_notes, noted_episodes

    notes = (note for index in noted_episodes(root) for note in episode_notes(root, index).get('notes', []))
    return {int(note.removeprefix(SEED_NOTE)) for note in notes if note.startswith(SEED_NOTE)}
