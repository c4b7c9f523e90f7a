"""The policy at its three rates as a node."""
