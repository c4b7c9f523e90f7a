"""Gate, chunk, touch, cameras and robot as a page for a browser (Rerun)."""
