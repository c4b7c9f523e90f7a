"""Examination and repair of damaged data sets."""
