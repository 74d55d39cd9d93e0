"""The plots of a cohort: figures by dose, stages, agreement in organs and lesions, spread, level found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mapdiff.bootstrap import LEAST_SUBJECTS
from mapdiff.dose import dose_label, parse_dose
from mapdiff.errors import InputError
from mapdiff.evaluation.cohort import INPUT, RegionPair, Spread
from mapdiff.evaluation.metrics import MAPDIFF
from mapdiff.evaluation.rows import Row
from mapdiff.evaluation.tables import printed_name
from mapdiff.report.plots import Plot, look_of, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Metrics that are drawn: name, which way is better.
DRAWN = {
    "psnr": "higher is better",
    "ssim": "higher is better",
    "nmae": "lower is better",
    "total activity bias": "nearer to 0 is better",
}
#: Limits of agreement lie that many standard deviations from the mean (Bland and Altman 1986).
LIMITS_SD = 1.96


def main_rows(rows: Sequence[Row]) -> list[Row]:
    """Those in mapdiff's convention over the whole volume."""
    return [row for row in rows if row.protocol == MAPDIFF and row.region == "volume"]


def dose_value(label: str) -> float:
    """A dose as a number, for sorting: 1 is the full dose, 0 one that is not known."""
    try:
        return float(parse_dose(label))
    except InputError:
        return 0.0


def methods_in(rows: Sequence[Row]) -> list[str]:
    """The methods of the rows: the input first, MAP-Diff last, the others as they come."""
    found = list(dict.fromkeys(row.method for row in rows))
    return sorted(found, key=lambda name: (name != INPUT, name == "map-diff"))


def metric_plots(rows: Sequence[Row]) -> list[Plot]:
    """One plot per metric: every subject's figure by dose and method, joined over the methods."""
    wanted = [row for row in main_rows(rows) if row.stage == "full" and row.reference == "full"]
    wanted = wanted or [row for row in main_rows(rows) if row.stage == "full"]
    plots = []
    for metric, better in DRAWN.items():
        those = [row for row in wanted if row.metric == metric]
        if those:
            plots.append(_metric_plot(those, metric, better))
    return plots


def _metric_plot(rows: Sequence[Row], metric: str, better: str) -> Plot:
    groups = list(dict.fromkeys((row.cohort, row.grid) for row in rows))
    methods = methods_in(rows)
    doses = {group: _doses([r for r in rows if (r.cohort, r.grid) == group]) for group in groups}
    widest = max(len(d) for d in doses.values()) * (len(methods) + 0.6)
    width = min(max(2.2 + 0.62 * widest, 3.6), 9.5)
    figure, axes = new_figure(width * len(groups), 3.6, 1, len(groups))
    name = printed_name(metric)
    data: list[list[Any]] = [
        ["cohort", "grid", "input dose", "method", "sampler", "subject", f"{name} {rows[0].unit}".strip()]
    ]
    for panel, group in zip(axes[0], groups, strict=True):
        here = [row for row in rows if (row.cohort, row.grid) == group]
        for d, dose in enumerate(doses[group]):
            start = d * (len(methods) + 0.6)
            found = [(start + methods.index(r.method), r) for r in here if r.input_dose == dose]
            found.sort(key=lambda pair: pair[0])
            _pair_lines(panel, found)
            for x, row in found:
                _points(panel, x, row, methods, named=d == 0 and panel is axes[0][0])
                data += [[*group, dose, row.method, row.sampler, who, v] for who, v in row.subjects.items()]
        middle = (len(methods) - 1) / 2
        panel.set_xticks([d * (len(methods) + 0.6) + middle for d in range(len(doses[group]))])
        panel.set_xticklabels([dose or "not known" for dose in doses[group]])
        panel.set_xlim(-0.7, (len(doses[group]) - 1) * (len(methods) + 0.6) + len(methods) - 0.3)
        panel.set_xlabel("dose of the input")
        panel.set_title(", ".join(word for word in group if word), fontsize=10)
        if metric == "total activity bias":
            panel.axhline(0, color="black", linewidth=0.8)
    axes[0][0].set_ylabel(f"{name}, {rows[0].unit}" if rows[0].unit else name)
    figure.legend(loc="outside lower center", ncols=min(len(methods), 6), fontsize=9)
    caption = (
        f"{name} of every subject ({better}); lines join a subject's figures. Bars: mean and its 95 % "
        f"interval (bootstrap over subjects; of fewer than {LEAST_SUBJECTS} there is none)."
    )
    return Plot(metric.replace(" ", "-"), f"{name} by dose", caption, figure, data)


def _doses(rows: Sequence[Row]) -> list[str]:
    return sorted({row.input_dose for row in rows}, key=dose_value, reverse=True)


def _pair_lines(panel: Axes, found: Sequence[tuple[float, Row]]) -> None:
    for subject in dict.fromkeys(name for _, row in found for name in row.subjects):
        points = [(x, row.subjects[subject]) for x, row in found if subject in row.subjects]
        panel.plot(*zip(*points, strict=True), color="#bbbbbb", linewidth=0.7, zorder=1)


def _points(panel: Axes, x: float, row: Row, methods: Sequence[str], named: bool) -> None:
    colour, marker = look_of(row.method, methods)
    values = list(row.subjects.values())
    label = row.method if named else None
    panel.scatter(
        [x] * len(values), values, s=22, color=colour, marker=marker, alpha=0.85, zorder=2, label=label
    )
    if row.n > 1:
        known = math.isfinite(row.ci_low)
        ends = [[row.mean - row.ci_low], [row.ci_high - row.mean]] if known else None
        panel.errorbar(x + 0.28, row.mean, ends, color="black", capsize=3, marker="_", markersize=9, zorder=3)


def stage_plot(rows: Sequence[Row]) -> Plot | None:
    """NMAE of the intermediate images against the scans of their dose, the input's beside it."""
    wanted = [r for r in main_rows(rows) if r.metric == "nmae" and r.reference == "full"]
    if not any(row.stage != "full" for row in wanted):
        return None
    groups = list(dict.fromkeys((row.cohort, row.grid, row.input_dose) for row in wanted))
    methods = methods_in(wanted)
    figure, axes = new_figure(min(4.4, 13 / len(groups)) * len(groups), 3.4, 1, len(groups))
    data: list[list[Any]] = [["cohort", "grid", "input dose", "method", "stage", "subject", "NMAE"]]
    for panel, group in zip(axes[0], groups, strict=True):
        here = [row for row in wanted if (row.cohort, row.grid, row.input_dose) == group]
        stages = sorted({row.stage for row in here}, key=dose_value)
        for method in methods:
            colour, marker = look_of(method, methods)
            line = sorted((r for r in here if r.method == method), key=lambda r: stages.index(r.stage))
            x = [stages.index(row.stage) for row in line]
            low = [row.mean - row.ci_low if math.isfinite(row.ci_low) else 0 for row in line]
            high = [row.ci_high - row.mean if math.isfinite(row.ci_high) else 0 for row in line]
            means = [row.mean for row in line]
            label = method if panel is axes[0][0] else None
            dash = "--" if method == INPUT else "-"
            panel.errorbar(
                x, means, [low, high], color=colour, marker=marker, ls=dash, capsize=3, label=label
            )
            data += [[*group, method, row.stage, who, v] for row in line for who, v in row.subjects.items()]
        panel.set_xticks(range(len(stages)))
        panel.set_xticklabels(stages)
        panel.set_xlabel("stage, against the scan of that dose")
        panel.set_title(", ".join(word for word in group if word), fontsize=10)
        panel.set_ylim(bottom=0)
    axes[0][0].set_ylabel("NMAE")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    caption = (
        "Every stage against the scan of its dose (lower is better), mean and 95 % interval; the input as it "
        "is against the same scans. Those scans' own noise is in the figure, most at the low doses."
    )
    return Plot("stages", "The stages", caption, figure, data)


def agreement_plots(regions: Sequence[RegionPair]) -> list[Plot]:
    """Bland-Altman plots of organs and of lesions."""
    return [
        _agreement([pair for pair in regions if pair.kind == kind], kind, title)
        for kind, title in (("organ", "Organs"), ("lesion", "Lesions"))
        if any(pair.kind == kind for pair in regions)
    ]


def _agreement(regions: Sequence[RegionPair], kind: str, title: str) -> Plot:
    doses = sorted({pair.input_dose for pair in regions}, key=dose_value, reverse=True)
    quantities = list(dict.fromkeys(pair.quantity for pair in regions))
    methods = sorted(dict.fromkeys(p.method for p in regions), key=lambda m: (m != INPUT, m == "map-diff"))
    panels = [(quantity, dose) for quantity in quantities for dose in doses]
    columns = min(len(panels), 3)
    lines = math.ceil(len(panels) / columns)
    figure, axes = new_figure(max(4.3 * columns, 5.2), 3.3 * lines + 0.4, lines, columns)
    unit = regions[0].unit
    data: list[list[Any]] = [
        ["subject", "method", "input dose", kind, "quantity", f"value {unit}", f"reference {unit}"]
    ]
    data += [[p.subject, p.method, p.input_dose, p.region, p.quantity, p.value, p.reference] for p in regions]
    for number, panel in enumerate(axes.flat):
        if number >= len(panels):
            panel.set_visible(False)
            continue
        quantity, dose = panels[number]
        for method in methods:
            here = [p for p in regions if (p.method, p.quantity, p.input_dose) == (method, quantity, dose)]
            _agreement_panel(panel, here, method, methods, named=number == 0)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.margins(y=0.22)  # room for the words at the top
        word = f"SUV{quantity}" if unit == "SUV" else quantity
        panel.set_title(f"{word}, input {dose or 'dose not known'}", fontsize=10)
        panel.set_xlabel(f"mean of both, {unit}")
        panel.set_ylabel("difference, % of the mean")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    caption = (
        f"Bland-Altman: each point is one {kind} of one subject, image against reference. Lines: mean "
        f"difference (solid) and its limits of agreement, {LIMITS_SD} standard deviations off it (dotted)."
    )
    return Plot(f"bland-altman-{kind}s", f"{title}: agreement with the reference", caption, figure, data)


def _agreement_panel(
    panel: Axes, pairs: Sequence[RegionPair], method: str, methods: Sequence[str], named: bool
) -> None:
    good = [p for p in pairs if p.value + p.reference > 0]
    if not good:
        return
    x = np.array([(p.value + p.reference) / 2 for p in good])
    y = 100 * np.array([p.value - p.reference for p in good]) / x
    colour, marker = look_of(method, methods)
    mean, sd = float(y.mean()), float(y.std(ddof=1)) if len(y) > 1 else 0.0
    label = f"{method}" if named else None
    size = 20 if method == INPUT else 26
    panel.scatter(x, y, s=size, color=colour, marker=marker, alpha=0.8, label=label, zorder=2)
    panel.axhline(mean, color=colour, linewidth=1.4, zorder=1)
    if sd:
        for edge in (mean - LIMITS_SD * sd, mean + LIMITS_SD * sd):
            panel.axhline(edge, color=colour, linewidth=1.1, linestyle=":", zorder=1)
    place = 0.98 if method != INPUT else 0.02
    panel.text(
        place,
        0.98,
        f"{method}: {mean:+.1f} %" + (f" ± {LIMITS_SD * sd:.1f} %" if sd else ""),
        transform=panel.transAxes,
        ha="right" if method != INPUT else "left",
        va="top",
        fontsize=8,
        color=colour,
    )


def spread_plot(spreads: Sequence[Spread]) -> Plot | None:
    """The standard deviation over samples against the error that it ought to tell."""
    from matplotlib.ticker import LogLocator

    if not spreads:
        return None
    figure, axes = new_figure(4.8, 4.2)
    panel = axes[0][0]
    unit = spreads[0].unit
    data: list[list[Any]] = [["subject", f"standard deviation {unit}", f"RMS error {unit}"]]
    for spread in spreads:
        panel.plot(spread.deviation, spread.error, color="#56B4E9", marker="o", markersize=3, linewidth=0.8)
        data += [[spread.subject, *pair] for pair in zip(spread.deviation, spread.error, strict=True)]
    means = [np.mean([getattr(s, kind) for s in spreads], axis=0) for kind in ("deviation", "error")]
    panel.plot(*means, color="#0072B2", marker="D", linewidth=2, label="mean over subjects")
    low = min(min(s.deviation) for s in spreads)
    high = max(max(*s.deviation, *s.error) for s in spreads)
    low = max(low, high * 1e-4)
    panel.plot(
        [low, high], [low, high], color="black", linestyle="--", linewidth=1, label="as large as the error"
    )
    panel.set_xscale("log")
    panel.set_yscale("log")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
    panel.minorticks_off()
    panel.set_xlabel(f"standard deviation over samples, {unit}")
    panel.set_ylabel(f"root mean square error, {unit}")
    panel.legend(fontsize=9)
    caption = (
        "Voxels of the body in bins of equal size, by the standard deviation over samples round them. Above "
        "the dashed line the map promises too little error. The reference is taken as one more sample, so "
        "its own noise is in both; what the mean of few samples misses is too."
    )
    return Plot("calibration-spread", "Calibration of the standard deviation", caption, figure, data)


def level_plot(found: Sequence[tuple[str, str, float]]) -> Plot | None:
    """The dose that the denoiser found against the nominal one.

    Args:
        found: subject, nominal dose, dose found.
    """
    points = [
        (name, dose_value(dose), dose, value) for name, dose, value in found if dose_value(dose) and value > 0
    ]
    if not points:
        return None
    figure, axes = new_figure(4.8, 4.2)
    panel = axes[0][0]
    x, y = [p[1] for p in points], [p[3] for p in points]
    panel.scatter(x, y, color="#0072B2", s=26, zorder=2)
    ends = [min(*x, *y) / 1.5, min(1.0, max(*x, *y) * 1.5)]
    panel.plot(ends, ends, color="black", linestyle="--", linewidth=1, label="found = nominal")
    panel.set_xscale("log")
    panel.set_yscale("log")
    doses = sorted({p[1] for p in points})
    panel.set_xticks(doses, [dose_label(parse_dose(str(dose))) for dose in doses], minor=False)
    panel.minorticks_off()
    marks = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
    low = max((t for t in marks if t <= ends[0]), default=ends[0])
    high = min((t for t in marks if t >= ends[1]), default=ends[1])
    panel.set_ylim(low / 1.1, high * 1.1)
    ticks = [t for t in marks if low <= t <= high]
    panel.set_yticks(ticks, [dose_label(parse_dose(str(tick))) for tick in ticks])
    panel.set_xlabel("nominal dose of the input")
    panel.set_ylabel("dose found from its noise")
    panel.legend(fontsize=9)
    data: list[list[Any]] = [["subject", "nominal dose", "dose found"], *([p[0], p[2], p[3]] for p in points)]
    caption = (
        "The dose that the noise of each input stands for on the scanner that the model is calibrated on. "
        "Another scanner lies off the line: its noise at the same dose is another."
    )
    return Plot("calibration-dose", "Dose found", caption, figure, data)
