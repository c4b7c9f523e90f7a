"""Between a frame and the network: each step a frozen value with one verb and, where it has one, its inverse.

The delta from the current state, which comes first, is `restac_ros.geometry.delta.DeltaRule`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Float32, UInt8

from restac_ros.contract.schema import Contract
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
