"""A robot for those who have none at hand: a virtual arm, and streams that fail on purpose."""
