"""`mapdiff pack` and `mapdiff check`: what they print and how they exit."""

import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from mapdiff.cohort.layout import dose_path
from mapdiff.cohort.store import store_subjects


@pytest.fixture
def cohort(tiny_cohort, tmp_path) -> Path:
    return shutil.copytree(tiny_cohort, tmp_path / "cohort")


def test_a_sound_cohort(call, tiny_cohort, tmp_path):
    store = tmp_path / "store"
    assert call("check", tiny_cohort)[:2] == (0, "3 subjects, no fault\n")
    code, out, err = call("pack", tiny_cohort, "-o", store, "--jobs", 1)
    assert (code, out) == (0, f"{store}\n") and "[3/3] sub-003: packed" in err
    code, out, err = call("pack", tiny_cohort, "-o", store, "--jobs", 1)
    assert code == 0 and err.count("was there") == 3
    assert call("check", store)[:2] == (0, "3 subjects, no fault\n")


def test_a_subject_with_a_fault(call, cohort, tmp_path):
    dose_path(cohort / "sub-002", "sub-002", Fraction(1, 4)).write_bytes(b"")
    code, out, err = call("check", cohort)
    assert code == 2 and out.startswith("sub-002: fault: ") and "is empty" in out
    assert err.splitlines()[-1].endswith("1 of 3 subjects have faults: sub-002")
    code, out, err = call("pack", cohort, "-o", tmp_path / "store", "--jobs", 1)
    assert code == 3 and out == f"{tmp_path / 'store'}\n"
    assert err.splitlines()[-1].endswith("1 of 3 subjects were left out: sub-002")
    assert [s.facts.name for s in store_subjects(tmp_path / "store")] == ["sub-001", "sub-003"]


def test_calibrate_takes_a_store(call, tiny_cohort, tmp_path):
    """The times are those of the folder: what it needs was measured when the cohort was packed."""
    call("pack", tiny_cohort, "-o", tmp_path / "store", "--jobs", 1)
    one = call("calibrate", tiny_cohort, "-o", tmp_path / "one.json")
    other = call("calibrate", tmp_path / "store", "-o", tmp_path / "other.json")
    assert one[0] == other[0] == 0 and one[1] == other[1]
    assert (tmp_path / "one.json").read_text() == (tmp_path / "other.json").read_text()
