"""A checksum for notes: of all that an MCAP file holds, only its metadata records have none of their own."""

import json
import zlib
from collections.abc import Mapping

LIBRARY = 'restac_ros'  # how the header of a file of ours names its writer
NOTES = 'restac_ros'  # the metadata record with what a recording of ours says about itself
SEAL = 'crc32'


def sealed(name: str, values: Mapping[str, str]) -> dict[str, str]:
    """The values of a metadata record with their checksum, over its name, too."""
    return {**values, SEAL: _checksum(name, values)}


def is_intact(name: str, values: Mapping[str, str], is_ours: bool) -> bool:
    """Whether the values are those that were sealed. Other recorders (not `is_ours`) may seal nothing."""
    if SEAL not in values:
        return not is_ours
    unsealed = {key: value for key, value in values.items() if key != SEAL}
    return values[SEAL] == _checksum(name, unsealed)


def _checksum(name: str, values: Mapping[str, str]) -> str:
    return f'{zlib.crc32(json.dumps([name, sorted(values.items())]).encode()):08x}'
