"""Subcommands of `restac-ros` by subject: small dataclasses whose `run` calls a layer."""
