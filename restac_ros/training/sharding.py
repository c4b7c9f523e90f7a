"""Placing parameters and batches on devices: the batch over all, large parameters over some."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from restac_ros.training.errors import TrainingError

DATA, FSDP = 'data', 'fsdp'
LEAST_BYTES = 4 << 20  # of a parameter that is worth sharding, as in openpi


@dataclass(frozen=True)
class Placement:
    """A mesh of (data, fsdp) devices.

    Attributes:
        mesh: axes of type Auto: JAX's default, Explicit, refuses reshapes inside the network.
        least_bytes: smaller parameters are copied to every device.
    """

    mesh: Mesh
    least_bytes: int = LEAST_BYTES

    @classmethod
    def over(
        cls,
        fsdp: int,
        batch_size: int,
        accumulate: int = 1,
        *,
        devices: int | None = None,
        least_bytes: int = LEAST_BYTES,
    ) -> 'Placement':
        """Arrange the first `devices` devices, of all processes; None: all of them.

        Raises:
            TrainingError: sizes that do not divide.
        """
        devices = devices or jax.device_count()
        if devices % fsdp:
            raise TrainingError(f'fsdp: found {fsdp}, expected a divisor of {devices} devices')
        if batch_size % (devices * accumulate):
            micro = f' times {accumulate} micro-batches' if accumulate > 1 else ''
            raise TrainingError(
                f'batch size: found {batch_size}, expected a multiple of {devices} devices{micro}'
            )
        mesh = jax.make_mesh(
            (devices // fsdp, fsdp),
            (DATA, FSDP),
            axis_types=(AxisType.Auto, AxisType.Auto),
            devices=jax.devices()[:devices],
        )
        return cls(mesh, least_bytes)

    def describe(self, batch_size: int) -> str:
        """How a batch and the parameters are spread."""
        devices, shards = self.mesh.size, self.mesh.shape[FSDP]
        return (
            f'{devices} devices in {jax.process_count()} processes, {batch_size // devices} samples '
            f'of a batch on each, large parameters over {shards}'
        )

    @property
    def batch(self) -> NamedSharding:
        """Sharding of batches: the first axis over all devices."""
        return NamedSharding(self.mesh, PartitionSpec((DATA, FSDP)))

    @property
    def everywhere(self) -> NamedSharding:
        """Sharding of arrays that every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    def of_leaf(self, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        """Sharding of a parameter, its moments and its average: over the largest divisible axis, if large."""
        shards = self.mesh.shape[FSDP]
        if shards > 1 and leaf.ndim >= 2 and leaf.size * leaf.dtype.itemsize >= self.least_bytes:
            for axis in np.argsort(leaf.shape)[::-1].tolist():
                if leaf.shape[axis] % shards == 0:
                    return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, FSDP))
        return self.everywhere

    def of_tree[Tree](self, tree: Tree) -> Tree:
        """Shardings in a tree's shape."""
        return jax.tree.map(self.of_leaf, tree)

    def put[Tree](self, tree: Tree) -> Tree:
        """Move parameters to their devices."""
        return jax.device_put(tree, self.of_tree(tree))

    def put_batch[Tree](self, batch: Tree) -> Tree:
        """Move this process's share of a batch to its devices."""
        return jax.tree.map(lambda part: jax.make_array_from_process_local_data(self.batch, part), batch)
