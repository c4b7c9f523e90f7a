"""ROS nodes: parameters, wiring and short callbacks. The only layer that reads clocks and logs."""
