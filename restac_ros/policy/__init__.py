"""From frames to action chunks: transforms, normalisation, tokenizer, and the policy with its three calls."""
