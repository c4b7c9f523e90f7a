"""Pictures of a closed-loop evaluation."""

from collections.abc import Mapping, Sequence

import numpy as np

from restac_ros.dataset.figures import STREAM_COLOURS, png_figure

_SIZE_INCH = (10.5, 2.9)


def insertions_png(insertions_s: Mapping[str, Sequence[float]], attempts: int, limit_s: float) -> bytes:
    """Draw the share of attempts with the plug in over time, by checkpoint."""
    with png_figure(*_SIZE_INCH) as figure:
        axes = figure.subplots()
        for number, (name, times_s) in enumerate(insertions_s.items()):
            time = np.concatenate([[0.0], np.sort(times_s), [limit_s]])
            share = np.minimum(np.arange(len(time)), len(times_s)) / attempts
            colour = STREAM_COLOURS[number % len(STREAM_COLOURS)]
            axes.step(time, 100 * share, where='post', color=colour, label=name)
        axes.set(xlabel='simulated time [s]', ylabel='inserted [%]', xlim=(0, limit_s), ylim=(0, 102))
        axes.legend(loc='upper left', bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure.png


def reliability_png(reliability: Mapping[str, Sequence[tuple[float, float]]]) -> bytes | None:
    """Draw expected against found squared residual, by checkpoint; None where there is none."""
    if not reliability:
        return None
    with png_figure(*_SIZE_INCH) as figure:
        axes = figure.subplots()
        values = np.array([pair for pairs in reliability.values() for pair in pairs])
        ends = np.array([values.min(), values.max()])
        axes.loglog(ends, ends, color='0.6', linewidth=0.8, linestyle=(0, (3, 3)))
        for number, (name, pairs) in enumerate(reliability.items()):
            expected, found = np.array(pairs).T
            colour = STREAM_COLOURS[number % len(STREAM_COLOURS)]
            axes.loglog(expected, found, 'o-', color=colour, markersize=4, label=name)
        axes.set(xlabel='expected variance of the residual', ylabel='mean square found')
        axes.legend(loc='upper left', bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure.png
