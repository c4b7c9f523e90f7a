"""Offline evaluation: how wrong a policy's chunks are on recorded episodes, and whether it uses touch."""
