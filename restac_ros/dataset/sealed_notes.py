"""Adds a checksum to notes: metadata records are the only ones of an MCAP file without one of their own."""

import json
import zlib
from collections.abc import Mapping

LIBRARY = 'restac_ros'  # the writer in the header of a file of ours
NOTES = 'restac_ros'  # the metadata record with the facts about a recording of ours
SEAL = 'crc32'


def sealed(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a metadata record NOTES with a checksum over its name and them."""
    return {**values, SEAL: _checksum(NOTES, values)}


def is_intact(name: str, values: Mapping[str, str], is_ours: bool) -> bool:
    """Return whether the values are those that were sealed. Other recorders (not `is_ours`) seal none."""
    if SEAL not in values:
        return not is_ours
    unsealed = {key: value for key, value in values.items() if key != SEAL}
    return values[SEAL] == _checksum(name, unsealed)


def _checksum(name: str, values: Mapping[str, str]) -> str:
    return f'{zlib.crc32(json.dumps([name, sorted(values.items())]).encode()):08x}'
