"""`make stress`, `python test/stress crash|fuzz|many-bags`: damage at random moments, and many recordings."""

import os
import sys
from typing import Annotated

import tyro
from tyro.conf import OmitSubcommandPrefixes, subcommand

from crash import CrashStress
from fuzz import FuzzStress
from many_bags import ManyBagsStress

Stress = (
    Annotated[CrashStress, subcommand('crash')]
    | Annotated[FuzzStress, subcommand('fuzz')]
    | Annotated[ManyBagsStress, subcommand('many-bags')]
)

if __name__ == '__main__':
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    sys.exit(tyro.cli(Stress, prog='stress', description=__doc__, config=(OmitSubcommandPrefixes,)).run())
