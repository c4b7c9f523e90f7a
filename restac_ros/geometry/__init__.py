"""Rotations, poses, and the one rule of action deltas: numpy only, any leading axes."""
