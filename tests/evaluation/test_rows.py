"""Rows over subjects: means, intervals, JSON there and back, and what others write."""

import json
import math

import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.evaluation.metrics import psnr, total_activity_bias
from mapdiff.evaluation.rows import SubjectFigures, rows_from_json, rows_of


def measured(subject, x, y):
    figures = [psnr(x, y, unit="SUV"), total_activity_bias(x, y, unit="SUV")]
    return SubjectFigures(subject, "internal", "map-diff", "", "4 mm", "1/20", "full", "full", figures)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [(rng.uniform(0, 5, (6, 6, 6)), rng.uniform(0, 5, (6, 6, 6))) for _ in range(6)]


def test_rows_are_means_over_subjects(images):
    rows = rows_of(measured(f"s{n}", *pair) for n, pair in enumerate(images))
    assert [row.metric for row in rows] == ["psnr", "total activity bias"]
    values = [psnr(x, y).value for x, y in images]
    assert rows[0].mean == pytest.approx(np.mean(values)) and rows[0].n == 6
    assert min(values) <= rows[0].ci_low < rows[0].mean < rows[0].ci_high <= max(values)
    assert list(rows[0].subjects.values()) == values
    # One subject's peak is not the convention of all.
    assert "peak the max of the whole reference" in rows[0].convention


def test_sessions_of_a_person_are_one_draw(images):
    """Six scans of three persons: the mean over persons, no interval of six, and the sessions kept."""
    names = ["sub-a_ses-1", "sub-a_ses-2", "sub-a_ses-3", "sub-b_ses-1", "sub-b_ses-2", "sub-c"]
    row = rows_of(measured(name, *pair) for name, pair in zip(names, images, strict=True))[0]
    v = list(row.subjects.values())
    assert list(row.subjects) == names and row.n == 3 and math.isnan(row.ci_low)
    assert row.mean == pytest.approx((sum(v[:3]) / 3 + sum(v[3:5]) / 2 + v[5]) / 3)
    raw = {"cohort": "c", "method": "m", "input_dose": "1/20", "metric": "psnr", "subjects": row.subjects}
    (again,) = rows_from_json([raw])
    assert (again.n, again.mean) == (3, pytest.approx(row.mean))


def test_an_infinite_figure_stays_out(images):
    x, _ = images[0]
    rows = {row.metric: row for row in rows_of([measured("same", x, x), measured("other", *images[1])])}
    assert list(rows["psnr"].subjects) == ["other"] and rows["psnr"].n == 1
    assert math.isnan(rows["psnr"].ci_low) and rows["psnr"].as_dict()["ci_low"] is None
    assert list(rows["total activity bias"].subjects) == ["same", "other"]


def test_json_there_and_back(images):
    rows = rows_of(measured(f"s{n}", *pair) for n, pair in enumerate(images))
    text = json.dumps([row.as_dict() for row in rows], allow_nan=False)
    assert rows_from_json(json.loads(text)) == rows
    assert rows_from_json({"rows": json.loads(text)}) == rows


def test_what_a_benchmark_writes_is_enough():
    raw = {
        "cohort": "external",
        "method": "ddpm",
        "input_dose": "1/20",
        "metric": "psnr",
        "values": [40, 42.0, 41, 40, 42, 41],
    }
    (row,) = rows_from_json([raw])
    assert row.mean == 41 and row.n == 6 and 40 <= row.ci_low < 41 and row.unit == "dB"
    (few,) = rows_from_json([{**raw, "values": [40, 42.0]}])
    assert few.mean == 41 and few.n == 2 and math.isnan(few.ci_low)
    assert (row.stage, row.reference, row.region) == ("full", "full", "volume")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no list of rows"),
        ([], "no list of rows"),
        (["a"], "row 1 is no object"),
        ([{"cohort": "a", "method": "b", "metric": "psnr"}], "row 1 has no input_dose"),
        (
            [{"cohort": "a", "method": "b", "metric": "psnr", "input_dose": "1/2"}],
            "neither a mean nor values",
        ),
        (
            [{"cohort": "a", "method": "b", "metric": "psnr", "input_dose": "1/2", "subjects": {"s": "x"}}],
            "no numbers",
        ),
    ],
)
def test_other_json_is_refused(content, words):
    with pytest.raises(InputError, match=words):
        rows_from_json(content)
