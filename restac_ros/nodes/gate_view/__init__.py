"""Gate, chunk and touch for rviz."""
