"""A short training of Unit-Align, and what it reports."""

from collections.abc import Mapping

from restac_ros.training.tactile.config import CodebookConfig, StageName, TactileTrainConfig
from restac_ros.training.tactile.prepare import PreparedTactile
from restac_ros.training.tactile.trainer import TactileOutcome, train_stages

SHORT_TACTILE = TactileTrainConfig(
    size='tiny',
    validation_share=0.3,
    encoder_steps=10,
    prophet_steps=12,
    event_steps=16,
    batch_size=4,
    codebook=CodebookConfig(codes=4, vectors_per_code=4, restart_every=2),
    log_every=1,
    validate_every=8,
    save_every=4,
    validation_frames=16,
    learning_rate=3e-3,
)


class TactileNumbers:
    """Keeps what each stage reports."""

    def __init__(self) -> None:
        self.of: dict[str, dict[int, dict[str, float]]] = {}

    def stage(self, name: StageName) -> 'StageNumbers':
        return StageNumbers(self.of.setdefault(name, {}))


class StageNumbers:
    def __init__(self, steps: dict[int, dict[str, float]]) -> None:
        self._steps = steps

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        self._steps.setdefault(step, {}).update(numbers)


def train_tactile(
    prepared: PreparedTactile, stop_in: tuple[StageName, int] | None = None
) -> tuple[TactileOutcome, TactileNumbers]:
    numbers = TactileNumbers()

    def stopping() -> bool:
        return stop_in is not None and stop_in[1] <= max(numbers.of.get(stop_in[0], ()), default=0) + 1

    clock = iter(range(100_000)).__next__
    return train_stages(prepared, numbers.stage, clock, stopping, lambda line: None), numbers
