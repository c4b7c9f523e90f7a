"""The picture of a calibration: logvar of free and touching frames, and the gate over it."""

import numpy as np

from restac_ros.dataset.figures import STREAM_COLOURS, png_figure
from restac_ros.training.calibration import CalibrationReport

_BINS = 50


def calibration_png(report: CalibrationReport, title: str) -> bytes:
    """Draw shares of frames by standardised logvar, the gate, and the values that frames were to keep."""
    x, told = report.standardised, report.readings.in_contact
    edges = np.linspace(x.min(), x.max(), _BINS + 1).tolist()
    with png_figure(8.0, 3.6) as figure:
        axes = figure.subplots()
        for name, mask, colour in (('free', ~told, STREAM_COLOURS[0]), ('contact', told, STREAM_COLOURS[3])):
            share = np.full(int(mask.sum()), 100 / mask.sum())
            label = f'{name}, {mask.sum()} frames'
            axes.hist(x[mask], edges, weights=share, color=colour, alpha=0.65, label=label)
        axes.set_xlabel('logvar of the tactile prior, standardised')
        axes.set_ylabel('frames of either kind [%]')
        gate = axes.twinx()
        span = np.linspace(x.min(), x.max(), 400)
        gate.plot(span, report.gate(span), color='0.15', label='gate')
        for value in (report.goal.free_below, report.goal.contact_above):
            gate.axhline(value, color='0.4', linewidth=0.8, linestyle=(0, (4, 3)))
        gate.axvline(report.contact.threshold, color='0.4', linewidth=0.8, linestyle=(0, (1, 2)))
        gate.set(ylim=(-0.02, 1.02), ylabel='gate')
        gate.grid(visible=False)
        gate.spines['right'].set_visible(True)
        handles, labels = (
            a + b
            for a, b in zip(axes.get_legend_handles_labels(), gate.get_legend_handles_labels(), strict=True)
        )
        axes.legend(handles, labels, loc='upper center', bbox_to_anchor=(0.5, 1.14), ncols=3)
        axes.set_title(title, fontsize=9, loc='left', pad=18)
    return figure.png
