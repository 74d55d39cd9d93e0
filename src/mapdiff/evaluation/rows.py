"""Result rows: one figure over the subjects of a cohort, as tables, plots and JSON share it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mapdiff.errors import InputError
from mapdiff.evaluation.metrics import MAPDIFF, Figure
from mapdiff.evaluation.statistics import mean_interval

#: Of metrics whose rows do not tell.
_UNITS = {"psnr": "dB", "total activity bias": "%"}
#: The entity of a BIDS name that tells the person; before it there may be folders.
_PERSON = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)(?:_[^/]*)?$")


@dataclass(frozen=True)
class Row:
    """The mean of one figure over the subjects of a cohort.

    Attributes:
        cohort: such as "internal", "external", "real", or a scanner's name.
        method: such as "map-diff", "ddpm", "unet", "gaussian"; "input" is the low dose itself.
        sampler: how a method's result was drawn.
        grid: voxel size, in words.
        input_dose: "1/20"; "" where it is not known.
        reference: "full" (the scan of the stage's dose) or "truth" (the noise-free image).
        stage: which image of the method: "full" is its result, "1/10" the estimate at that dose.
        metric: "psnr", "ssim", "nmae", "total activity bias", ...
        convention: peak, data range, mask, unit and clipping, in words.
        protocol: whose convention.
        region: where it was measured.
        unit: of the figure; "" where it has none.
        n: persons; sessions of one person are averaged first (`over_persons`).
        mean: over them.
        ci_low: lower end of the 95 % interval; NaN where there is none.
        ci_high: its upper end.
        subjects: the figure of each subject or session, by name.
    """

    cohort: str
    method: str
    sampler: str
    grid: str
    input_dose: str
    reference: str
    stage: str
    metric: str
    convention: str
    protocol: str
    region: str
    unit: str
    n: int
    mean: float
    ci_low: float
    ci_high: float
    subjects: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN: null."""
        return {
            k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()
        }


@dataclass(frozen=True)
class SubjectFigures:
    """The figures of one image of one subject, and where they belong."""

    subject: str
    cohort: str
    method: str
    sampler: str
    grid: str
    input_dose: str
    stage: str
    reference: str
    figures: Sequence[Figure]


def over_persons(subjects: Mapping[str, float]) -> dict[str, float]:
    """One value for each person: the mean over the sessions that BIDS names tell to be of one person.

    A person's sessions are no independent draws: taken as subjects, they would make intervals too narrow.

    >>> over_persons({"sub-01_ses-1": 1.0, "sub-01_ses-2": 2.0, "sub-02": 4.0, "Anonymous": 3.0})
    {'sub-01': 1.5, 'sub-02': 4.0, 'Anonymous': 3.0}
    """
    gathered: dict[str, list[float]] = {}
    for name, value in subjects.items():
        found = _PERSON.search(name)
        gathered.setdefault(found.group(1) if found else name, []).append(value)
    return {person: sum(values) / len(values) for person, values in gathered.items()}


def rows_of(all_figures: Iterable[SubjectFigures]) -> list[Row]:
    """Gather figures over persons: mean and 95 % bootstrap interval of each.

    A figure that is not finite (the PSNR of identical images) is left out of its row.
    """
    gathered: dict[tuple[str, ...], tuple[Figure, dict[str, float]]] = {}
    for one in all_figures:
        for figure in one.figures:
            if not math.isfinite(figure.value):
                continue
            about = (one.cohort, one.method, one.sampler, one.grid, one.input_dose, one.reference, one.stage)
            key: tuple[str, ...] = (*about, figure.name, figure.protocol, figure.region)
            gathered.setdefault(key, (figure, {}))[1][one.subject] = figure.value
    rows = []
    for where, (figure, subjects) in gathered.items():
        interval = mean_interval(list(over_persons(subjects).values()))
        cohort, method, sampler, grid, dose, reference, stage, *_ = where
        convention = _general(figure.convention)
        rows.append(
            Row(
                cohort=cohort,
                method=method,
                sampler=sampler,
                grid=grid,
                input_dose=dose,
                reference=reference,
                stage=stage,
                metric=figure.name,
                convention=convention,
                protocol=figure.protocol,
                region=figure.region,
                unit=figure.unit,
                n=interval.n,
                mean=interval.mean,
                ci_low=interval.low,
                ci_high=interval.high,
                subjects=subjects,
            )
        )
    return rows


def _general(convention: str) -> str:
    """A convention's words without the figures of one subject: its peak, its range."""
    words = re.sub(r"\b(peak|data range) [\d.e+-]+( [^\s(]+)? \((max of[^)]*)\)", r"\1 the \3", convention)
    return re.sub(r"(max - min of the reference), [\d.e+-]+( [^\s)]+)?\)", r"\1)", words)


def rows_from_json(content: Any) -> list[Row]:
    """Rows from parsed JSON: a list of objects, or an object with that list under "rows".

    Required: cohort, method, input_dose, metric, and the subjects' values ("subjects": {name: value};
    "values" is understood too, as such an object or as a list). "mean", "ci_low", "ci_high" and "n" are
    worked out where they are missing.

    Raises:
        InputError: it is something else; the line names the row.
    """
    listed = content.get("rows") if isinstance(content, Mapping) else content
    if not isinstance(listed, list) or not listed:
        raise InputError("holds no list of rows")
    return [_row(number, raw) for number, raw in enumerate(listed, 1)]


def _row(number: int, raw: Any) -> Row:
    if not isinstance(raw, Mapping):
        raise InputError(f"row {number} is no object")
    for key in ("cohort", "method", "input_dose", "metric"):
        if not isinstance(raw.get(key), str):
            raise InputError(f"row {number} has no {key}")
    values = raw.get("subjects", raw.get("values", {}))
    if isinstance(values, list):
        values = {f"subject {n}": value for n, value in enumerate(values, 1)}
    try:
        subjects = {str(name): float(value) for name, value in values.items() if value is not None}
        given = {
            k: float("nan") if raw.get(k) is None else float(raw[k]) for k in ("mean", "ci_low", "ci_high")
        }
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"row {number} has values that are no numbers") from None
    if not math.isfinite(given["mean"]):
        finite = {name: value for name, value in subjects.items() if math.isfinite(value)}
        if not finite:
            raise InputError(f"row {number} has neither a mean nor values of subjects")
        interval = mean_interval(list(over_persons(finite).values()))
        given = {"mean": interval.mean, "ci_low": interval.low, "ci_high": interval.high}
    metric = raw["metric"]
    unit = raw.get("unit")
    return Row(
        cohort=raw["cohort"],
        method=raw["method"],
        input_dose=raw["input_dose"],
        metric=metric,
        unit=str(unit) if unit is not None else _UNITS.get(metric, ""),
        sampler=str(raw.get("sampler", "")),
        grid=str(raw.get("grid", "")),
        reference=str(raw.get("reference", "full")),
        stage=str(raw.get("stage", "full")),
        convention=str(raw.get("convention", "")),
        protocol=str(raw.get("protocol", MAPDIFF)),
        region=str(raw.get("region", "volume")),
        n=int(raw.get("n") or len(over_persons(subjects))),
        mean=given["mean"],
        ci_low=given["ci_low"],
        ci_high=given["ci_high"],
        subjects=subjects,
    )
