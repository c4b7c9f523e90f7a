"""The simulated tactile sensor: shape of the plug in the gel, optics of the gel, frames."""
