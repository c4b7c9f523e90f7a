"""Ends a run whose loss is not finite; the message names the samples and the last good state."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Int

from restac_ros.training.batch import Array
from restac_ros.training.data.loader import RowSource
from restac_ros.training.errors import TrainingError
from restac_ros.training.run_store import RunStore


def check_finite(
    step: str,
    report: Mapping[str, Any],
    source: Int[Array, ' B'],
    place: Int[Array, 'B 2'],
    sources: Sequence[RowSource],
    store: RunStore,
) -> None:
    """Refuse a step's report with a loss or gradient that is not finite.

    Args:
        step: name of the step, for the message.
        report: of the step.
        source: number of the data set of each of the batch's samples.
        place: episode and frame of each.
        sources: data sets by number.
        store: where the last good state is.

    Raises:
        TrainingError: it is not; the message names the samples and the last good state.
    """
    if bool(report['finite']):
        return
    samples = ', '.join(
        f'{sources[number].episodes.name} episode {episode} frame {frame}'
        for number, (episode, frame) in zip(source.tolist(), place.tolist(), strict=True)
    )
    store.wait()
    kept = store.latest
    good = 'no state was saved before it' if kept is None else f'the last good state, of step {kept}, stays'
    raise TrainingError(
        f'{step}: found loss {float(report["loss"])} and gradient norm {float(report["gradient_norm"])}, '
        f'expected finite numbers; the batch holds {samples}; {good}. Look at these samples, or lower the '
        'learning rate'
    )
