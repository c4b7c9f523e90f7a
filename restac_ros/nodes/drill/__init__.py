"""Faults on purpose, with an arm of thin air."""
