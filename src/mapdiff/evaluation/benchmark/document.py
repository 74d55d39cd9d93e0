"""The tables of docs/benchmark.md, written between two markers from the rows."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mapdiff.atomic import written_aside
from mapdiff.dose import dose_label, parse_dose
from mapdiff.errors import InputError
from mapdiff.evaluation.benchmark.measure import LARGER, SMALL_MM, SMALLER
from mapdiff.evaluation.benchmark.observing import AUC
from mapdiff.evaluation.benchmark.plan import MAIN_DOSE
from mapdiff.evaluation.benchmark.rows import OURS, Row, way_to_oracle

BEGIN, END = "<!-- benchmark tables: written by mapdiff benchmark -->", "<!-- end of benchmark tables -->"
#: Columns of the main table: heading, metric, convention, reference, decimals.
MAIN = (
    ("PSNR, dB", "psnr", "mapdiff, volume", "full", 2),
    ("SSIM", "ssim", "mapdiff, volume", "full", 4),
    ("NMAE", "nmae", "mapdiff, volume", "full", 4),
    ("NMAE in the body", "nmae", "mapdiff, body", "full", 4),
    ("PSNR to the truth, dB", "psnr", "mapdiff, volume", "truth", 2),
    ("total activity, %", "total activity bias", "mapdiff, volume", "full", 2),
    ("evaluations", "evaluations", "of the network, per volume", "full", 0),
)
PARTS = (
    ("lesion SUVmean, %", "suvmean bias", "mapdiff, lesions", "full", 2),
    ("lesion SUVmax, %", "suvmax bias", "mapdiff, lesions", "full", 2),
    (f"SUVmean from {SMALL_MM:.0f} mm, %", "suvmean bias", LARGER, "full", 2),
    (f"below {SMALL_MM:.0f} mm, %", "suvmean bias", SMALLER, "full", 2),
    ("contrast recovery to the truth, %", "contrast recovery", "mapdiff, lesions", "truth", 1),
    ("liver mean, %", "mean bias", "mapdiff, liver", "full", 2),
    ("liver noise, %", "interior cov", "mapdiff, liver", "full", 2),
    ("kidneys mean, %", "mean bias", "mapdiff, kidneys", "full", 2),
    ("heart mean, %", "mean bias", "mapdiff, heart", "full", 2),
)
#: Columns of the table of a few subjects.
FEW = (*(column for column in MAIN if column[1] not in ("total activity bias", "evaluations")), *PARTS[:2])
SPREAD = (
    ("holds the scan, of 50 %", "coverage of 50 %", "mapdiff, body", "full", 1),
    ("of 80 %", "coverage of 80 %", "mapdiff, body", "full", 1),
    ("of 95 %", "coverage of 95 %", "mapdiff, body", "full", 1),
    ("spread over error", "spread over error", "mapdiff, body", "full", 2),
)
#: What the first table, all cohorts side by side, tells of each.
GLANCE = (MAIN[0], MAIN[3], PARTS[0])
STAGES = ("1/10", "1/4", "1/2")
Columns = Sequence[tuple[str, str, str, str, int]]


def tables(rows: Sequence[Row], differences: Sequence[Row]) -> str:
    """Markdown: all cohorts at a glance; of each the main table, parts, stages, spread, differences, doses.

    Methods that were run on a part of the subjects stand in a table of their own, where every method's mean
    is over those subjects.
    """
    main = dose_label(MAIN_DOSE)
    parts: list[str] = []
    wholes: dict[str, list[Row]] = {}
    for cohort, grid in sorted({(r["cohort"], r["grid"]) for r in rows if r["metric"] != AUC}):
        here = [r for r in rows if (r["cohort"], r["grid"]) == (cohort, grid)]
        at = [r for r in here if r["input_dose"] == main]
        told = [d for d in differences if (d["cohort"], d["grid"], d["input_dose"]) == (cohort, grid, main)]
        sets = _subjects_by_method(at)
        everyone = max(sets.values(), key=len)
        whole = [r for r in at if sets[r["method"], r["sampler"]] == everyone]
        wholes[f"{cohort}, {grid} (n = {len(everyone)})"] = whole
        parts += [f"## {cohort}, {grid}\n", f"### Input {main}\n", _table(whole, MAIN, True)]
        parts += [_table(whole, PARTS, False), _stage_table(at)]
        for some in sorted({s for s in sets.values() if s and s < everyone}, key=len, reverse=True):
            parts.append(f"The first {len(some)} subjects only:\n")
            parts.append(_table(_restricted(at, some), FEW, False))
        parts += [_table(at, SPREAD, False)]
        parts += [_difference_table(told), _dose_table([r for r in here if r["input_dose"] != main])]
    parts = [_glance(wholes), *parts, *_detection(rows, differences)]
    return "\n".join(part for part in parts if part)


def _glance(cohorts: Mapping[str, Sequence[Row]]) -> str:
    """The cohorts side by side, by heading; one seed of each method."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for heading, rows in cohorts.items():
        for method in _methods([r for r in rows if r["stage"] == "full" and "seed" not in r["sampler"]]):
            cells = [_find(rows, method, "full", column) for column in GLANCE]
            told = [f"{r['mean']:.{c[4]}f}" for r, c in zip(cells, GLANCE, strict=True) if r is not None]
            found.setdefault(method, {})[heading] = " / ".join(told)
    if not found:
        return ""
    body = [
        [_label(*method), *[found[method].get(heading, "") for heading in cohorts]]
        for method in _ordered(found)
    ]
    words = f"Means over subjects (lesions: over those that have any): {' / '.join(c[0] for c in GLANCE)}."
    return f"## At a glance\n\n{words}\n\n{_lines(['method', *cohorts], body)}"


def _subjects_by_method(rows: Sequence[Row]) -> dict[tuple[str, str], frozenset[str]]:
    """Whom each method was run on; a path's own states go with their method."""
    sets: dict[tuple[str, str], frozenset[str]] = {}
    for row in rows:
        key = row["method"], row["sampler"]
        sets[key] = sets.get(key, frozenset()) | frozenset(row["subjects"])
    return sets


def _restricted(rows: Sequence[Row], subjects: frozenset[str]) -> list[Row]:
    """The rows of the methods that were run on these subjects, their means over these."""
    found = []
    for row in rows:
        values = [row["subjects"][name] for name in subjects if name in row["subjects"]]
        if len(values) == len(subjects):
            mean = sum(values) / len(values)
            found.append({**row, "n": len(values), "mean": mean, "ci_low": None, "ci_high": None})
    return found


def _detection(rows: Sequence[Row], differences: Sequence[Row]) -> list[str]:
    """The observer's AUCs, and each less the input's."""
    gains = {(d["method"], d["sampler"]): d for d in differences if d["metric"] == AUC}
    found = [row for row in rows if row["metric"] == AUC]
    body = []
    for method in _methods(found):
        row = next(r for r in found if (r["method"], r["sampler"]) == method)
        gain = gains.get(method)
        span = ""
        if gain is not None:
            span = f"{gain['mean']:+.3f} [{gain['ci_low']:+.3f}, {gain['ci_high']:+.3f}]"
        body.append([_label(*method), str(row["n"]), _cell(row, 3), span])
    if not body:
        return []
    what = f"{found[0]['convention']}, {found[0]['grid']}, input {found[0]['input_dose']}"
    headings = ["method", "pairs", "AUC", "less the input's, same pairs"]
    return [f"## Detectability ({what})\n", _lines(headings, body)]


def _methods(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return _ordered({(r["method"], r["sampler"]) for r in rows})


def _ordered(methods: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    order = {"input": 0, "gaussian": 1, "nlm": 2, "oracle": 9, OURS: 8}
    return sorted(methods, key=lambda m: (order.get(m[0], 5), m))


def _label(method: str, sampler: str) -> str:
    return f"{method} ({sampler})" if sampler else method


def _find(rows: Sequence[Row], method: tuple[str, str], stage: str, column: Sequence[object]) -> Row | None:
    wanted = (*method, stage, column[1], column[2], column[3])
    for row in rows:
        if (
            tuple(row[k] for k in ("method", "sampler", "stage", "metric", "convention", "reference"))
            == wanted
        ):
            return row
    return None


def _cell(row: Row | None, decimals: int, n: int | None = None) -> str:
    """Mean and interval; the number of subjects where it is not the line's."""
    if row is None:
        return ""
    text = f"{row['mean']:.{decimals}f}"
    if row["ci_low"] is not None and row["metric"] != "evaluations":
        text += f" [{row['ci_low']:.{decimals}f}, {row['ci_high']:.{decimals}f}]"
    return _noted(text, row["n"], row["n"] if n is None else n)


def _noted(text: str, n: int, usual: int) -> str:
    """A cell's text, with its number of subjects where that is not the line's."""
    return text if n == usual else f"{text} (n = {n})"


def _lines(headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "| --- " * len(headings) + "|"]
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in body]) + "\n"


def _table(rows: Sequence[Row], columns: Columns, way: bool) -> str:
    told = {(r["metric"], r["convention"], r["reference"]) for r in rows if r["stage"] == "full"}
    columns = [column for column in columns if column[1:4] in told]
    body = []
    for method in _methods(rows):
        found = [_find(rows, method, "full", column) for column in columns]
        if not any(row is not None for row in found):
            continue
        n = max(row["n"] for row in found if row is not None)
        cells = [_label(*method), str(n)]
        cells += [_cell(row, column[4], n) for row, column in zip(found, columns, strict=True)]
        if way:
            done = None if found[0] is None else way_to_oracle(rows, found[0])
            cells.append("" if done is None else f"{done:.0f}")
        body.append(cells)
    headings = ["method", "n", *[column[0] for column in columns], *(["way to the oracle, %"] if way else [])]
    return _lines(headings, body) if any(any(cells[2:]) for cells in body) else ""


def _stage_table(rows: Sequence[Row]) -> str:
    columns = [
        (f"{metric.upper()} at {stage}", metric, "mapdiff, volume", "full", digits, stage)
        for stage in STAGES
        for metric, digits in (("psnr", 2), ("nmae", 4))
    ]
    body = []
    for method in _methods(rows):
        found = [_find(rows, method, column[5], column) for column in columns]
        if any(row is not None for row in found):
            cells = [
                "" if row is None else f"{_cell(row, column[4])} (n = {row['n']})"
                for row, column in zip(found, columns, strict=True)
            ]
            body.append([_label(*method), *cells])
    return _lines(["stages against the scans of their doses", *[c[0] for c in columns]], body) if body else ""


def _difference_table(differences: Sequence[Row]) -> str:
    """Ours minus each other; what is clear of zero stands in bold."""
    whole, inside = "mapdiff, volume", "mapdiff, body"
    columns = [
        ("PSNR to the full dose", "psnr", whole, "full", "full"),
        ("SSIM to the full dose", "ssim", whole, "full", "full"),
        ("NMAE to the full dose", "nmae", whole, "full", "full"),
        ("NMAE in the body", "nmae", inside, "full", "full"),
        ("PSNR to the truth", "psnr", whole, "truth", "full"),
        ("SSIM to the truth", "ssim", whole, "truth", "full"),
        ("NMAE to the truth", "nmae", whole, "truth", "full"),
        *((f"PSNR at {stage}", "psnr", whole, "full", stage) for stage in STAGES),
    ]
    keys = ("metric", "convention", "reference", "stage")
    found = {(*d["versus"].values(), *(d[key] for key in keys)): d for d in differences}
    others = sorted({key[:2] for key in found if key[2:] in {column[1:] for column in columns}})
    body = []
    for other in others:
        cells = [found.get((*other, *column[1:])) for column in columns]
        n = max(d["n"] for d in cells if d is not None)
        body.append([_label(*other), str(n), *[_difference(d, n) for d in cells]])
    headings = [f"{OURS} minus, paired", "n", *[column[0] for column in columns]]
    return _lines(headings, body) if body else ""


def _difference(d: Row | None, n: int) -> str:
    if d is None:
        return ""
    digits = 2 if d["metric"] == "psnr" else 4
    text = f"{d['mean']:+.{digits}f}"
    if d["clear_of_zero"]:
        text = f"**{text}**"
    if d["ci_low"] is not None:
        text += f" [{d['ci_low']:+.{digits}f}, {d['ci_high']:+.{digits}f}]"
    return _noted(text, d["n"], n)


def _dose_table(rows: Sequence[Row]) -> str:
    """PSNR and NMAE of the full-dose estimate from the other input doses."""
    doses = sorted({r["input_dose"] for r in rows}, key=lambda d: -parse_dose(d))
    columns = [
        (f"{metric.upper()} from {dose}", metric, digits, dose)
        for dose in doses
        for metric, digits in (("psnr", 2), ("nmae", 4))
    ]
    body = []
    for method in _methods(rows):
        found = []
        for _, metric, _, dose in columns:
            at = [r for r in rows if r["input_dose"] == dose]
            found.append(_find(at, method, "full", ("", metric, "mapdiff, volume", "full")))
        if any(row is not None for row in found):
            n = max(row["n"] for row in found if row is not None)
            cells = [_cell(row, column[2]) for row, column in zip(found, columns, strict=True)]
            body.append([_label(*method), str(n), *cells])
    return _lines(["other input doses", "n", *[c[0] for c in columns]], body) if body else ""


def write_tables(page: Path, text: str) -> None:
    """Put the tables between the page's markers; the rest of the page is left as it is.

    Raises:
        InputError: the page is not there, or has no markers.
    """
    try:
        whole = page.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", page) from None
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"lacks the lines '{BEGIN}' and '{END}'", page)
    with written_aside(page) as aside:
        aside.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")
