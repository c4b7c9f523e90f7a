"""Tactile encoders: (tactile image, camera views, previous action) to an event code and its uncertainty."""
