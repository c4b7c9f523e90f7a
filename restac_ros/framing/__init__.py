"""From messages to frames: decoding, kinematics and a causal time grid, the same live and recorded."""
