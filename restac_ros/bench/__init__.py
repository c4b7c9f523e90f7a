"""Benchmarks: figures to compare, as ratios within one run where speed drifts."""
