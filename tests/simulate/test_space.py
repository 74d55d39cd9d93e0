"""A disk that is too small is told before the work starts."""

import shutil
from collections import namedtuple

import pytest

from mapdiff.errors import InputError
from mapdiff.simulate.cohort import CohortPlan, bytes_per_subject, simulate_cohort
from mapdiff.simulate.space import check_space
from mapdiff.simulate.udpet_tree import simulate_tree

Usage = namedtuple("Usage", "total used free")


def test_what_fits_passes_and_what_does_not_is_refused_with_both_figures(monkeypatch, tmp_path):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: Usage(10, 0, 3_000_000_000) if path == tmp_path else None
    )
    check_space(tmp_path / "not" / "there", 3_000_000_000)
    with pytest.raises(InputError, match=r"3\.0 GB free and about 4\.5 GB"):
        check_space(tmp_path / "not" / "there", 4_500_000_000)


@pytest.mark.parametrize("make", [simulate_cohort, simulate_tree])
def test_a_cohort_that_does_not_fit_is_not_begun(monkeypatch, tmp_path, make):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 0, 1_000_000))
    with pytest.raises(InputError, match="GB free") as error:
        make(CohortPlan(40, "quadra", 0), tmp_path / "cohort")
    assert error.value.exit_code == 2 and not list(tmp_path.iterdir())


def test_the_estimate_follows_the_grid():
    native = bytes_per_subject(CohortPlan(1, "quadra"))
    assert 0.8e9 < native < 2.5e9
    coarse = bytes_per_subject(CohortPlan(1, "quadra", spacing_mm=(3.3, 3.3, 3.3)))
    assert coarse == pytest.approx(native / 8, rel=0.02)
    assert bytes_per_subject(CohortPlan(1, "quadra", slab=64)) == pytest.approx(native / 10, rel=0.02)
