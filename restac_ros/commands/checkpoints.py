"""Subcommands that make checkpoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from restac_ros.installation import config_file
from restac_ros.model.presets import PRESETS

_KNOWN = ', '.join(PRESETS)


@dataclass(frozen=True)
class InitCheckpoint:
    """Make a randomly initialised checkpoint: for trying the runtime, not for moving a robot."""

    to: Path
    """Directory to make; must not exist."""
    preset: Annotated[str, arg(help=f'Network: {_KNOWN}.')] = 'tiny'
    contract: Path | None = None
    """Robot facts the checkpoint is for; default: the installed contract."""
    seed: int = 0
    """Seed of the random weights."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.contract.load import load_contract
        from restac_ros.policy.init_checkpoint import init_checkpoint

        contract = load_contract(self.contract or config_file('contract.yaml'))
        report = init_checkpoint(self.preset, contract, self.to, seed=self.seed)
        print(report)
        return 0


@dataclass(frozen=True)
class ImportCheckpoint:
    """Make a checkpoint from pi0.5 base weights (openpi or LeRobot); touch and gate are untrained: for timing
    and as a start of training, not for moving a robot."""

    source: Annotated[Path, Positional]
    """openpi checkpoint directory, or LeRobot pi05 directory or safetensors file."""
    to: Path
    """Directory to make; must not exist."""
    preset: Annotated[
        str | None, arg(help=f'Network: {_KNOWN}; default: pi05_restac with --unit-align, else pi05.')
    ] = None
    contract: Path | None = None
    """Robot facts the checkpoint is for; default: the installed contract."""
    unit_align: Path | None = None
    """Tactile encoder: directory of `train-tactile`, a policy that has one, or a Lightning checkpoint."""
    norm_stats: Path | None = None
    """norm_stats.json measured on the robot's data; default: derived from the contract's limits."""
    tokenizer: Path | None = None
    """SentencePiece file to put into the checkpoint; default: PaliGemma's, from the cache, when loaded."""
    dtype: Literal['float32', 'bfloat16'] | None = None
    """Of the stored parameters; default: as in the source."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.contract.load import load_contract
        from restac_ros.framing.values import STATE_DIM
        from restac_ros.model.device import describe_device
        from restac_ros.policy.init_checkpoint import import_checkpoint
        from restac_ros.policy.normalization import read_norm_stats

        print(describe_device(), flush=True)
        report = import_checkpoint(
            self.source,
            self.preset,
            load_contract(self.contract or config_file('contract.yaml')),
            self.to,
            unit_align=self.unit_align,
            norm_stats=None if self.norm_stats is None else read_norm_stats(self.norm_stats, STATE_DIM),
            tokenizer=self.tokenizer,
            dtype=self.dtype,
            progress=lambda step: print(f'{step} ...', flush=True),
        )
        print(report)
        return 0


@dataclass(frozen=True)
class DownloadTokenizer:
    """Fetch PaliGemma's tokenizer, which pi0.5 needs, into the cache; its content is checked."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.policy.tokenizer import download_tokenizer

        print(download_tokenizer())
        return 0
