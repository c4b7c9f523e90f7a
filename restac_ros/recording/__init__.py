"""The recorder's states, journal thread and conversions. Time is an argument; nothing here names ROS."""
