"""What workers of a conversion find loaded: the server that they are forked from imports this, once."""

import gc
import importlib

LIBRARIES = ('restac_ros.dataset.merge', 'restac_ros.dataset.convert')
"""LeRobot, and with it torch."""


def load() -> None:
    """Import the libraries without collecting garbage, which would walk through all of them again and again.

    What is loaded stays, and is left alone in the workers as well: memory that nobody writes stays shared.
    """
    gc.disable()
    try:
        for name in LIBRARIES:
            importlib.import_module(name)
        gc.freeze()
    finally:
        gc.enable()


load()
