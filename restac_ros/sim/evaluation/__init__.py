"""Policies in the simulated cell in closed loop: success by seed, ablations, perturbations."""
