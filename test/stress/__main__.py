"""`make stress`, `python test/stress crash|fuzz`: harnesses that break things at random moments."""

import os
import sys
from typing import Annotated

import tyro
from tyro.conf import OmitSubcommandPrefixes, subcommand

from crash import CrashStress
from fuzz import FuzzStress

Stress = Annotated[CrashStress, subcommand('crash')] | Annotated[FuzzStress, subcommand('fuzz')]

if __name__ == '__main__':
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    sys.exit(tyro.cli(Stress, prog='stress', description=__doc__, config=(OmitSubcommandPrefixes,)).run())
