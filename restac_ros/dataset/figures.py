"""Pictures drawn with matplotlib, all in one style."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

_DPI = 96
# Distinguishable for colour-blind eyes, too (Okabe and Ito 2008); by a stream's place in the contract.
STREAM_COLOURS = ('#0072b2', '#56b4e9', '#009e73', '#d55e00', '#444444', '#cc79a7', '#e69f00', '#8a6d00')
CONTACT_COLOUR = '#f3d9b1'
_STYLE: Any = {
    'font.size': 8.5,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.alpha': 0.25,
    'grid.linewidth': 0.5,
    'axes.axisbelow': True,
    'legend.frameon': False,
}


class PngFigure(Figure):
    """A figure of `png_figure`; `png` holds it once its block has ended."""

    png = b''


@contextmanager
def png_figure(width_inch: float, height_inch: float, layout: Any = 'constrained') -> Iterator[PngFigure]:
    """Give a figure in our style to draw into; on leaving the block its `png` is made."""
    with mpl.rc_context(_STYLE):
        figure = PngFigure(figsize=(width_inch, height_inch), layout=layout)
        yield figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format='png', dpi=_DPI)
        figure.png = buffer.getvalue()
