"""Ends a run whose loss is not finite; the message names the samples and the last good state."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jaxtyping import Int

from restac_ros.training.batch import Array
from restac_ros.training.data.loader import RowSource
from restac_ros.training.errors import TrainingError
from restac_ros.training.run_store import RunStore


class PlacedBatch(Protocol):
    """A batch that names its samples: data set [B], episode and frame [B, 2]."""

    @property
    def source(self) -> Int[Array, ' B']:
        """Number of the data set of each sample."""
        ...

    @property
    def place(self) -> Int[Array, 'B 2']:
        """Episode and frame of each sample."""
        ...


def check_finite(
    step: str,
    report: Mapping[str, Any],
    batch: PlacedBatch,
    sources: Sequence[RowSource],
    store: RunStore,
) -> None:
    """Refuse a step's report with a loss or gradient that is not finite.

    Raises:
        TrainingError: it is not; the message names the samples and the last good state.
    """
    if bool(report['finite']):
        return
    samples = ', '.join(
        f'{sources[source].episodes.name} episode {episode} frame {frame}'
        for source, (episode, frame) in zip(batch.source.tolist(), batch.place.tolist(), strict=True)
    )
    store.wait()
    kept = store.latest
    good = 'no state was saved before it' if kept is None else f'the last good state, of step {kept}, stays'
    raise TrainingError(
        f'{step}: found loss {float(report["loss"])} and gradient norm {float(report["gradient_norm"])}, '
        f'expected finite numbers; the batch holds {samples}; {good}. Look at these samples, or lower the '
        'learning rate'
    )
