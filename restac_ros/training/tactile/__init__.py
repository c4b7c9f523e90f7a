"""Training of Unit-Align: what touch feels like, what cameras expect of it, and what contradicts them."""
