"""Pictures of an evaluation."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from restac_ros.dataset.figures import CONTACT_COLOUR, STREAM_COLOURS, png_figure
from restac_ros.training.evaluation.bootstrap import Estimate
from restac_ros.training.evaluation.phases import PHASE_ALL, PHASE_CONTACT, PHASE_FREE, PHASE_GRIPPER
from restac_ros.training.evaluation.report import UNKNOWN, EvaluatedCheckpoint, EvaluationReport, TraceSample

_WIDTH_INCH, _HEIGHT_INCH = 10.5, 2.9
_CUT_RATIO = 3
_PHASES = (PHASE_FREE, PHASE_CONTACT, PHASE_GRIPPER, PHASE_ALL)
_GROUPS = (
    ('position [mm]', slice(0, 3), 1e3),
    ('rotation [mrad]', slice(3, 6), 1e3),
    ('gripper [mm]', slice(6, 7), 1),
)


def bars_png(
    groups: Mapping[str, Mapping[str, Estimate]], label: str, *, percent: bool = False, cut: bool = True
) -> bytes:
    """Draw estimates as bars with their intervals: one colour per outer name, one place per inner name.

    Outer names without estimates keep their colour, so that a checkpoint has the same one in every picture.
    If `cut`, a few bars that would flatten all others are cut off, and their values written above them.
    """
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    drawn = [name for name, estimates in groups.items() if estimates]
    width = 0.8 / max(len(drawn), 1)
    heights = [estimate.value for group in groups.values() for estimate in group.values()]
    top = cut_above(heights) if cut else None
    scale = 100 if percent else 1
    with png_figure(_WIDTH_INCH, 2.6) as figure:
        axes = figure.subplots()
        for number, (group, estimates) in enumerate(groups.items()):
            if not estimates:
                continue
            place = (drawn.index(group) - (len(drawn) - 1) / 2) * width
            x = np.array([names.index(name) for name in estimates]) + place
            colour = STREAM_COLOURS[number % len(STREAM_COLOURS)]
            values = np.array(list(estimates.values())).reshape(-1, 3)
            _bars(axes, x, values * scale, width * 0.92, None if top is None else top * scale, colour, group)
        axes.set_xticks(range(len(names)), names)
        axes.axhline(0, color='0.4', linewidth=0.8)
        axes.set_ylabel(label)
        if top is not None:
            axes.set_ylim(top=1.1 * top * scale)
        if len(drawn) > 1:
            axes.legend(loc='upper left', bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure.png


def cut_above(values: Sequence[float]) -> float | None:
    """Return the value above which bars are cut off; None: all fit one scale.

    At most a quarter of the bars is cut, where the smallest of them is over 3 times the largest of the rest.
    """
    ordered = sorted(values)
    for number in range(len(ordered) - len(ordered) // 4, len(ordered)):
        if ordered[number] > _CUT_RATIO * ordered[number - 1] > 0:
            return 1.25 * ordered[number - 1]
    return None


def _bars(
    axes: Axes,
    x: np.ndarray,
    estimates: Float[np.ndarray, 'n 3'],
    width: float,
    top: float | None,
    colour: str,
    label: str,
) -> None:
    """Bars of one colour; those above `top` end there, with their values in figures."""
    is_cut = np.zeros(len(x), bool) if top is None else estimates[:, 0] > top
    spread = np.where(is_cut, np.nan, np.abs(estimates[:, 1:].T - estimates[:, 0]))
    heights = estimates[:, 0] if top is None else np.minimum(estimates[:, 0], top)
    style = {'elinewidth': 1.0, 'capsize': 2.5, 'ecolor': '0.25'}
    axes.bar(x, heights, width, yerr=spread, color=colour, label=label, alpha=0.85, error_kw=style)
    for at, estimate in zip(x[is_cut], estimates[is_cut], strict=True):
        axes.bar(at, 0.02 * heights.max(), width, 0.9 * heights.max(), color='white')  # the bar is broken
        value, *ends = (np.format_float_positional(n, 3, fractional=False, trim='-') for n in estimate)
        told = UNKNOWN if np.isnan(estimate).any() else ', '.join(ends)
        text, at_top = f'{value} [{told}]', (at, heights.max())
        axes.annotate(text, at_top, (0, 2), textcoords='offset points', ha='center', fontsize=7)


def horizon_png(report: EvaluatedCheckpoint, executed: int, fps: int) -> bytes:
    """Draw the error of each step of a chunk, by phase, in units; the executed steps are shaded."""
    with png_figure(_WIDTH_INCH, _HEIGHT_INCH) as figure:
        measured = np.asarray(report.errors[PHASE_ALL].by_horizon).shape[1]
        groups = [group for group in _GROUPS if group[1].stop <= measured]
        panels = figure.subplots(1, len(groups))
        for axes, (label, dims, scale) in zip(panels, groups, strict=True):
            for number, phase in enumerate(_PHASES):
                if phase not in report.errors:
                    continue
                steps = np.asarray(report.errors[phase].by_horizon)[:, dims]
                values = np.sqrt(np.square(steps).sum(axis=1)) * scale
                time = (np.arange(len(values)) + 1) / fps
                style = (0, (3, 2)) if phase == PHASE_ALL else 'solid'
                axes.plot(
                    time, values, color=STREAM_COLOURS[number], label=phase, linestyle=style, linewidth=1.4
                )
            axes.axvspan(0, executed / fps, color='0.93', linewidth=0, zorder=0)
            axes.set(xlabel='time after the frame [s]', ylabel=f'{label}, root mean square', ylim=(0, None))
        panels[0].legend(fontsize=8)
    return figure.png


def curves_png(report: EvaluationReport) -> bytes:
    """Draw the flow loss by flow time, and error and change by number of Euler steps."""
    with png_figure(_WIDTH_INCH, _HEIGHT_INCH) as figure:
        flow, error, change = figure.subplots(1, 3)
        for number, one in enumerate(report.checkpoints):
            colour = STREAM_COLOURS[number % len(STREAM_COLOURS)]
            _line(flow, [bin.time for bin in one.flow], [bin.loss for bin in one.flow], colour, one.name)
            steps = [figure_.steps for figure_ in one.steps]
            _line(error, steps, [figure_.error for figure_ in one.steps], colour, one.name)
            _line(change, steps, [figure_.change for figure_ in one.steps], colour, one.name)
        flow.set(xlabel='flow time (1: noise, 0: action)', ylabel='velocity loss', ylim=(0, None))
        error.set(xlabel='Euler steps', ylabel='action error', ylim=(0, None))
        change.set(xlabel='Euler steps', ylabel='change from what is deployed', ylim=(0, None))
        if len(report.checkpoints) > 1:
            flow.legend(fontsize=8)
    return figure.png


def _line(axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], colour: str, label: str) -> None:
    values = np.array(estimates)
    axes.plot(x, values[:, 0], 'o-', color=colour, markersize=3, linewidth=1.3, label=label)
    axes.fill_between(x, values[:, 1], values[:, 2], color=colour, alpha=0.18, linewidth=0)


def gate_png(curves: Mapping[str, Sequence[tuple[float, float]]], sample: TraceSample | None) -> bytes:
    """Draw the ROC of each gate, by checkpoint, and the gates of one episode over its contacts."""
    with png_figure(_WIDTH_INCH, _HEIGHT_INCH) as figure:
        roc, trace = figure.subplots(1, 2, width_ratios=(1, 2.2))
        roc.plot((0, 1), (0, 1), color='0.6', linewidth=0.8, linestyle=(0, (3, 3)))
        for number, (name, curve) in enumerate(curves.items()):
            if curve:
                false, true = np.array(curve).T
                roc.plot(false, true, color=STREAM_COLOURS[number % len(STREAM_COLOURS)], label=name)
        roc.set(xlabel='free frames above the threshold', ylabel='contact frames above', aspect='equal')
        if sample is not None:
            _gate_trace(trace, sample, list(curves))
    return figure.png


def _gate_trace(axes: Axes, trace: TraceSample, names: Sequence[str]) -> None:
    time, contact = np.array(trace.time_s), np.array(trace.contact)
    axes.fill_between(
        time,
        0,
        1,
        where=contact,
        step='mid',
        color=CONTACT_COLOUR,
        alpha=0.7,
        linewidth=0,
        label='contact',
        zorder=0,
    )
    for name, gate in trace.gates.items():
        axes.plot(time, gate, color=STREAM_COLOURS[names.index(name) % len(STREAM_COLOURS)], label=name)
    axes.set(xlabel=f'time in episode {trace.episode} [s]', ylabel='gate', ylim=(0, 1))
    axes.legend(loc='upper left', bbox_to_anchor=(1.0, 1.0), fontsize=8)


def surprise_png(report: EvaluatedCheckpoint) -> bytes | None:
    """Draw expected against found squared residual, and the codes in free space and contact."""
    touch = report.touch
    if touch is None or touch.surprise is None or touch.codebook is None:
        return None
    with png_figure(_WIDTH_INCH, _HEIGHT_INCH) as figure:
        reliability, codes = figure.subplots(1, 2)
        expected, found = np.array(touch.surprise.reliability).T
        ends = np.array([min(expected.min(), found.min()), max(expected.max(), found.max())])
        reliability.loglog(ends, ends, color='0.6', linewidth=0.8, linestyle=(0, (3, 3)))
        reliability.loglog(expected, found, 'o-', color=STREAM_COLOURS[0], markersize=4)
        reliability.set(xlabel='expected variance of the residual', ylabel='mean square found')
        shares = np.array([(free, contact) for _, free, contact in touch.codebook.shares[:40]])
        x = np.arange(len(shares))
        codes.bar(x, shares[:, 0], color=STREAM_COLOURS[0], label='free')
        codes.bar(x, shares[:, 1], bottom=shares[:, 0], color=STREAM_COLOURS[3], label='contact')
        codes.set(xlabel='codes, most frequent first', ylabel='share of frames')
        codes.legend(fontsize=8)
    return figure.png
