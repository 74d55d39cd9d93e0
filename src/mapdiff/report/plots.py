"""How plots look, and how one becomes a PNG, a CSV and a picture in a page.

Colours are those of Okabe and Ito, which the colour-blind tell apart; every method has a marker of its own
too, so that a greyscale print can be read.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapdiff.atomic import written_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
#: The input is always this, whatever else is drawn.
INPUT_COLOUR, INPUT_MARKER = "#777777", "x"
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "mapdiff",
}


@dataclass(frozen=True)
class Plot:
    """One figure of a page.

    Attributes:
        name: of its files.
        title: heads it.
        caption: what is drawn and how to read it.
        figure: the drawing.
        data: its data, headings first.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    data: Sequence[Sequence[Any]]


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of that size in inches, and its axes as an array of rows x columns."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, squeeze=False)


def look_of(method: str, methods: Sequence[str]) -> tuple[str, str]:
    """Colour and marker of a method among those that are drawn."""
    if method == "input":
        return INPUT_COLOUR, INPUT_MARKER
    number = [name for name in methods if name != "input"].index(method)
    return OKABE_ITO[number % len(OKABE_ITO)], MARKERS[number % len(MARKERS)]


def save(plot: Plot, folder: Path) -> None:
    """Write NAME.png and NAME.csv."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), written_aside(folder / f"{plot.name}.png") as aside:
        plot.figure.savefig(aside, dpi=150)
    write_csv(plot.data, folder / f"{plot.name}.csv")


def write_csv(rows: Sequence[Sequence[Any]], path: Path) -> None:
    """Write a table as CSV."""
    with (
        written_aside(path) as aside,
        aside.open("w", newline="", encoding="utf-8", errors="replace") as file,
    ):
        csv.writer(file).writerows(rows)


def as_data_uri(figure: Figure) -> str:
    """The drawing as an SVG that an img element takes: sharp on paper, apart from the page's own style."""
    import matplotlib

    text = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(text.getvalue()).decode("ascii")
