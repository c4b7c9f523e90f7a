"""Compiled programs kept on disk, so that the second start of a policy does not compile."""

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache


def default_cache_directory() -> Path:
    """$XDG_CACHE_HOME/restac_ros/jax, by default under ~/.cache."""
    root = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
    return root / 'restac_ros' / 'jax'


def enable_compile_cache(directory: Path) -> None:
    """Make JAX, in the whole process, keep compiled programs in `directory` (readable by its owner only).

    Programs found there are run as they are, so the directory must be as trustworthy as this code.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    jax.config.update('jax_compilation_cache_dir', str(directory))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
    compilation_cache.reset_cache()  # one that has been opened already would stay in use
