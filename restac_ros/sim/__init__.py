"""A robot for users without one: a virtual arm, and faults of its streams."""
