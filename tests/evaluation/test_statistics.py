"""Bootstrap intervals over subjects."""

import math

import numpy as np
import pytest

from mapdiff.bootstrap import widened
from mapdiff.errors import InputError
from mapdiff.evaluation.statistics import LEAST_SUBJECTS, mean_interval, paired_difference


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_interval_covers_the_mean_about_as_often_as_it_says(method, monkeypatch):
    monkeypatch.setattr("mapdiff.evaluation.statistics.RESAMPLES", 399)
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        found = mean_interval(rng.normal(3, 1, 20).tolist(), confidence=0.8, method=method, seed=trial)
        hits += found.low <= 3 <= found.high
    assert 68 <= hits <= 90  # 80 expected, a little fewer for 20 subjects


@pytest.mark.parametrize("n", [6, 12])
def test_few_subjects_have_intervals_as_wide_as_they_need(n, monkeypatch):
    """Plain BCa holds the mean of 12 normal draws in 91 % of cases, of 6 in 85 %."""
    monkeypatch.setattr("mapdiff.evaluation.statistics.RESAMPLES", 799)
    rng = np.random.default_rng(n)
    found = [mean_interval(rng.normal(3, 1, n).tolist(), seed=trial) for trial in range(400)]
    held = np.mean([one.low <= 3 <= one.high for one in found])
    assert {6: 0.89, 12: 0.92}[n] <= held <= 0.97
    monkeypatch.setattr("mapdiff.evaluation.statistics.widened", lambda confidence, n: confidence)
    rng = np.random.default_rng(n)
    plain = [mean_interval(rng.normal(3, 1, n).tolist(), seed=trial) for trial in range(400)]
    held = np.mean([one.low <= 3 <= one.high for one in plain])
    assert held == pytest.approx({6: 0.85, 12: 0.91}[n], abs=0.03)
    assert widened(0.95, 10**6) == pytest.approx(0.95, abs=1e-5)


def test_seeded_and_ordered():
    values = [31.2, 35.9, 40.1, 33.3, 36.0, 37.1]
    a, b = mean_interval(values, seed=4), mean_interval(values, seed=4)
    assert a == b
    assert a.low < a.mean < a.high
    assert a.mean == pytest.approx(np.mean(values))
    assert a.n == 6
    assert mean_interval(values, seed=5) != a
    assert mean_interval(values, confidence=0.5).low > a.low


def test_pairing_sees_what_the_spread_over_subjects_hides():
    rng = np.random.default_rng(1)
    subjects = rng.normal(40, 5, 12)
    better = (subjects + 0.5 + rng.normal(0, 0.1, 12)).tolist()
    difference = paired_difference(better, subjects.tolist())
    assert difference.clear_of_zero()
    assert difference.mean == pytest.approx(0.5, abs=0.1)
    one, other = mean_interval(better), mean_interval(subjects.tolist())
    assert one.low < other.high  # the two intervals overlap
    reverse = paired_difference(subjects.tolist(), better)
    assert reverse.mean == pytest.approx(-difference.mean)
    assert reverse.clear_of_zero()


def test_few_or_equal_subjects():
    for n in range(1, LEAST_SUBJECTS):
        few = mean_interval([4.0, 5.0, 6.0, 4.0, 5.0][:n])
        assert few.n == n and 4 <= few.mean <= 5 and math.isnan(few.low) and math.isnan(few.high)
        assert not few.clear_of_zero()
    same = mean_interval([2.0] * LEAST_SUBJECTS)
    assert (same.low, same.high) == (2, 2)
    enough = mean_interval([1.0, 2.0] * 3)
    assert 1 <= enough.low < 1.5 < enough.high <= 2


def test_what_has_no_mean_is_refused():
    for values in ([], [1.0, math.nan], [math.inf]):
        with pytest.raises(InputError):
            mean_interval(values)
    with pytest.raises(InputError, match="same subjects"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="bootstrap method"):
        mean_interval([1.0, 2.0], method="t")
