"""Every command of the documentation is executed here, or marked with what it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from test.docs.commands import MARKS, Block, blocks, pages
