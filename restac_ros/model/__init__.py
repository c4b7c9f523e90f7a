"""The policy network in flax nnx: pi0.5 backbone, tactile encoders, gates and the two ResTac fusions."""
