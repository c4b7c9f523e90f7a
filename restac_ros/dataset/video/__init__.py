"""Camera images as video."""
