"""Bags of any make, read and written."""
