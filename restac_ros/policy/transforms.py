"""Between a frame and the network: each step a frozen value with one verb and, where it has one, its inverse.

Deployment and training use the same steps in the same order: delta from the current state, normalisation,
padding. `action_prev` passes through unchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from jaxtyping import Float, Float32, UInt8

from restac_ros.contract.schema import Contract
from restac_ros.framing.rotation import (
    Convention,
    matrix_from_rotation,
    matrix_from_rotvec,
    rotation_difference,
    rotation_from_matrix,
    rotvec_from_matrix,
    unwrap,
)
from restac_ros.policy.errors import PolicyError

STATE_DIM = 7
"""x y z [m], rotation [3] [rad], gripper opening [m]; actions and action_prev likewise."""

POSE_DIM = 6


@dataclass(frozen=True)
class CameraSlots:
    """Camera streams to the model's image slots."""

    slot_of: Mapping[str, str]
    image_size: int = 224

    @classmethod
    def from_contract(cls, contract: Contract, image_size: int) -> Self:
        """The assignment that the contract declares."""
        return cls({name: stream.slot for name, stream in contract.by_role('camera').items()}, image_size)

    def __call__(
        self, images: Mapping[str, UInt8[np.ndarray, 'H W 3']]
    ) -> tuple[dict[str, UInt8[np.ndarray, '1 H W 3']], dict[str, np.ndarray]]:
        """Return images and validity by slot, with a batch axis.

        A camera without a valid image is hidden from the network by its mask; its pixels are never read.

        Raises:
            PolicyError: unknown stream, no image at all, or another shape or dtype.
        """
        for name, image in images.items():
            if name not in self.slot_of:
                raise PolicyError(f'images: unknown camera stream {name!r}; known: {", ".join(self.slot_of)}')
            check_image(f'images[{name}]', image, (self.image_size, self.image_size, 3))
        if not images:
            raise PolicyError(f'images: found none, expected some of {", ".join(self.slot_of)}')
        hidden = np.zeros((self.image_size, self.image_size, 3), np.uint8)
        pixels = {slot: images.get(name, hidden)[None] for name, slot in self.slot_of.items()}
        valid = {slot: np.array([name in images]) for name, slot in self.slot_of.items()}
        return pixels, valid


@dataclass(frozen=True)
class DeltaActions:
    """Absolute target poses to changes from the current state; the gripper stays absolute.

    'elementwise' subtracts, angles wrapped to less than half a turn. 'so3' composes rotations: the change is
    the rotation vector, in the base frame, that turns the current orientation into the target.
    """

    kind: Literal['elementwise', 'so3']
    convention: Convention
    branch_centre_rad: tuple[float, float, float]

    @classmethod
    def from_contract(cls, contract: Contract) -> Self:
        """As the contract's action and rotation say."""
        rotation = contract.rotation
        return cls(contract.action.delta, rotation.convention, rotation.branch_centre_rad)

    def __call__(
        self, actions: Float[np.ndarray, '*batch 7'], state: Float[np.ndarray, '7']
    ) -> Float[np.ndarray, '*batch 7']:
        """Return the changes, float64."""
        actions, state = np.asarray(actions, np.float64), np.asarray(state, np.float64)
        position = actions[..., :3] - state[:3]
        if self.kind == 'elementwise':
            rotation = rotation_difference(self.convention, actions[..., 3:6], state[3:6])
        else:
            target = matrix_from_rotation(self.convention, actions[..., 3:6])
            current = matrix_from_rotation(self.convention, state[3:6])
            rotation = rotvec_from_matrix(target @ current.T)
        return np.concatenate([position, rotation, actions[..., 6:]], axis=-1)

    def inverse(
        self, deltas: Float[np.ndarray, '*batch 7'], state: Float[np.ndarray, '7']
    ) -> Float[np.ndarray, '*batch 7']:
        """Return absolute poses, float64, rotations on the contract's branch."""
        deltas, state = np.asarray(deltas, np.float64), np.asarray(state, np.float64)
        centre = np.asarray(self.branch_centre_rad)
        position = deltas[..., :3] + state[:3]
        if self.kind == 'elementwise':
            rotation = unwrap(self.convention, deltas[..., 3:6] + state[3:6], centre)
        else:
            current = matrix_from_rotation(self.convention, state[3:6])
            matrix = matrix_from_rotvec(deltas[..., 3:6]) @ current
            rotation = rotation_from_matrix(self.convention, matrix, centre)
        return np.concatenate([position, rotation, deltas[..., 6:]], axis=-1)


@dataclass(frozen=True)
class PadDimensions:
    """Zeros on the right up to the network's width."""

    width: int

    def __call__(self, values: Float[np.ndarray, '*batch D']) -> Float32[np.ndarray, '*batch W']:
        """Return float32 of the network's width.

        Raises:
            PolicyError: more dimensions than the network has.
        """
        missing = self.width - values.shape[-1]
        if missing < 0:
            raise PolicyError(f'values: found {values.shape[-1]} dimensions, the network has {self.width}')
        return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)]).astype(np.float32)

    def inverse(self, values: Float[np.ndarray, '*batch W'], dims: int) -> Float[np.ndarray, '*batch D']:
        """Return the first `dims` dimensions."""
        return values[..., :dims]


def check_image(name: str, image: np.ndarray, shape: tuple[int, int, int]) -> None:
    """Refuse anything but uint8 RGB of this shape.

    Raises:
        PolicyError: naming the field, what was found and what was expected.
    """
    found = getattr(image, 'dtype', type(image).__name__), np.shape(image)
    if found != (np.uint8, shape):
        raise PolicyError(f'{name}: found {found[0]} {found[1]}, expected uint8 {shape}')


def check_vector(name: str, values: np.ndarray | None) -> Float[np.ndarray, '7']:
    """Return a state or action_prev as it came, after checking that it is whole and finite.

    Raises:
        PolicyError: missing, another shape, not floating point, or not finite.
    """
    if values is None:
        raise PolicyError(f'{name}: found None, expected {STATE_DIM} numbers; do not act on this frame')
    values = np.asarray(values)
    if values.shape != (STATE_DIM,) or not np.issubdtype(values.dtype, np.floating):
        raise PolicyError(f'{name}: found {values.dtype} {values.shape}, expected float ({STATE_DIM},)')
    if not np.isfinite(values).all():
        raise PolicyError(f'{name}: found {values.tolist()}, expected finite numbers')
    return values
