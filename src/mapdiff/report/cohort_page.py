"""The page of a cohort: one offline HTML file, every figure beside it as PNG and its data as CSV."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mapdiff import RESEARCH_USE
from mapdiff.atomic import check_target, written_aside
from mapdiff.diffusion.calibration import Calibration
from mapdiff.evaluation.cohort import INPUT, RegionPair, Spread
from mapdiff.evaluation.rows import Row, over_persons, rows_from_json
from mapdiff.evaluation.statistics import Interval, paired_difference
from mapdiff.evaluation.tables import printed_name
from mapdiff.report import fragments
from mapdiff.report.calibration_plot import calibration_plot
from mapdiff.report.cohort_plots import (
    agreement_plots,
    dose_value,
    level_plot,
    main_rows,
    methods_in,
    metric_plots,
    spread_plot,
    stage_plot,
)
from mapdiff.report.plots import Plot, as_data_uri, save, write_csv

PAGE, FIGURES, ROWS, SUBJECTS = "cohort.html", "figures", "rows.json", "subjects"
#: Names that a folder with a cohort's page holds; only such a folder is replaced.
OURS = "|".join((PAGE.replace(".", r"\."), FIGURES, ROWS.replace(".", r"\."), SUBJECTS))
#: Columns of the table, and how their figures are printed.
_COLUMNS = {"psnr": ".2f", "ssim": ".4f", "nmae": ".4f", "nrmse": ".4f", "total activity bias": "+.2f"}


@dataclass(frozen=True)
class SubjectLine:
    """A line of the list of subjects.

    Attributes:
        name: of the subject; with its dose where there are several.
        subject: as in the rows.
        cohort: as in the rows.
        input_dose: as in the rows.
        page: link to the subject's own page, relative to the cohort's; None where there is none.
        level: noise level found in the input, as a fraction.
        dose_found: the dose that stands for.
        warnings: one line each.
    """

    name: str
    subject: str
    cohort: str
    input_dose: str
    page: str | None = None
    level: float | None = None
    dose_found: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CohortContent:
    """What a cohort's page is made of; whatever is empty is left out.

    Attributes:
        title: heads the page.
        rows: figures over the subjects, at least one.
        subjects: their list; by default the subjects of the rows, without pages.
        regions: uptake in organs and lesions.
        spreads: standard deviation against error.
        calibration: of the model.
        pictures: of the best and the worst subject: caption and PNG file.
        failed: scan and cause.
        unmatched: scan and why it has no partner.
        notes: one line each.
    """

    title: str
    rows: Sequence[Row]
    subjects: Sequence[SubjectLine] = ()
    regions: Sequence[RegionPair] = ()
    spreads: Sequence[Spread] = ()
    calibration: Calibration | None = None
    pictures: Sequence[tuple[str, Path]] = ()
    failed: Sequence[tuple[str, str]] = ()
    unmatched: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = field(default=())


def page_of_rows(
    content: Any,
    folder: Path,
    *,
    title: str = "Benchmark",
    pages: Mapping[str, str] | None = None,
    calibration: Calibration | None = None,
    notes: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write the page of a benchmark from its result rows.

    Args:
        content: parsed JSON as `rows_from_json` takes it.
        folder: gets the page, its figures and the rows; whole or not at all.
        title: heads the page.
        pages: links to subjects' pages, by subject, relative to `folder`.
        calibration: of the model.
        notes: lines to show.
        overwrite: replace a folder that such a page is in.

    Returns:
        The page's path.

    Raises:
        InputError: the content holds no rows, or the folder is there or holds other things.
    """
    rows = rows_from_json(content)
    lines = [replace(line, page=(pages or {}).get(line.subject)) for line in _lines_of(rows)]
    check_target(folder, overwrite, OURS)
    with written_aside(folder) as aside:
        aside.mkdir()
        write_content(CohortContent(title, rows, lines, calibration=calibration, notes=notes), aside)
    return folder / PAGE


def _lines_of(rows: Sequence[Row]) -> list[SubjectLine]:
    """Who is in the rows, once for each cohort and dose."""
    found = dict.fromkeys((name, row.cohort, row.input_dose) for row in rows for name in row.subjects)
    several = {name for name, *_ in found if sum(other == name for other, *_ in found) > 1}
    return [
        SubjectLine(f"{name} {cohort} {dose}".strip() if name in several else name, name, cohort, dose)
        for name, cohort, dose in found
    ]


def write_content(content: CohortContent, folder: Path) -> None:
    """Write page, figures, data and rows into a folder that is there."""
    plots: list[Plot | None] = [*metric_plots(content.rows), stage_plot(content.rows)]
    plots += agreement_plots(content.regions)
    plots.append(spread_plot(content.spreads))
    found = [(s.name, s.input_dose, s.dose_found) for s in content.subjects if s.dose_found is not None]
    plots.append(level_plot(found))
    if content.calibration is not None:
        plots.append(calibration_plot(content.calibration))
    drawn = [plot for plot in plots if plot is not None]
    figures = folder / FIGURES
    figures.mkdir(exist_ok=True)
    for plot in drawn:
        save(plot, figures)
    table = interval_table(content.rows)
    write_csv(table, figures / "intervals.csv")
    listed = _subject_table(content)
    write_csv([[cell for cell, _ in row] for row in listed], figures / "subjects.csv")
    text = json.dumps({"rows": [row.as_dict() for row in content.rows]}, indent=1, allow_nan=False)
    (folder / ROWS).write_text(text + "\n", encoding="utf-8")
    page = fragments.filled(
        "cohort.html",
        {
            "title": html.escape(content.title),
            "notice": RESEARCH_USE,
            "style": fragments.asset("page.css") + fragments.asset("cohort.css"),
            "tiles": fragments.tiles(_key_figures(content)),
            "intervals": _intervals_html(table, full=True),
            "stages": _intervals_html(table, full=False),
            "no_stages": "" if any(row.stage != "full" for row in content.rows) else "hidden",
            "plots": "\n".join(_plot_html(plot) for plot in drawn),
            "pictures": "\n".join(_picture_html(*picture) for picture in content.pictures),
            "no_pictures": "" if content.pictures else "hidden",
            "subjects": _html_table([cell for cell, _ in listed[0]], listed[1:], "subjects"),
            "failed": fragments.lines([f"{name}: {cause}" for name, cause in content.failed]),
            "unmatched": fragments.lines([f"{name}: {cause}" for name, cause in content.unmatched]),
            "notes": fragments.lines(content.notes) if content.notes else "",
            "count": str(len(_warnings(content.subjects))),
            "warnings": fragments.lines(_warnings(content.subjects)),
            "conventions": fragments.lines(_conventions(content.rows)),
            "script": fragments.asset("cohort.js"),
        },
    )
    (folder / PAGE).write_text(page, encoding="utf-8", errors="replace")


def interval_table(rows: Sequence[Row]) -> list[list[str]]:
    """Mean and 95 % interval of each method, and its paired difference from the input; headings first."""
    metrics = [name for name in _COLUMNS if any(row.metric == name for row in main_rows(rows))]
    units = {row.metric: row.unit for row in rows}
    heads = [f"{printed_name(m)}, {units[m]}" if units[m] else printed_name(m) for m in metrics]
    table = [["Cohort", "Grid", "Input dose", "Stage", "Reference", "Method", "n", *heads]]
    wanted = main_rows(rows)
    groups = dict.fromkeys((r.cohort, r.grid, r.input_dose, r.stage, r.reference) for r in wanted)
    for group in sorted(groups, key=lambda g: (g[0], g[1], -dose_value(g[2]), -dose_value(g[3]), g[4])):
        here = [r for r in wanted if (r.cohort, r.grid, r.input_dose, r.stage, r.reference) == group]
        for method in methods_in(here):
            for sampler in dict.fromkeys(r.sampler for r in here if r.method == method):
                those = {r.metric: r for r in here if (r.method, r.sampler) == (method, sampler)}
                name = f"{method}, {sampler}" if sampler else method
                cells = [_cell(those.get(metric), metric) for metric in metrics]
                table.append([*group, name, str(max(r.n for r in those.values())), *cells])
                if method == INPUT:
                    continue
                base = {r.metric: r for r in here if r.method == INPUT}
                gains = [gain(those.get(metric), base.get(metric)) for metric in metrics]
                if any(one is not None for one in gains):
                    n = max(one.n for one in gains if one is not None)
                    cells = [
                        _interval_text(one, _COLUMNS[m], "+") for one, m in zip(gains, metrics, strict=True)
                    ]
                    table.append([*group, f"{method} − input", str(n), *cells])
    return table


def gain(row: Row | None, base: Row | None) -> Interval | None:
    """The mean paired difference of a method from the input, over the persons that both have scans of."""
    if row is None or base is None or row.metric == "total activity bias":
        return None
    both = [name for name in row.subjects if name in base.subjects]
    if not both:
        return None
    ours, theirs = (over_persons({name: one.subjects[name] for name in both}) for one in (row, base))
    return paired_difference(list(ours.values()), list(theirs.values()))


def _cell(row: Row | None, metric: str) -> str:
    if row is None:
        return "–"
    return _interval_text(Interval(row.mean, row.ci_low, row.ci_high, row.n, 0.95, ""), _COLUMNS[metric])


def _interval_text(interval: Interval | None, form: str, sign: str = "") -> str:
    if interval is None:
        return ""
    form = form if form.startswith("+") else sign + form
    if not math.isfinite(interval.low):
        return f"{interval.mean:{form}}"
    return f"{interval.mean:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def _key_figures(content: CohortContent) -> list[tuple[str, str, str]]:
    tiles = [("Scans", str(len(content.subjects)), "")]
    wanted = [row for row in main_rows(content.rows) if row.stage == "full"]
    wanted = [row for row in wanted if row.reference == wanted[0].reference]
    groups = list(dict.fromkeys((r.cohort, r.grid, r.input_dose) for r in wanted))
    methods = methods_in(wanted)
    for group in groups[: 3 if len(groups) <= 3 else 0]:
        here = {(r.method, r.metric): r for r in wanted if (r.cohort, r.grid, r.input_dose) == group}
        # What tells this group from the others: scanner, grid, dose.
        parts = [part for n, part in enumerate(group) if any(other[n] != part for other in groups)]
        where = "".join(f", {part}" for part in parts)
        for metric in ("psnr", "nmae"):
            now, before = here.get((methods[-1], metric)), here.get((INPUT, metric))
            if now is None:
                continue
            form = _COLUMNS[metric]
            then = "" if before is None or before is now else f"{before.mean:{form}} → "
            unit = f" {now.unit}" if now.unit else ""
            tiles.append((f"{printed_name(metric)}{where}", f"{then}{now.mean:{form}}{unit}", ""))
    for name, count in (("Failed", len(content.failed)), ("Without partner", len(content.unmatched))):
        tiles.append((name, str(count) if count else "none", ""))
    return tiles


def _subject_table(content: CohortContent) -> list[list[tuple[str, str | None]]]:
    """The list of subjects, headings first: each cell with its link or None."""
    wanted = [row for row in main_rows(content.rows) if row.stage == "full"]
    wanted = [row for row in wanted if row.reference == wanted[0].reference]
    methods = methods_in(wanted)
    shown = [m for m in ("psnr", "ssim", "nmae", "total activity bias") if any(r.metric == m for r in wanted)]
    heads = ["Subject", "Cohort", "Input dose"]
    pairs = []
    for metric in shown:
        unit = next((f", {r.unit}" for r in wanted if r.metric == metric and r.unit), "")
        for method in dict.fromkeys((methods[0], methods[-1])):
            heads.append(f"{printed_name(metric)} {method}{unit}")
            pairs.append((metric, method))
    extra = any(line.level is not None for line in content.subjects)
    heads += ["Noise found, %", "Dose found"] if extra else []
    heads.append("Warnings")
    table: list[list[tuple[str, str | None]]] = [[(head, None) for head in heads]]
    for line in content.subjects:
        cells: list[tuple[str, str | None]] = [
            (line.name, line.page),
            (line.cohort, None),
            (line.input_dose, None),
        ]
        for metric, method in pairs:
            values = [
                row.subjects[line.subject]
                for row in wanted
                if (row.metric, row.method) == (metric, method)
                and (row.cohort, row.input_dose) == (line.cohort, line.input_dose)
                and line.subject in row.subjects
            ]
            cells.append((f"{values[0]:{_COLUMNS[metric]}}" if values else "–", None))
        if extra:
            cells.append(("–" if line.level is None else f"{100 * line.level:.1f}", None))
            cells.append((f"1/{1 / line.dose_found:.3g}" if line.dose_found else "–", None))
        cells.append((str(len(line.warnings)), None))
        table.append(cells)
    return table


def _warnings(subjects: Sequence[SubjectLine]) -> list[str]:
    return [f"{line.name}: {text}" for line in subjects for text in line.warnings]


def _conventions(rows: Sequence[Row]) -> list[str]:
    told: dict[str, None] = {}
    for row in rows:
        where = "" if row.region == "volume" else f" in {row.region}"
        told[f"{printed_name(row.metric)}{where} ({row.protocol}): {row.convention}"] = None
    return [text for text in told if not text.endswith(": ")]


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[tuple[str, str | None]]], name: str) -> str:
    """A table whose columns sort at a click on their heading."""
    head = "".join(
        f'<th scope="col"><button type="button" class="sort">{html.escape(h)}</button></th>' for h in heads
    )
    body = []
    for row in rows:
        cells = []
        for number, (text, link) in enumerate(row):
            inner = html.escape(text)
            if re.fullmatch(r"[-+\d.]+ \([-+\d.]+ to [-+\d.]+\)", text):  # the interval goes below the mean
                mean, interval = text.split(" ", 1)
                inner = f'{mean} <span class="interval">{interval}</span>'
            if link is not None:
                inner = f'<a href="{html.escape(link)}">{inner}</a>'
            kind = "" if re.match(r"[-+\d–]|$", text) else ' class="word"'
            named = f' data-heading="{html.escape(heads[number])}"'  # shown beside it on a narrow screen
            cells.append(f'<th scope="row">{inner}</th>' if number == 0 else f"<td{kind}{named}>{inner}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table id="{name}"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _intervals_html(table: Sequence[Sequence[str]], full: bool) -> str:
    """The table of means of the results, or of the stages; what is the same in all rows stands below it."""
    head, *rows = table
    stage = head.index("Stage")
    rows = [row for row in rows if (row[stage] == "full") == full]
    if not rows:
        return ""
    same = [n for n in (1, 3, 4) if len({row[n] for row in rows}) == 1]
    words = ", ".join(f"{head[n].lower()}: {rows[0][n]}" for n in same if rows[0][n])
    kept = [n for n in range(len(head)) if n not in same]
    cells: list[list[tuple[str, str | None]]] = [[(row[n], None) for n in kept] for row in rows]
    made = _html_table([head[n] for n in kept], cells, "intervals" if full else "stages")
    return f'{made}<p class="small">{html.escape(words)}</p>'


def _plot_html(plot: Plot) -> str:
    width, _ = plot.figure.get_size_inches()
    alt = html.escape(f"{plot.title}. {plot.caption}")
    links = " ".join(f'<a href="{FIGURES}/{plot.name}.{kind}">{kind.upper()}</a>' for kind in ("png", "csv"))
    return (
        f'<figure id="plot-{plot.name}" style="max-width: {96 * width:.0f}px">'
        f"<h3>{html.escape(plot.title)}</h3>"
        f'<img src="{as_data_uri(plot.figure)}" alt="{alt}">'
        f"<figcaption>{html.escape(plot.caption)} {links}</figcaption></figure>"
    )


def _picture_html(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    words = html.escape(caption)
    return (
        f'<figure class="picture"><h3>{words}</h3><img src="data:image/png;base64,{data}" alt="{words}">'
        f'<figcaption><a href="{FIGURES}/{path.name}">PNG</a></figcaption></figure>'
    )
