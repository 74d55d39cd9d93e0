"""Figures as a table for the terminal and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from mapdiff.atomic import written_aside
from mapdiff.evaluation.metrics import Figure

#: Names that are written in capitals or in part of them; others as they are.
_PRINTED = {"psnr": "PSNR", "ssim": "SSIM", "nmae": "NMAE", "nrmse": "NRMSE", "tlg": "TLG", "mtv": "MTV 41 %"}
_PROTOCOLS = {"mapdiff": "mapdiff", "udpet": "UDPET challenge", "yu-gong": "Yu and Gong"}


def figures_table(figures: Sequence[Figure], title: str | None = None) -> Table:
    """One row per figure, its convention in the last column.

    A lesion's quantity takes one row: the prediction's value, the reference's, and the bias.
    """
    found = {(f.protocol, f.region, f.name): f for f in figures}
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("measure", no_wrap=True)
    table.add_column("in", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("reference", justify="right", no_wrap=True)
    table.add_column("bias %", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("convention", overflow="fold", ratio=1)
    before = None
    for figure in figures:
        group = (figure.protocol, figure.region)
        base, _, part = figure.name.rpartition(" ")
        if part in ("reference", "bias") and (*group, base) in found:
            continue  # stands in the row of the quantity itself
        if before not in (None, group):
            table.add_section()
        before = group
        reference, bias = (found.get((*group, f"{figure.name} {which}")) for which in ("reference", "bias"))
        table.add_row(
            printed_name(figure.name),
            escape(figure.region),
            printed_value(figure),
            "" if reference is None else printed_value(reference),
            "" if bias is None else printed_value(bias),
            figure.unit,
            escape(f"{_PROTOCOLS.get(figure.protocol, figure.protocol)}: {figure.convention}"),
        )
    return table


def before_after_table(before: Sequence[Figure], after: Sequence[Figure], title: str | None = None) -> Table:
    """The same figures of two images side by side; of a lesion's quantities, the biases.

    Args:
        before: figures of the input.
        after: of the result, against the same reference.
        title: above the table.
    """
    later = {(f.protocol, f.region, f.name): f for f in after}
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for heading, numeric in (
        ("measure", False),
        ("in", False),
        ("input", True),
        ("result", True),
        ("unit", False),
    ):
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric)
    table.add_column("convention", overflow="fold", ratio=1)
    names = {(f.protocol, f.region, f.name) for f in before}
    for figure in before:
        key = (figure.protocol, figure.region, figure.name)
        # A quantity that has a bias is told by it.
        if (
            (*key[:2], f"{figure.name} bias") in names
            or figure.name.endswith(" reference")
            or key not in later
        ):
            continue
        table.add_row(
            printed_name(figure.name),
            escape(figure.region),
            printed_value(figure),
            printed_value(later[key]),
            figure.unit,
            escape(f"{_PROTOCOLS.get(figure.protocol, figure.protocol)}: {figure.convention}"),
        )
    return table


def printed_name(name: str) -> str:
    """A figure's name as people write it: "PSNR", "SUVmean bias"."""
    first, _, rest = name.partition(" ")
    first = _PRINTED.get(first, f"SUV{first[3:]}" if first.startswith("suv") else first)
    return f"{first} {rest}".strip()


def printed_value(figure: Figure) -> str:
    """A figure's value: a bias with its sign, SSIM and errors with four decimals, small errors with more."""
    value = figure.value
    if not math.isfinite(value):
        return "not defined" if math.isnan(value) else ("infinite" if value > 0 else "-infinite")
    if figure.unit == "%" and "bias" in figure.name:
        return f"{value:+.2f}"
    if figure.unit in ("%", "dB"):
        return f"{value:.2f}"
    fixed = figure.name == "ssim" or (figure.name in ("nmae", "nrmse") and value >= 0.01)
    return f"{value:.4f}" if fixed else f"{value:.4g}"


def figures_json(figures: Sequence[Figure], **about: Any) -> dict[str, Any]:
    """What the JSON file holds: `about`, then the figures.

    JSON has no infinity: such a value is null, and "value_text" says which.
    """
    rows = []
    for figure in figures:
        row = asdict(figure)
        if not math.isfinite(figure.value):
            row["value"], row["value_text"] = None, printed_value(figure)
        rows.append(row)
    return {**about, "figures": rows}


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write JSON whole or not at all.

    Raises:
        InputError: the place cannot be written.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
