"""Every command of the documentation is executed here, or marked with what it needs."""
