"""The states of the recorder, its journal thread and its conversions: time is handed in, no ROS."""
