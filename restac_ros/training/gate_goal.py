"""Goal of a calibration of the gate, set by the operator."""

from dataclasses import dataclass

from restac_ros.training.errors import TrainingError


@dataclass(frozen=True)
class GateGoal:
    """Gate values that frames must reach.

    Attributes:
        free_below: gate value that frames in free space lie below.
        contact_above: gate value that frames in contact lie above.
        share: of the frames of either kind for which that holds.
    """

    free_below: float = 0.2
    contact_above: float = 0.8
    share: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.free_below < self.contact_above < 1:
            raise TrainingError(
                f'free-below, contact-above: found {self.free_below:g} and {self.contact_above:g}, expected '
                '0 < free-below < contact-above < 1'
            )
        if not 0.5 < self.share < 1:
            raise TrainingError(f'share: found {self.share:g}, expected a number above 0.5 and below 1')
