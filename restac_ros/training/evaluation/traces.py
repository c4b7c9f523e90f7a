"""Gate, uncertainty and code over whole episodes, frame after frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from restac_ros.policy.preprocessing import Preprocessor, stack
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.evaluation.network import EvaluatedNetwork
from restac_ros.training.evaluation.parity import deployed_observation
from restac_ros.training.evaluation.sampling import FramesDone


@dataclass(frozen=True)
class EpisodeTrace:
    """Touch readings of one episode; `squared_residual` is None for encoders without a prior."""

    gate: Float[np.ndarray, ' frames']
    logvar: Float[np.ndarray, ' frames']
    code_index: Int[np.ndarray, ' frames']
    squared_residual: Float[np.ndarray, ' frames'] | None


def touch_traces(
    network: EvaluatedNetwork,
    inputs: Preprocessor,
    episodes: Episodes,
    numbers: Sequence[int],
    batch_size: int,
    progress: FramesDone,
) -> list[EpisodeTrace]:
    """Read touch in every frame of the episodes, on the deployment road."""
    traces = []
    for done, number in enumerate(numbers):
        length = episodes.tables.spans[number].length
        parts: dict[str, list[np.ndarray]] = {}
        for first in range(0, length, batch_size):
            rows = np.minimum(np.arange(first, first + batch_size), length - 1)
            samples = [episodes.sample(number, frame, 1) for frame in rows.tolist()]
            reading = network.read(
                stack(
                    [
                        deployed_observation(inputs, sample, inputs.prompting.task(sample.task))
                        for sample in samples
                    ]
                )
            )
            for name, values in reading._asdict().items():
                if values is not None:
                    parts.setdefault(name, []).append(values[: length - first])
        whole = {name: np.concatenate(values) for name, values in parts.items()}
        traces.append(EpisodeTrace(**{'squared_residual': None, **whole}))
        progress(done + 1, len(numbers))
    return traces
