"""Shapes, images and charts of gate, chunk and touch, for rviz and for files."""
