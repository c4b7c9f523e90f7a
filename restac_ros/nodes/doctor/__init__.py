"""Live check of every stream."""
