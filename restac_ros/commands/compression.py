"""`restac-ros quantise` and `merge-lora`: checkpoints that compute the same with less."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from restac_ros.commands.terminal import counting_parts


@dataclass(frozen=True)
class Quantise:
    """Make a checkpoint with 8-bit weights: half of bfloat16's memory. Prints the error of every weight."""

    checkpoint: Annotated[Path, Positional]
    """Checkpoint without adapters."""
    to: Path
    """Directory to make; must not exist."""
    dataset: Path | None = None
    """LeRobot data set on which actions are compared with the unquantised policy's."""
    frames: int = 32
    """How many frames of it, evenly."""
    calibrate: bool = False
    """Keep in bfloat16 the weights that change the actions most for their size, up to the budget."""
    budget: float = 0.52
    """Bytes of all parameters, as a share of bfloat16's."""
    seed: int = 0
    """Of the noise that chunks start from."""
    json: Path | None = None
    """Also write the figures here."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.training.quantisation import quantise

        with counting_parts() as tell:
            report = quantise(
                self.checkpoint,
                self.to,
                dataset=self.dataset,
                frames=self.frames,
                calibrate=self.calibrate,
                budget=self.budget,
                seed=self.seed,
                tell=tell,
            )
        for line in report.describe():
            print(line)
        if self.json is not None:
            figures = asdict(report) | {'path': str(report.path), 'share': report.share}
            self.json.write_text(json.dumps(figures, indent=2) + '\n', encoding='utf-8')
        print(report.path)
        return 0


@dataclass(frozen=True)
class MergeLora:
    """Make a checkpoint without adapters that computes what one with adapters does."""

    checkpoint: Annotated[Path, Positional]
    """Checkpoint with adapters."""
    to: Path
    """Directory to make; must not exist."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.model.checkpoint.lora_merge import merge_lora

        with counting_parts() as tell:
            merged = merge_lora(self.checkpoint, self.to, tell)
        print(f'{self.to}: {len(merged)} weights took their adapter in')
        return 0
