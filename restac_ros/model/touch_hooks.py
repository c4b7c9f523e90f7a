"""Where touch enters the base policy: what a network with touch overrides."""

from jaxtyping import Array, Bool, Float, UInt8

from restac_ros.model.intermediates import Intermediates
from restac_ros.model.observation import Observation
from restac_ros.model.tactile.interface import TactileCode


class WithoutTouch:
    """The hooks of a network without touch."""

    def encode_views(
        self, images: dict[str, Float[Array, 'B H W 3'] | UInt8[Array, 'B H W 3']]
    ) -> Float[Array, 'B F'] | None:
        """What the tactile prior needs of the cameras; nothing here."""
        del images
        return None

    def observe_touch(self, observation: Observation[Array]) -> TactileCode | None:
        """Encode the observation's tactile image; nothing here."""
        del observation
        return None

    def read_touch(self, touch: TactileCode | None) -> Intermediates | None:
        """Named intermediates of one tactile code; nothing here."""
        del touch
        return None

    def correct(
        self,
        reading: Intermediates | None,
        prefix_out: Float[Array, 'B S W'] | None,
        mask: Bool[Array, 'B S'],
    ) -> Intermediates | None:
        """Add to the intermediates what needs the prefix's final tokens; nothing here."""
        del prefix_out, mask
        return reading

    def auxiliary_loss(self, reading: Intermediates | None) -> Float[Array, ''] | float:
        """What is added to every entry of the loss; nothing here."""
        del reading
        return 0.0
