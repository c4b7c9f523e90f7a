"""The command line with one more preset: a network with everything in it that compiles in seconds."""

import sys
from dataclasses import replace

from restac_ros.model.presets import PRESETS

MICRO = 'micro'


def add_micro_preset() -> None:
    """Make `--preset micro` known: `tiny` with one layer of SigLIP, and 4 patches an image."""
    tiny = PRESETS['tiny']
    PRESETS[MICRO] = replace(tiny, siglip=replace(tiny.siglip, depth=1, patch_size=112))


if __name__ == '__main__':
    from restac_ros.cli import main

    add_micro_preset()
    sys.exit(main())
