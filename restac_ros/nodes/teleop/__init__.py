"""Teleoperation: steps from keys and speeds from a gamepad become set-points of the controller."""
