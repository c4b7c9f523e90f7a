"""Pictures of an episode: presence and age of streams, touch, and motion over time."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine

from restac_ros.dataset.figures import CONTACT_COLOUR, STREAM_COLOURS, png_figure
from restac_ros.dataset.quality.contact import Contact
from restac_ros.dataset.quality.findings import angle_jumps
from restac_ros.dataset.quality.quality import EpisodeQuality, StreamQuality
from restac_ros.dataset.quality.trace import Still, Trace

_WIDTH_INCH = 11.5
SHOWN_STILL_S = 0.3
SHORTEST_SPAN_S = 0.05  # thinner ones would not be visible
GOOD, STALE, _MISSING, FROZEN = '#7fb8a4', '#e08a3c', '#c0392b', '#5b7fc7'
ABOVE: dict[str, Any] = {
    'loc': 'lower right',
    'bbox_to_anchor': (1.0, 1.0),
    'fontsize': 7,
    'borderpad': 0.1,
}  # of legends
AXIS_COLOURS = ('#c0392b', '#27813d', '#2660a4')  # x red, y green, z blue, as rviz draws axes
LEGEND = (
    (GOOD, 'valid in the frame'),
    (STALE, 'too old or unusable'),
    (_MISSING, 'nothing came'),
    (FROZEN, 'identical images'),
)


def episode_png(trace: Trace, quality: EpisodeQuality, title: str) -> bytes:
    """Draw the film strip of an episode, if it has images, above its timeline: a PNG."""
    if not trace.stills:
        return timeline_png(trace, quality)
    strip_inch, bars_inch = _strip_inch(trace.stills), sum(_heights_inch(trace))
    with png_figure(_WIDTH_INCH, strip_inch + bars_inch + 1.1) as figure:
        heights = [strip_inch + 0.3, bars_inch + 0.4]
        parts = np.array(figure.subfigures(2, 1, height_ratios=heights))
        _film(parts[0], trace.stills)
        _timeline(parts[1], trace, quality)
        figure.suptitle(title, x=0.01, ha='left')
    return figure.png


def timeline_png(trace: Trace, quality: EpisodeQuality) -> bytes:
    """Draw one bar per stream over time, ages below, then contact and state: a PNG."""
    with png_figure(_WIDTH_INCH, sum(_heights_inch(trace)) + 0.75) as figure:
        _timeline(figure, trace, quality)
    return figure.png


def film_png(stills: Sequence[Still]) -> bytes | None:
    """Draw stills as rows of a film strip, times above: a PNG; None without any."""
    if not stills:
        return None
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    with png_figure(_WIDTH_INCH, _strip_inch(stills) + 0.4, layout) as figure:
        _film(figure, stills)
    return figure.png


def _heights_inch(trace: Trace) -> list[float]:
    return [0.42 + 0.27 * len(trace.messages), *[1.15] * (len(_panels(trace)) - 1)]


def _timeline(figure: FigureBase, trace: Trace, quality: EpisodeQuality) -> None:
    panels = _panels(trace)
    grid = figure.subplots(len(panels), 1, sharex=True, height_ratios=_heights_inch(trace), squeeze=False)
    for panel, axes in zip(panels, grid[:, 0], strict=True):
        panel(axes, trace, quality)
        axes.set_xlim(0, max(float(trace.time_s[-1]), 0.1) if trace.time_s.size else 1)
    grid[-1, 0].set_xlabel('time in the episode [s]')


def _rows(stills: Sequence[Still]) -> dict[str, float]:
    """Return the height of each stream's row by its width."""
    return {still.stream: still.image.shape[0] / still.image.shape[1] for still in reversed(stills)}


def _times(stills: Sequence[Still]) -> list[float]:
    return sorted({round(still.time_s, 3) for still in stills})


def _strip_inch(stills: Sequence[Still]) -> float:
    return (_WIDTH_INCH - 0.9) / max(1, len(_times(stills))) * sum(_rows(stills).values())


def _film(figure: FigureBase, stills: Sequence[Still]) -> None:
    streams, times = list(dict.fromkeys(still.stream for still in stills)), _times(stills)
    heights = [_rows(stills)[name] for name in streams]
    grid = figure.subplots(len(streams), len(times), squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
    for still in stills:
        row, column = streams.index(still.stream), times.index(round(still.time_s, 3))
        grid[row][column].imshow(still.image, interpolation='antialiased')
    for column, time_s in enumerate(times):
        grid[0][column].set_title(f'{time_s:.1f} s', fontsize=8)
    for row, name in enumerate(streams):
        grid[row][0].set_ylabel(name.replace('_', '\n'), fontsize=8)


def touch_png(trace: Trace) -> bytes | None:
    """Draw reference, strongest contact and change of each tactile sensor: a PNG; None without any."""
    shown = [
        (name, touch.reference, touch.strongest, touch.is_inside_out)
        for name, touch in trace.touch.items()
        if touch.reference is not None and touch.strongest is not None
    ]
    if not shown:
        return None
    with png_figure(0.72 * _WIDTH_INCH, 2.2 * len(shown)) as figure:
        grid = figure.subplots(len(shown), 3, squeeze=False)
        for row, (name, reference, strongest, inside_out) in enumerate(shown):
            image = strongest.image
            change = np.abs(image.astype(np.int16) - reference).max(axis=-1)
            pictures: tuple[tuple[np.ndarray, str, dict[str, Any]], ...] = (
                (reference, f'{name}: reference' + ', looks pressed' * inside_out, {}),
                (image, f'strongest {"change" if inside_out else "contact"}, {strongest.time_s:.2f} s', {}),
                (change, f'change, up to {int(change.max())} of 255', {'cmap': 'inferno'}),
            )
            for axes, (picture, title, options) in zip(grid[row], pictures, strict=True):
                axes.imshow(picture, **options)
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.set_title(title, fontsize=8.5)
    return figure.png


def _panels(trace: Trace) -> list:
    touch = [_contact_panel] if any(np.isfinite(touch.levels).any() for touch in trace.touch.values()) else []
    state = [_position_panel, _rotation_panel, _gripper_panel] if np.isfinite(trace.state).any() else []
    return [_presence_panel, _age_panel, *touch, *state]


def _presence_panel(axes: Axes, trace: Trace, quality: EpisodeQuality) -> None:
    names = list(trace.messages)
    for row, name in enumerate(names):
        _presence_bar(axes, row, trace, name, quality.streams[name])
    labels = [f'{name}  {quality.streams[name].rate_hz:.1f} Hz' for name in names]
    axes.set(yticks=range(len(names)), yticklabels=labels, ylim=(len(names) - 0.5, -0.5))
    axes.tick_params(axis='y', length=0)
    axes.grid(False)
    handles = [mpl.patches.Patch(color=colour, label=label) for colour, label in LEGEND]
    axes.legend(handles=handles, ncols=4, **ABOVE)


def _presence_bar(axes: Axes, row: int, trace: Trace, name: str, stream: StreamQuality) -> None:
    period_s = 1 / trace.contract.fps
    for colour, chosen in ((GOOD, trace.valid(name)), (STALE, ~trace.valid(name))):
        axes.broken_barh(
            _stretches(trace.time_s, chosen, period_s), (row - 0.36, 0.72), color=colour, linewidth=0
        )
    holes = [(gap.start_s, gap.end_s - gap.start_s) for gap in stream.gaps]
    axes.broken_barh(holes, (row - 0.36, 0.72), color=_MISSING, linewidth=0)
    frozen = [(run.start_s, run.end_s - run.start_s) for run in stream.frozen]
    axes.broken_barh(frozen, (row - 0.36, 0.3), color=FROZEN, linewidth=0)


def _stretches(time_s: np.ndarray, chosen: np.ndarray, period_s: float) -> list[tuple[float, float]]:
    """Return (start, length) of the runs of chosen frames, each of which lasts a period."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    return [
        (time_s[a], time_s[b - 1] + period_s - time_s[a])
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]


def _age_panel(axes: Axes, trace: Trace, quality: EpisodeQuality) -> None:
    """Draw how old each stream's sample was, and dotted how old it may be."""
    for name, colour in zip(trace.messages, cycle(STREAM_COLOURS), strict=False):
        limit_ms = trace.contract.streams[name].max_age_ms
        label = f'{name} (limit {limit_ms:g})'
        axes.plot(trace.time_s, trace.ages_ms(name), color=colour, linewidth=0.9, label=label)
        axes.axhline(limit_ms, color=colour, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set(ylabel='age [ms]', ylim=(0, None))
    axes.legend(ncols=7, **ABOVE)


def _contact_panel(axes: Axes, trace: Trace, quality: EpisodeQuality) -> None:
    for contact in quality.contacts:
        axes.axvspan(contact.start_s, contact.end_s, color=CONTACT_COLOUR, linewidth=0)
        axes.annotate(
            f'{contact.peak:.0f}',
            (contact.peak_s, contact.peak),
            fontsize=7,
            ha='center',
            xytext=(0, 2),
            textcoords='offset points',
        )
    for name, touch in trace.touch.items():
        axes.plot(trace.time_s, touch.levels, color='#8a4b08', linewidth=1.1, label=name)
        axes.axhline(touch.threshold, color='0.55', linewidth=0.7, linestyle=(0, (4, 3)))
    top = max(float(np.nanmax(touch.levels, initial=touch.threshold)) for touch in trace.touch.values())
    axes.set(ylabel='touch\n[grey levels]', ylim=(0, 1.2 * top))


def _state_curves(axes: Axes, trace: Trace, dims: Mapping[int, str], factor: float = 1.0) -> None:
    """Draw dimensions of the state, with their labels, and dashed the action."""
    for dim, label in dims.items():
        colour = AXIS_COLOURS[dim % 3] if len(dims) > 1 else '0.25'
        axes.plot(trace.time_s, trace.state[:, dim] * factor, color=colour, linewidth=1.1, label=label)
        if trace.action is not None:
            dashed: Any = {'linewidth': 0.9, 'linestyle': (0, (3, 2))}
            axes.plot(trace.time_s, trace.action[:, dim] * factor, color=colour, **dashed)


def _position_panel(axes: Axes, trace: Trace, quality: EpisodeQuality) -> None:
    _state_curves(axes, trace, dict(enumerate('xyz')))
    axes.set(ylabel='position\n[m]')
    _shade_still(axes, trace, quality)
    _shade_contacts(axes, quality.contacts)
    axes.legend(ncols=5, **ABOVE)


def _rotation_panel(axes: Axes, trace: Trace, quality: EpisodeQuality) -> None:
    _state_curves(axes, trace, dict(enumerate('xyz', 3)), 180 / np.pi)
    for row in np.unique(angle_jumps(trace.state)[0]).tolist():
        axes.axvline(trace.time_s[row + 1], color=_MISSING, linewidth=0.9, linestyle=(0, (2, 2)))
    _shade_contacts(axes, quality.contacts)
    axes.set(ylabel='rotation\n[deg]')


def _gripper_panel(axes: Axes, trace: Trace, quality: EpisodeQuality) -> None:
    _state_curves(axes, trace, {6: 'gripper'}, 1000)
    _shade_contacts(axes, quality.contacts)
    axes.set(ylabel='gripper\n[mm]', ylim=(0, None))


def _shade_contacts(axes: Axes, contacts: Sequence[Contact]) -> None:
    """Shade the times of contact."""
    for number, contact in enumerate(contacts):
        label = None if number else 'contact'
        span = contact.start_s, max(contact.end_s, contact.start_s + SHORTEST_SPAN_S)
        axes.axvspan(*span, color=CONTACT_COLOUR, alpha=0.6, linewidth=0, zorder=0, label=label)


def _shade_still(axes: Axes, trace: Trace, quality: EpisodeQuality) -> None:
    end_s = float(trace.time_s[-1])
    for low, high in ((0.0, quality.static_head_s), (end_s - quality.static_tail_s, end_s)):
        if high - low < SHOWN_STILL_S:
            continue
        axes.axvspan(low, high, color='0.92', linewidth=0, zorder=0, label='at rest' if not low else None)
