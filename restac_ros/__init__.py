"""Touch for vision-language-action robots on ROS 2."""
