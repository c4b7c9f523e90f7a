"""What is broken in a data set, and the mending of it."""
