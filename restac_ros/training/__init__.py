"""From recorded episodes to checkpoints: statistics, loader, training step, checkpoints; no ROS, no torch."""
