"""What the gate is standardised by: mean and spread of logvar over tactile frames."""

import numpy as np
from jaxtyping import Float

from restac_ros.model.checkpoint.provenance import GateCalibration
from restac_ros.policy.errors import PolicyError


def calibrate_gate(logvar: Float[np.ndarray, ' N'], source: str) -> GateCalibration:
    """Return the calibration of logvar over N tactile frames; `source` names the frames.

    Raises:
        PolicyError: logvar is not finite or does not vary, so that no gate can depend on it.
    """
    values = np.asarray(logvar, np.float64)
    mean, std = float(values.mean()), float(values.std())
    if not np.isfinite(mean) or not std > 0:
        raise PolicyError(
            f'logvar of the tactile encoder: found mean {mean} and deviation {std} over {len(values)} frames '
            f'({source}), expected finite numbers that vary; the encoder is damaged or ignores its inputs'
        )
    return GateCalibration(mean, std, len(values), source)
