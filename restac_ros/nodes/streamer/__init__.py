"""Chunks in, set-points out."""
