"""The streamer: receives chunks, publishes set-points."""
