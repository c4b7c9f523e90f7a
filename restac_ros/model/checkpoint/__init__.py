"""Checkpoints: openpi's orbax layout, LeRobot's safetensors, our own directory, and how they combine."""
