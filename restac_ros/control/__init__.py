"""From action chunks to safe set-points: continuity, limits and supervision, as pure functions of time."""
