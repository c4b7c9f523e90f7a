"""What an evaluation is asked to do."""

from dataclasses import dataclass

from restac_ros.policy.flow_steps import USUAL_FLOW_STEPS


@dataclass(frozen=True)
class EvaluationConfig:
    """Sizes and seeds; equal ones give equal figures.

    Attributes:
        frames: most frames that chunks are sampled for, half of them in contact where there are so many.
        executed: steps of a chunk that a robot executes before the next one comes: errors are of these.
        delay: of 'delayed' touch, frames.
        batch_size: frames at a time.
        seed: of noise, of the frames that stand in for others, and of the bootstrap.
        contact_column: of the data set, 1 in contact and 0 in free space; None: by the tactile images.
        time_bins: of the flow loss.
    """

    frames: int = 400
    executed: int = 8
    delay: int = 3
    batch_size: int = 16
    seed: int = 0
    contact_column: str | None = None
    time_bins: int = 10

    def flow_times(self) -> list[float]:
        """Middles of the bins of flow time."""
        return [(number + 0.5) / self.time_bins for number in range(self.time_bins)]


FLOW_STEPS = (USUAL_FLOW_STEPS, 5, 3, 2, 1)
"""Euler steps of a chunk that are compared; the first is what is deployed. A student has its own alone."""
