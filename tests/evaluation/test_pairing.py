"""Which prediction belongs to which reference, by their names."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from mapdiff.errors import InputError
from mapdiff.evaluation.pairing import find_scans, identify, mask_of, pair

ROOT = Path("root")


@pytest.mark.parametrize(
    ("name", "subject", "dose"),
    [
        ("sub-01/pet/sub-01_rec-drf20_pet.nii.gz", "sub-01", Fraction(1, 20)),
        ("sub-01/pet/sub-01_rec-full_pet.nii.gz", "sub-01", Fraction(1)),
        ("sub-01_ses-b_trc-FDG_rec-drf2p5_pet.nii", "sub-01_ses-b_trc-FDG", Fraction(2, 5)),
        ("sub-01_pet.nii.gz", "sub-01", None),
        ("sub-01_rec-acdyn_pet.nii.gz", "sub-01", None),
        ("Anonymous-01_DRF-10.nii.gz", "Anonymous-01", Fraction(1, 10)),
        ("Anonymous-01_NORMAL.nii.gz", "Anonymous-01", Fraction(1)),
        ("Anonymous-01_Full_dose.nii.gz", "Anonymous-01", Fraction(1)),
        ("Anonymous-01.nii.gz", "Anonymous-01", None),
        ("Subject_1/2021_5/1-20 dose", "Subject_1/2021_5", Fraction(1, 20)),
        ("Subject_1/2021_5/Full_dose", "Subject_1/2021_5", Fraction(1)),
        ("Part10/Anonymous_A/2.886 x 600 WB D100", "Part10/Anonymous_A", Fraction(1, 100)),
        ("a/scan.nii.gz", "a/scan", None),
        ("a/scan.zip", "a/scan", None),
    ],
)
def test_names(name, subject, dose):
    scan = identify(ROOT / name, ROOT)
    assert (scan.subject, scan.dose) == (subject, dose)


def scans(*names):
    return [identify(ROOT / name, ROOT) for name in names]


def matched(predictions, references):
    pairing = pair(scans(*predictions), scans(*references))
    return {str(p.prediction.path.name): p.reference.path.name for p in pairing.pairs}, pairing


def test_the_full_dose_is_the_reference_not_the_input_of_the_same_name():
    """A cohort denoised as it lies keeps its names: the twin of the prediction is what it was made from."""
    cohort = [f"sub-01/pet/sub-01_rec-{rec}_pet.nii.gz" for rec in ("full", "drf10", "drf20")]
    pairs, pairing = matched(cohort[1:], cohort)
    assert set(pairs.values()) == {"sub-01_rec-full_pet.nii.gz"} and len(pairs) == 2
    assert pairing.pairs[0].doses[Fraction(1, 10)] == ROOT / cohort[1]
    assert pairing.unused == () and pairing.unmatched == ()


def test_udpet_names_and_plain_names():
    pairs, pairing = matched(
        ["Anonymous-01_DRF-10.nii.gz", "Anonymous-02_DRF-4.nii.gz", "scan.nii.gz", "other.nii.gz"],
        ["Anonymous-01.nii.gz", "Anonymous-02_NORMAL.nii.gz", "scan.nii", "spare.nii"],
    )
    assert pairs == {
        "Anonymous-01_DRF-10.nii.gz": "Anonymous-01.nii.gz",
        "Anonymous-02_DRF-4.nii.gz": "Anonymous-02_NORMAL.nii.gz",
        "scan.nii.gz": "scan.nii",
    }
    assert [(path.name, cause) for path, cause in pairing.unmatched] == [
        ("other.nii.gz", "no reference of this name")
    ]
    assert [path.name for path in pairing.unused] == ["spare.nii"]


def test_a_lower_dose_is_never_taken_for_the_reference():
    low = ["sub-01_rec-drf20_pet.nii.gz"]
    _, pairing = matched(low, low)
    assert pairing.pairs == () and "not the full one" in pairing.unmatched[0][1]


def test_a_scan_is_not_judged_by_itself():
    both = ["sub-01_rec-full_pet.nii.gz", "sub-01_rec-drf20_pet.nii.gz"]
    pairs, pairing = matched(both, both)
    assert pairs == {both[1]: both[0]}
    assert [(path.name, cause) for path, cause in pairing.unmatched] == [(both[0], "is the reference itself")]


def test_two_full_doses_are_a_question_not_a_guess():
    _, pairing = matched(["A_DRF-4.nii.gz"], ["A_Full.nii.gz", "A_NORMAL.nii.gz"])
    assert pairing.pairs == () and "2 references" in pairing.unmatched[0][1]


def test_companions_are_no_predictions_and_the_truth_is_no_reference(tmp_path, tiny_cohort):
    for name in ("a.nii.gz", "a_dose-1-2.nii.gz", "a_deviation.nii.gz", "b_dose-1-2.nii.gz"):
        (tmp_path / name).touch()
    outputs = ["a.nii.gz", "a_dose-1-2.nii.gz", "a_deviation.nii.gz"]
    (tmp_path / "a_manifest.json").write_text(json.dumps({"outputs": outputs}))
    assert [scan.path.name for scan in find_scans(tmp_path)] == ["a.nii.gz", "b_dose-1-2.nii.gz"]
    assert {scan.path.parent.name for scan in find_scans(tiny_cohort)} == {"pet"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no NIfTI"):
        find_scans(tmp_path / "empty")


@pytest.mark.parametrize(
    ("subject", "mask"),
    [
        ("patient_1", "patient_1_lesions.nii.gz"),
        ("patient_1_followup", "patient_1_followup_lesions.nii.gz"),
        ("patient_2", None),
        ("patient_3", "patient_3.nii.gz"),
    ],
)
def test_a_mask_is_the_subjects_own_not_one_of_a_longer_name(tmp_path, subject, mask):
    subjects = {"patient_1", "patient_1_followup", "patient_2", "patient_2_b", "patient_3"}
    for name in ("patient_1_followup", "patient_1", "patient_2_b", "patient_3_a"):
        (tmp_path / f"{name}_lesions.nii.gz").touch()
    (tmp_path / "patient_3.nii.gz").touch()
    found = mask_of(subject, tmp_path, subjects)
    assert (None if found is None else found.name) == mask
