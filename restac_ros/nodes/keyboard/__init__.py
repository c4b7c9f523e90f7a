"""The keyboard of a run, and calls of its services from a command line."""
