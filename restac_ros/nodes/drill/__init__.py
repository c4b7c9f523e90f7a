"""Fault drill with a virtual arm."""
