"""Memory of a run on each device, estimated before anything is compiled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax

from restac_ros.model.config import ModelConfig

_GIB, _MIB = 2**30, 2**20


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes per device; activations are an estimate, the rest is exact."""

    parameters: int
    optimizer: int
    average: int
    gradients: int
    activations: int

    @property
    def total(self) -> int:
        """Sum of all."""
        return self.parameters + self.optimizer + self.average + self.gradients + self.activations

    def __str__(self) -> str:
        parts = {
            'parameters': self.parameters,
            'optimiser': self.optimizer,
            'average': self.average,
            'gradients': self.gradients,
            'activations (estimated)': self.activations,
        }
        unit, size_of_one = ('MiB', _MIB) if self.total < _GIB else ('GiB', _GIB)
        told = ', '.join(f'{what} {size / size_of_one:.2f}' for what, size in parts.items())
        return f'memory per device, {unit}: {told}; {self.total / size_of_one:.2f} in all'


def estimate(
    config: ModelConfig,
    leaves: Mapping[str, jax.ShapeDtypeStruct],
    trained: Sequence[str],
    *,
    frozen_itemsize: int,
    average: bool,
    teacher: bool = False,
    micro_batch: int,
    fsdp: int,
) -> MemoryEstimate:
    """Add up parameters and what training keeps beside them.

    `micro_batch` is of one device. A teacher has leaves of its own where its student is trained. Blocks are
    rematerialised: each keeps its input alone, and the inner values of one block stand at a time.
    """
    own = sum(leaves[name].size for name in trained)
    rest = sum(leaf.size for leaf in leaves.values()) - own
    kept_as_is = rest + (own if teacher else 0)
    itemsize = 2 if config.dtype == 'bfloat16' else 4
    prefix = 3 * config.tokens_per_image + config.max_prompt_tokens
    tokens = prefix * config.paligemma.width + config.num_suffix_tokens * config.action_expert.width
    image = 3 * config.tokens_per_image * config.siglip.width
    kept = config.paligemma.depth * tokens + config.siglip.depth * image
    inner = 4 * prefix * config.paligemma.mlp_dim + config.paligemma.num_heads * prefix * prefix
    return MemoryEstimate(
        parameters=(4 * own + frozen_itemsize * kept_as_is) // fsdp,
        optimizer=8 * own // fsdp,
        average=4 * own // fsdp if average else 0,
        gradients=4 * own // fsdp,
        activations=micro_batch * itemsize * (kept + inner),
    )
