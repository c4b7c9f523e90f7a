"""A look at every stream before it is relied on."""
