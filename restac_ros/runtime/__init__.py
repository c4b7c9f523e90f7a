"""The loops of the policy process and what they share: time is handed in, nothing here names ROS."""
