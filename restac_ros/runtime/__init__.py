"""The loops of policy and streamer. Time is an argument; nothing here names ROS."""
