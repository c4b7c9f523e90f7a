"""Recordings: crash-safe journals, bags of any make, and LeRobot data sets framed as for the live policy."""
