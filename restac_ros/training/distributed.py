"""Several processes as one run: its members, and what they must agree on.

Each process reads its share of every batch, and runs the same program on its own devices; process 0 alone
prints and writes what is not sharded. A directory that all of them share holds the run.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from restac_ros.training.config import DistributedConfig
from restac_ros.training.errors import TrainingError

# srun sets it in every task of a job step; a shell inside an allocation is no task of one.
SLURM_TASKS = 'SLURM_STEP_NUM_TASKS'


def join_processes(config: DistributedConfig, environment: Mapping[str, str]) -> None:
    """Join the other processes, if there are any. Call it before anything else touches a device.

    Raises:
        TrainingError: the arguments are incomplete, or the others are not reached.
    """
    if (arguments := process_arguments(config, environment)) is None:
        return
    try:
        jax.distributed.initialize(**arguments)
        # Connections are made by the first exchange, which waits 30 s only: now, while all are at one place.
        multihost_utils.sync_global_devices('joined')
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f'distributed: the processes did not find each other with {arguments}: {error}; start all '
            'of them, with one coordinator address that each host reaches'
        ) from error


def process_arguments(config: DistributedConfig, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` is given; None where a process trains alone.

    Raises:
        TrainingError: the arguments are incomplete.
    """
    if (config.coordinator, config.processes, config.process) == (None, None, None):
        return {'cluster_detection_method': 'slurm'} if int(environment.get(SLURM_TASKS, 1)) > 1 else None
    if config.coordinator is None or config.processes is None or config.process is None:
        raise TrainingError(
            f'distributed: found {config}, expected --distributed.coordinator HOST:PORT, '
            '--distributed.processes '
            'N and --distributed.process I, or none of them'
        )
    if not 0 <= config.process < config.processes:
        raise TrainingError(
            f'distributed.process: found {config.process}, expected 0 to {config.processes - 1}'
        )
    return {
        'coordinator_address': config.coordinator,
        'num_processes': config.processes,
        'process_id': config.process,
    }


def share_of() -> tuple[int, int]:
    """This process, and the number of processes: which share of a batch is read here."""
    return jax.process_index(), jax.process_count()


def is_leader() -> bool:
    """Whether this process prints and writes."""
    return jax.process_index() == 0


def agreed(values: np.ndarray) -> np.ndarray:
    """Process 0's values, in all processes."""
    return values if jax.process_count() == 1 else np.asarray(multihost_utils.broadcast_one_to_all(values))


def is_true_anywhere(value: bool) -> bool:
    """Whether it is true in any process; all of them must ask at the same step."""
    if jax.process_count() == 1:
        return value
    return bool(np.any(multihost_utils.process_allgather(np.array([value]))))


def on_host(leaves: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    """Whole arrays on the host, gathered from all processes."""
    return {name: _whole(leaf) for name, leaf in leaves.items()}


def _whole(leaf: jax.Array) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)
