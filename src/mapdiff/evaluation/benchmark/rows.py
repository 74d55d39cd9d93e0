"""Records of single scans to rows: means over subjects with intervals, and paired differences."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mapdiff.errors import InputError
from mapdiff.evaluation.benchmark.plan import INPUT, ORACLE
from mapdiff.evaluation.statistics import Interval, mean_interval, paired_difference

#: What every row is told apart by, in this order.
KEYS = (
    "cohort",
    "method",
    "sampler",
    "grid",
    "input_dose",
    "reference",
    "stage",
    "metric",
    "convention",
    "unit",
)
#: The method that the others are compared with (its rows without a sampler: the default path of the model
#: that was trained as the others were), and the figures that this is done for.
OURS = "map-diff"
TIMES = ("seconds", "evaluations")
COMPARED = ("psnr", "ssim", "nmae")
Row = dict[str, Any]


def rows_of(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row per figure, with its value of every subject.

    Args:
        records: of `run`.

    Returns:
        Rows with KEYS, "protocol", "region", "n", "mean", "ci_low", "ci_high" (null where there is none)
        and "subjects", the values by subject's name; a figure that is not finite for a subject leaves it out.
    """
    found: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for one in records:
        for value in _values(one):
            key = tuple(value[name] for name in KEYS)
            if math.isfinite(value["value"]):
                found[key][one["subject"]] = value["value"]
    return [_row(dict(zip(KEYS, key, strict=True)), values) for key, values in sorted(found.items())]


def _values(one: Mapping[str, Any]) -> list[dict[str, Any]]:
    base = {name: one[name] for name in ("cohort", "method", "sampler", "grid", "input_dose")}
    values = []
    for value in one["values"]:
        sampler = ", ".join(part for part in (one["sampler"], value["form"]) if part)
        values.append({**base, **value, "sampler": sampler})
    for metric, unit in (("seconds", "s"), ("evaluations", "")):
        words = "wall time" if unit else "of the network, per volume"
        extra = {"reference": "full", "stage": "full", "metric": metric, "convention": words, "unit": unit}
        values.append({**base, **extra, "value": float(one[metric])})
    return values


def _row(key: dict[str, str], values: dict[str, float]) -> Row:
    protocol, _, region = key["convention"].rpartition(", ")
    return {
        **key,
        # As `evaluation.rows` reads them, for pages and plots of the results.
        "protocol": protocol if key["metric"] not in TIMES else "mapdiff",
        "region": region if key["metric"] not in TIMES else "volume",
        **_summary(values),
        "subjects": dict(sorted(values.items())),
    }


def anew(rows: Sequence[Row]) -> list[Row]:
    """The rows with means and intervals worked out again from the subjects' values, where they have any."""
    return [{**row, **_summary(row["subjects"])} if row["subjects"] else row for row in rows]


def _summary(values: Mapping[str, float]) -> dict[str, Any]:
    interval = mean_interval(list(values.values()))
    return {"n": interval.n, "mean": interval.mean, **_ends(interval)}


def _ends(interval: Interval) -> dict[str, float | None]:
    few = math.isnan(interval.low)
    return {"ci_low": None if few else interval.low, "ci_high": None if few else interval.high}


def differences(rows: Sequence[Row], metrics: Sequence[str] = COMPARED) -> list[Row]:
    """Ours minus each other method, paired over the subjects that both have.

    Returns:
        Rows as in `rows_of`, with "versus" (method and sampler of the other) beside the method's own.
    """
    by_place: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row["metric"] in metrics:
            by_place[tuple(row[name] for name in KEYS if name not in ("method", "sampler"))].append(row)
    found = []
    for together in by_place.values():
        ours = [row for row in together if (row["method"], row["sampler"]) == (OURS, "")]
        others = [row for row in together if row["method"] not in (INPUT, ORACLE) and row not in ours]
        for one in ours:
            for other in others:
                common = sorted(one["subjects"].keys() & other["subjects"].keys())
                if common:
                    found.append(_difference(one, other, common))
    return found


def _difference(one: Row, other: Row, common: list[str]) -> Row:
    values = [[row["subjects"][name] for name in common] for row in (one, other)]
    interval = paired_difference(values[0], values[1])
    return {
        **{name: one[name] for name in KEYS},
        "versus": {"method": other["method"], "sampler": other["sampler"]},
        "n": interval.n,
        "mean": interval.mean,
        **_ends(interval),
        "clear_of_zero": interval.clear_of_zero(),
        "subjects": {n: a - b for n, a, b in zip(common, *values, strict=True)},
    }


def way_to_oracle(rows: Sequence[Row], row: Row) -> float | None:
    """How much of the way from the input to the oracle a row's mean goes, in %; None where either is missing.

    Both are taken over the subjects of the row.
    """
    place = [name for name in KEYS if name not in ("method", "sampler")]
    ends = []
    for end in (INPUT, ORACLE):
        found = [r for r in rows if r["method"] == end and all(r[name] == row[name] for name in place)]
        if not found or not row["subjects"].keys() <= found[0]["subjects"].keys():
            return None
        ends.append(sum(found[0]["subjects"][name] for name in row["subjects"]) / row["n"])
    return 100 * (row["mean"] - ends[0]) / (ends[1] - ends[0]) if ends[1] != ends[0] else None


def merged(before: Sequence[Row], now: Sequence[Row]) -> list[Row]:
    """Rows that were there and new ones; what the new ones tell of anew is theirs.

    Args:
        before: the rows that are there.
        now: new rows, of some methods; the input's are left as they are where they are there.

    Returns:
        All of them, in the order of `rows_of`.
    """

    there = {_place(row) for row in before}
    new = [row for row in now if row["method"] != INPUT or _place(row) not in there]
    replaced = {_place(row) for row in new}
    kept = [row for row in before if _place(row) not in replaced]
    return sorted([*kept, *new], key=lambda row: tuple(row[name] for name in KEYS))


def renewed(before: Sequence[Row], now: Sequence[Row]) -> list[Row]:
    """The rows that were there with some subjects' values replaced, means and intervals worked out anew.

    Args:
        before: the rows that are there.
        now: rows of some subjects, by every method that has a value of them before.

    Returns:
        All of them, in the order of `rows_of`; a value that a subject has no longer is left out.

    Raises:
        InputError: a method has a value of these subjects before, and none now.
    """
    subjects: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in now:
        subjects[row["cohort"], row["grid"]] |= row["subjects"].keys()
    run = {_place(row) for row in now}
    values: dict[tuple[str, ...], dict[str, float]] = {}
    for row in before:
        here = subjects[row["cohort"], row["grid"]]
        if here & row["subjects"].keys() and _place(row) not in run:
            method = ", ".join(part for part in (row["method"], row["sampler"]) if part)
            raise InputError(
                f"--subject: the results have {min(here)} by {method}, which the plan does not run"
            )
        kept = {name: value for name, value in row["subjects"].items() if name not in here}
        values[tuple(row[name] for name in KEYS)] = kept
    for row in now:
        values.setdefault(tuple(row[name] for name in KEYS), {}).update(row["subjects"])
    return [
        _row(dict(zip(KEYS, key, strict=True)), dict(sorted(found.items())))
        for key, found in sorted(values.items())
        if found
    ]


def _place(row: Row) -> tuple[str, ...]:
    """What an entry's rows on a cohort are told apart by."""
    return tuple(row[name] for name in ("cohort", "method", "sampler", "grid"))


def largest_change(
    before: Sequence[Row], now: Sequence[Row], metric: str = "psnr"
) -> tuple[float, int, list[str]]:
    """The largest difference of a figure of one subject between two sets of rows.

    Args:
        before: the rows that are there.
        now: other rows, each of whose values should be among them.
        metric: the figure.

    Returns:
        The difference, how many values both have, and what of `now` the rows before lack, in words. A value
        that is no number is not the same as one that is.
    """
    known = {tuple(row[name] for name in KEYS): row["subjects"] for row in before if row["metric"] == metric}
    changes, missing = [], []
    for row in now:
        if row["metric"] != metric:
            continue
        there = known.get(tuple(row[name] for name in KEYS), {})
        for name, value in row["subjects"].items():
            if name in there:
                changes.append(abs(value - there[name]))
            else:
                missing.append(
                    " ".join(str(row[k]) for k in ("cohort", "grid", "method", "sampler")) + f" {name}"
                )
    return max(changes, default=0.0), len(changes), sorted(set(missing))
