"""Folder names of the training trees, and the test set's table."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.formats.udpet import (
    dose_of_folder,
    find_subjects,
    folder_of_dose,
    other_tracer,
    read_csv,
    with_table,
)
from mapdiff.volume import Acquisition
from synthetic import volume_of

NAMES = {
    "Full_dose": ("quadra", 1),
    "1-2 dose": ("quadra", 2),
    "1-10 dose": ("quadra", 10),
    "1-100 dose": ("quadra", 100),
    "2.886 x 600 WB NORMAL": ("uexplorer", 1),
    "2.886 x 600 WB normal": ("uexplorer", 1),
    "normal": ("uexplorer", 1),
    "2.886 x 600 WB D2": ("uexplorer", 2),
    "2.886 x 600 WB D100": ("uexplorer", 100),
    "2.886 x 600 WB DRF_4": ("uexplorer", 4),
    "2.886 x 600 WB DRF_100": ("uexplorer", 100),
    "D100": ("uexplorer", 100),
    "DRF_100": ("uexplorer", 100),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_number_in_a_name_is_the_dose_reduction_factor(name):
    scanner, drf = NAMES[name]
    assert dose_of_folder(name) == (scanner, Fraction(1, drf))


@pytest.mark.parametrize(
    "name",
    ["CT", "1-0 dose", "D0", "2-1 dose", "WB D2 CT", "30122021_5_20211230_170836", "Subject_115-117", "D"],
)
def test_other_names_tell_no_dose(name):
    assert dose_of_folder(name) is None


def test_names_are_written_as_they_are_read():
    for scanner in ("quadra", "uexplorer"):
        for drf in (1, 2, 4, 10, 20, 50, 100):
            assert dose_of_folder(folder_of_dose(scanner, Fraction(1, drf))) == (scanner, Fraction(1, drf))
    with pytest.raises(InputError):
        folder_of_dose("quadra", Fraction(2, 5))


def test_subjects_are_found_at_any_depth(tmp_path):
    quadra = tmp_path / "Subject_115-117/30122021_5_20211230_170836"
    united = tmp_path / "uExplorerPART10/Anonymous_ANO_20220224_1744219_121048"
    for name in ("1-100 dose", "Full_dose", "1-2 dose", "CT"):
        (quadra / name).mkdir(parents=True)
    for name in ("2.886 x 600 WB normal", "2.886 x 600 WB D100", "2.886 x 600 WB DRF_100"):
        (united / name).mkdir(parents=True)
    one, two = find_subjects(tmp_path)
    assert (one.path, one.scanner, one.strange) == (quadra, "quadra", 1)
    assert list(one.doses) == [1, Fraction(1, 2), Fraction(1, 100)]
    assert (two.path, two.scanner) == (united, "uexplorer")
    assert [len(paths) for paths in two.doses.values()] == [1, 2]
    assert find_subjects(united) == [two]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"tracer": "FDG", "half_life_s": 6586.2}, None),
        ({"tracer": "Fluorodeoxyglucose", "nuclide": "F18"}, None),
        ({"tracer": "Solution", "half_life_s": 6586.2}, None),
        ({}, None),
        ({"tracer": "FDG", "half_life_s": 4062.6}, "half-life"),
        ({"tracer": "FDG", "nuclide": "Ga68"}, "Ga68"),
        ({"tracer": "DOTA"}, "DOTA"),
    ],
)
def test_a_tracer_is_told_by_half_life_and_nuclide_before_its_name(facts, words):
    said = other_tracer(Acquisition(**facts))
    assert said is None if words is None else words in (said or "")


def test_all_rows_of_the_real_table_parse(shared):
    table = read_csv(shared / "udpet_tables" / "PET_info_noNORMAL.csv")
    assert len(table) == 248
    assert Counter(row.dose for row in table.values()) == {
        Fraction(1, 4): 50,
        Fraction(1, 10): 50,
        Fraction(1, 20): 50,
        Fraction(1, 50): 48,
        Fraction(1, 100): 50,
    }
    for name, row in table.items():
        assert name.endswith(f"_DRF-{row.dose.denominator}.nii.gz")
        assert row.unit == "Bq/mL" and not row.acquisition.missing
        assert row.acquisition.suv_per_bqml is not None
    row = table["Anonymous-01_DRF-10.nii.gz"]
    facts = row.acquisition
    assert (facts.weight_kg, facts.injected_activity_bq) == (55, 203.5e6)
    assert (facts.uptake_s, facts.half_life_s) == (3399, 6588)
    assert facts.suv_per_bqml == pytest.approx(55e3 / (203.5e6 * 2 ** (-3399 / 6588)), rel=1e-9)
    assert row.spacing_mm == (1.666667, 1.666667, 2.886)


HEAD = (
    "NiftiFileName,DoseReductionFactor,ImageUnits,PatientWeight_kg,RadionuclideTotalDose_Bq,"
    "TimeFromInjectionToAcquisition_s,RadionuclideHalfLife_s"
)
GOOD = "a.nii.gz,10,BQML,70,2.5e8,3600,6588"


def table_of(tmp_path: Path, *rows: str, head: str = HEAD) -> Path:
    path = tmp_path / "PET_info.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8-sig")
    return path


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "has no rows"),
        ([GOOD, GOOD], "line 3: its NiftiFileName stands in it twice"),
        ([GOOD.replace("70", "heavy")], "line 2: PatientWeight_kg is not a number"),
        ([GOOD.replace("a.nii.gz", "")], "line 2: NiftiFileName is empty"),
        ([GOOD.replace(",10,", ",0.5,")], "line 2: DoseReductionFactor"),
        (["a.nii.gz,"], "line 2: DoseReductionFactor"),
    ],
)
def test_a_broken_table_is_refused_with_its_line(rows, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_csv(table_of(tmp_path, *rows))


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="no column PatientWeight_kg"):
        read_csv(table_of(tmp_path, GOOD, head=HEAD.replace("PatientWeight_kg", "Weight")))
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00\x80PK")
    with pytest.raises(InputError, match="not a readable CSV"):
        read_csv(tmp_path / "x.csv")
    with pytest.raises(InputError, match="is not there"):
        read_csv(tmp_path / "none.csv")


def test_absurd_and_empty_figures_are_left_out_with_the_reason(tmp_path):
    rows = read_csv(
        table_of(
            tmp_path,
            "a.nii,10,BQML,7000,,3600,6588",
            "b.nii,10,counts,70,250,-5,6588",
            "c.nii,10,BQML,nan,2e8,1,2",
        )
    )
    a, b, c = (rows[name].acquisition for name in ("a.nii", "b.nii", "c.nii"))
    assert a.weight_kg is None and "7000" in a.missing["weight_kg"]
    assert a.injected_activity_bq is None and "empty" in a.missing["injected_activity_bq"]
    assert b.injected_activity_bq == 250e6  # MBq, as headers are read
    assert b.uptake_s is None and rows["b.nii"].unit == "unknown"
    assert c.weight_kg is None and c.half_life_s is None
    assert all(facts.suv_per_bqml is None for facts in (a, b, c))


def test_the_table_gives_unit_and_suv_and_changes_no_voxel(tmp_path):
    row = read_csv(table_of(tmp_path, GOOD))["a.nii.gz"]
    array = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    bare = replace(volume_of(array, "unknown"), warnings=("unknown unit: the file does not tell it",))
    told = with_table(bare, row)
    assert told.unit == "Bq/mL" and told.warnings == ()
    np.testing.assert_array_equal(told.array, array)
    assert told.to("SUV").array.max() == pytest.approx(26 * 70e3 / (2.5e8 * 2 ** (-3600 / 6588)), rel=1e-6)
    assert set(told.acquisition.supplied) == {"weight_kg", "injected_activity_bq", "uptake_s", "half_life_s"}
    suv = with_table(volume_of(array, "SUV"), replace(row, spacing_mm=(4.0, 4.0, 5.0)))
    assert suv.unit == "SUV"
    assert any("the file says SUV, the table Bq/mL" in w for w in suv.warnings)
    assert any("4 x 4 x 5 mm, the file 4 x 4 x 4 mm" in w for w in suv.warnings)
