"""A simulated cohort on disk: what is refused, what is written, and that it goes on where it stopped."""

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mapdiff.cohort.layout import doses_of, subjects, truth_path
from mapdiff.dose import FULL
from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.simulate.cohort import CohortPlan, simulate_cohort
from mapdiff.simulate.scanner import NAMED

DOSES = (FULL, Fraction(1, 4), Fraction(1, 20))
PLAN = CohortPlan(2, "uexplorer", 3, (8.0, 8.0, 8.0), 8, DOSES)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"scanner": "mct"}, "mct"),
        ({"subjects": 0}, "--subjects"),
        ({"seed": -1}, "--seed"),
        ({"slab": 7}, "--slab"),
        ({"spacing_mm": (-4.0, 4.0, 4.0)}, "--spacing"),
        ({"spacing_mm": (0.5, 4.0, 4.0)}, "--spacing"),
        ({"spacing_mm": (4.0, 4.0, 9.0)}, "--spacing"),
        ({"spacing_mm": (float("nan"), 4.0, 4.0)}, "--spacing"),
        ({"doses": (Fraction(1, 20), FULL)}, "doses"),
        ({"doses": (Fraction(2), FULL)}, "doses"),
        ({"doses": (FULL, Fraction(0))}, "doses"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong, word):
    with pytest.raises(InputError, match=word):
        CohortPlan(**{"subjects": 1, "scanner": "quadra", **wrong})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "cohort"
    told = []
    done = simulate_cohort(PLAN, folder, lambda name, made: told.append((name, made)))
    assert told == [("sub-001", True), ("sub-002", True)] and list(done) == subjects(folder)
    return folder


def contents(folder: Path) -> dict[str, object]:
    """All files by name: voxels and affine of the images, the others' bytes."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name.endswith(".nii.gz"):
            image = nibabel.load(path)
            value = (np.asarray(image.dataobj).tobytes(), image.affine.tobytes())
        else:
            value = path.read_bytes()
        found[str(path.relative_to(folder))] = value
    return found


def test_every_subject_is_whole(cohort):
    for subject in subjects(cohort):
        paths = doses_of(subject)
        assert tuple(paths) == DOSES
        scans = {dose: read(path) for dose, path in paths.items()}
        full = scans[FULL]
        assert full.unit == "Bq/mL" and full.shape[2] == 8 and full.acquisition.suv_per_bqml
        np.testing.assert_allclose(full.spacing, 8, rtol=1e-4)
        truth = read(truth_path(subject, subject.name, "noisefree"))
        errors = []
        for dose, scan in scans.items():
            assert scan.shape == full.shape and np.allclose(scan.affine, full.affine)
            errors.append(float(np.abs(scan.array - truth.array).sum() / truth.array.sum()))
            sidecar = json.loads((paths[dose].parent / (paths[dose].name[:-7] + ".json")).read_text())
            assert sidecar["DoseReductionFactor"] == pytest.approx(float(1 / dose))
            assert sidecar["ReconMethodName"] == "OSEM2D" and sidecar["TracerRadionuclide"] == "F18"
            assert len(sidecar["ReconMethodParameterLabels"]) == len(sidecar["ReconMethodParameterValues"])
            assert sidecar["InjectedRadioactivityUnits"] == "MBq" and sidecar["FrameDuration"] == [600.0]
        assert errors == sorted(errors)  # ever noisier
        assert 0.3 < np.median(full.to("SUV").array[truth.array > truth.array.mean()]) < 6
        for kind in ("activity", "mumap", "organs", "lesions"):
            assert nibabel.load(truth_path(subject, subject.name, kind)).shape == full.shape


def test_the_manifest_tells_all_that_was_drawn(cohort):
    for number, subject in enumerate(subjects(cohort), 1):
        facts = json.loads((subject / "subject.json").read_text())
        assert facts["seed"] == [PLAN.seed, number] and facts["scanner"]["name"] == "uexplorer"
        assert {"effective_gain", "psf_mm", "randoms_ratio", "subsets"} <= facts["scanner"].keys()
        assert facts["person"]["weight_kg"] > 30 and facts["uptake"]["suv"]["liver"] > 0
        assert facts["scan_s"] == 600 and isinstance(facts["anatomy_seed"], int)
        assert all({"site", "diameter_mm", "suv"} <= lesion.keys() for lesion in facts["lesions"])


def test_subjects_differ(cohort):
    one, other = (json.loads((s / "subject.json").read_text()) for s in subjects(cohort))
    assert one["person"] != other["person"]


def test_a_stopped_cohort_goes_on_and_is_identical(cohort, tmp_path):
    whole = contents(cohort)
    copy = tmp_path / "cohort"
    shutil.copytree(cohort, copy)
    (copy / "sub-002" / "subject.json").unlink()  # as a run leaves it that was stopped in the middle
    (copy / "sub-002" / "pet" / "sub-002_rec-full_pet.nii.gz").write_bytes(b"half")
    told = []
    simulate_cohort(PLAN, copy, lambda name, made: told.append(made))
    assert told == [False, True]
    assert contents(copy) == whole


def test_what_a_kill_left_goes_with_the_next_run(cohort, tmp_path):
    copy = shutil.copytree(cohort, tmp_path / "cohort")
    shutil.rmtree(copy / "sub-002")
    (copy / ".aside-0123abcd-sub-002" / "pet").mkdir(parents=True)
    simulate_cohort(PLAN, copy)
    assert contents(copy) == contents(cohort) and not list(copy.glob(".aside-*"))


def test_another_plan_does_not_mix_in(cohort):
    before = contents(cohort)
    seed = CohortPlan(2, "quadra", 3, PLAN.spacing_mm, 8, DOSES)
    for other in (seed, CohortPlan(2, "uexplorer", 4), replace(PLAN, lesions=2)):
        with pytest.raises(InputError, match="other parameters"):
            simulate_cohort(other, cohort)
    assert contents(cohort) == before


def test_the_same_scanner_with_other_parameters_does_not_mix_in(cohort, monkeypatch):
    """As another version of mapdiff may have them."""
    before = contents(cohort)
    monkeypatch.setitem(NAMED, PLAN.scanner, replace(NAMED[PLAN.scanner], effective_gain=1.0))
    with pytest.raises(InputError, match="other parameters"):
        simulate_cohort(PLAN, cohort)
    assert contents(cohort) == before


@pytest.mark.parametrize("text", ["", "{", "[1]", '"cohort"'])
def test_a_broken_description_is_named(tmp_path, text):
    (tmp_path / "cohort.json").write_text(text)
    with pytest.raises(InputError, match=r"cohort\.json"):
        simulate_cohort(PLAN, tmp_path)
    assert (tmp_path / "cohort.json").read_text() == text


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="not a cohort"):
        simulate_cohort(PLAN, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
