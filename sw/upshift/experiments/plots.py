"""How plots of experiments look, and the same SVG for the same rows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c2410c", "#4d7c0f", "#7a3e9d", "#64748b", "#b4690e", "#0f766e", "#be185d")
GREY = "#64748b"
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")

_STYLE: Any = {
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "#fbfcfe",
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.alpha": 0.25,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "upshift",  # the same rows give the same file
}


class Drawing:
    """A figure, its panels, and its SVG once it is drawn.

    Attributes
    ----------
    axes : array of matplotlib Axes
        By row and column.
    svg : str
    """

    def __init__(self, figure: Figure, axes: np.ndarray[Any, Any]):
        self.figure, self.axes = figure, axes
        self.svg = ""


@contextmanager
def drawing(
    rows: int = 1, columns: int = 1, *, width: float = 8.4, height: float = 3.0, **options: Any
) -> Iterator[Drawing]:
    """Draw panels inside the ``with`` block; `Drawing.svg` is there after it.

    Parameters
    ----------
    rows, columns : int
    width, height : float
        Of the figure, in inches.
    **options
        Of matplotlib's ``subplots``, such as ``sharey``.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        drawn = Drawing(figure, figure.subplots(rows, columns, squeeze=False, **options))
        yield drawn
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        drawn.svg = stream.getvalue()
