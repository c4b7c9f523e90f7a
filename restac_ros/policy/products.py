"""What the policy's three calls return. Device arrays stay inside; numbers to publish are on the host."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from restac_ros.model.prefix import PrefixCache
from restac_ros.model.real_time_chunking import ChunkingKind
from restac_ros.model.tactile.interface import TactileCode


@dataclass(frozen=True, eq=False)
class Prefix:
    """Cameras and prompt, encoded; reusable until newer images are.

    `prompt_revision` counts the changes of the prompt before this one. `hidden` names camera streams whose
    image was missing. `state_used` is set where the prompt holds the state: the prefix is then only as true
    as that state.
    """

    stamp_ns: int
    prompt: str
    prompt_revision: int
    num_tokens: int
    hidden: tuple[str, ...]
    state_used: Float[np.ndarray, '7'] | None
    cache: PrefixCache


@dataclass(frozen=True, eq=False)
class Touch:
    """One tactile frame against what the prefix let expect.

    gate: 0 shut out, 1 fully in. logvar: of the prior, raw, and standardised by the checkpoint's calibration.
    code_index: row of the codebook, -1 without one. residual_norm: L2 norm of felt minus expected latent,
    NaN for encoders without a prior. residual_map: the same norm per latent position, None for these.
    saturated: the gate is as good as shut or open.
    """

    stamp_ns: int
    prefix_stamp_ns: int
    gate: float
    logvar: float
    logvar_standardised: float
    code_index: int
    residual_norm: float
    residual_map: Float32[np.ndarray, 'h w'] | None
    saturated: bool
    code: TactileCode


@dataclass(frozen=True, eq=False)
class Continuation:
    """Steps of the next chunk that the running one has decided, relative to the next one's state.

    weights: [T], how strongly each step is held to: 1 decided, 0 free; rows with weight 0 may hold anything.
    delay_steps: so many of the first steps will have been executed from the running chunk; their weight is 1.
    """

    delta_pose: Float[np.ndarray, 'T 6']
    gripper_opening_m: Float[np.ndarray, ' T']
    weights: Float[np.ndarray, ' T']
    delay_steps: int


@dataclass(frozen=True, eq=False)
class PlannedActions:
    """A chunk as the network gave it: step i is due i + 1 periods after the state.

    delta_pose: [T, 6] m and rad, from the state given to `act`, composed as the contract's action.delta
    says. gripper_opening_m: [T], absolute. noise_seed and noise_index say which noise was drawn; both are
    None where it was given. touch: what entered, None for a policy without touch. continued_delay_steps: the
    delay of the continuation that entered, None where planned freely.
    """

    delta_pose: Float[np.ndarray, 'T 6']
    gripper_opening_m: Float[np.ndarray, ' T']
    state: Float[np.ndarray, '7']
    prefix_stamp_ns: int
    touch: Touch | None
    noise_seed: int | None
    noise_index: int | None
    chunking: ChunkingKind = 'receding_horizon'
    continued_delay_steps: int | None = None

    @property
    def horizon(self) -> int:
        """Number of steps."""
        return len(self.gripper_opening_m)

    @property
    def gate(self) -> float | None:
        """Share of touch in this chunk."""
        return self.touch.gate if self.touch else None

    @property
    def saturated(self) -> bool | None:
        """Whether the gate is as good as shut or open."""
        return self.touch.saturated if self.touch else None
