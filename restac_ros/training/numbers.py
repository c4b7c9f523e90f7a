"""A report of the device as numbers by name, in SI units where they are physical."""

import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from restac_ros.dataset.features import STATE_NAMES
from restac_ros.framing.values import STATE_DIM
from restac_ros.policy.normalization import Quantiles

_LOSS, _ACTION = 'flow_loss_by_dim', 'action_error_by_dim'
_BY_SOURCE = ('source_loss', 'source_valid')


def over_steps(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the last step's report with the sums and counts of each data set over all of these steps."""
    parts = jax.device_get([{name: one[name] for name in _BY_SOURCE if name in one} for one in reports])
    return {**reports[-1], **jax.tree.map(lambda *values: np.sum(values, axis=0), *parts)}


def report_numbers(
    report: Mapping[str, Any], actions: Quantiles, datasets: Sequence[str]
) -> dict[str, float]:
    """Return scalars by name.

    Args:
        report: of steps or a validation: scalars; where actions are learnt, one value per dimension, and of
            each data set its sum and count. A data set that is not counted is left out.
        actions: statistics of the actions, which give units to normalised errors.
        datasets: directories, in the order of the mixture.
    """
    host = jax.device_get(dict(report))
    by_dim, *by_source, chunk = (host.pop(name, None) for name in (_LOSS, *_BY_SOURCE, _ACTION))
    numbers = {name: float(value) for name, value in host.items() if name not in ('finite', 'valid')}
    if by_dim is None:
        return numbers
    if len(datasets) > 1:
        numbers |= {
            f'flow_loss_of/{number}_{Path(name).name}': float(total / count)
            for number, (name, total, count) in enumerate(zip(datasets, *by_source, strict=True))
            if count > 0
        }
    names = STATE_NAMES[: len(by_dim)]
    numbers |= {f'flow_loss_in/{name}': float(by_dim[dim]) for dim, name in enumerate(names)}
    numbers |= _in_units(by_dim, actions, '')
    return numbers if chunk is None else numbers | _in_units(chunk, actions, 'action_')


def memory_gib() -> float:
    """Most memory that this process has used at a time: of its first device, or, on a CPU, of the machine."""
    about = jax.local_devices()[0].memory_stats() or {}
    used = about.get('peak_bytes_in_use') or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return used / 2**30


def _in_units(by_dim: np.ndarray, actions: Quantiles, prefix: str) -> dict[str, float]:
    """Root mean squared errors of position, rotation and, where there is a gripper, opening."""
    by_dim = by_dim[:STATE_DIM]
    errors = np.sqrt(by_dim) * (np.subtract(actions.q99, actions.q01) / 2)[: len(by_dim)]
    numbers = {
        f'{prefix}position_m': float(np.sqrt(np.sum(errors[:3] ** 2))),
        f'{prefix}rotation_rad': float(np.sqrt(np.sum(errors[3:6] ** 2))),
    }
    return numbers | {f'{prefix}gripper_mm': float(opening * 1e3) for opening in errors[6:]}
