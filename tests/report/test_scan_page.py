"""The page from the command line: with the run, and later from its files."""

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from test_page import embedded
from typer.testing import CliRunner

import mapdiff
from mapdiff.cli.main import app
from mapdiff.errors import InputError
from mapdiff.inference.run import manifest_path
from mapdiff.report.scan_page import page_of_run, page_path
from synthetic import low_dose_volume


def test_denoise_writes_the_page_and_report_writes_it_again(tmp_path, small_model):
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz"
    mapdiff.write(low_dose_volume(seed=1), scan)
    call = ["denoise", str(scan), "-o", str(out), "--model", str(small_model), "--save-stages", "--report"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    page = page_path(out)
    assert page == tmp_path / "out_report.html"
    facts, first = embedded(page.read_text())
    assert facts["layers"][0]["key"] == "input" and facts["layers"][-1]["key"] == "result"
    assert str(tmp_path) not in page.read_text()
    with pytest.raises(InputError, match="exists already"):
        page_of_run(out)
    again = page_of_run(out, tmp_path / "again.html")
    told, second = embedded(again.read_text())
    assert [e["key"] for e in told["layers"]] == [e["key"] for e in facts["layers"]]
    for a, b, entry in zip(first, second, facts["layers"], strict=True):
        assert np.abs(a - b).max() <= 1.01 * entry["step"]
    other = tmp_path / "other.nii.gz"
    mapdiff.write(low_dose_volume(seed=2), other)
    with pytest.raises(InputError, match="voxels differ"):
        page_of_run(out, tmp_path / "no.html", source=other)
    scan.unlink()
    with pytest.raises(InputError, match="--input"):
        page_of_run(out, tmp_path / "no.html")
    assert not (tmp_path / "no.html").exists()


def test_a_run_needs_its_manifest(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        page_of_run(tmp_path / "none.nii.gz")
    alone = tmp_path / "alone.nii.gz"
    mapdiff.write(low_dose_volume(seed=1), alone)
    with pytest.raises(InputError, match="no manifest"):
        page_of_run(alone)


def test_a_page_goes_to_no_other_files_name(tmp_path, small_model):
    """Not over the scan, the result or the manifest, whatever --overwrite says."""
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz"
    mapdiff.write(low_dose_volume(seed=1), scan)
    call = ["denoise", str(scan), "-o", str(out), "--model", str(small_model)]
    assert CliRunner().invoke(app, call).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in (scan, out, manifest_path(out)):
        with pytest.raises(InputError, match=r"ends in \.html"):
            page_of_run(out, path, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_names_of_pages():
    assert page_path(Path("a/scan.nii.gz")) == Path("a/scan_report.html")
    assert page_path(Path("a/series")) == Path("a/series_report.html")
    assert page_path(Path("a/series.zip")) == Path("a/series_report.html")


def test_a_reference_is_on_the_page_with_its_figures(tmp_path, small_model):
    from mapdiff.evaluation.metrics import nmae, psnr

    full, low = low_dose_volume(seed=1, dose=Fraction(1)), low_dose_volume(seed=1)
    for name, volume in (("full", full), ("scan", low)):
        mapdiff.write(volume, tmp_path / f"{name}.nii.gz")
    mapdiff.write(low_dose_volume((24, 24, 20)), tmp_path / "other.nii.gz")
    mapdiff.write(replace(full, unit="SUV"), tmp_path / "suv.nii.gz")
    out = tmp_path / "out.nii.gz"
    call = ["denoise", str(tmp_path / "scan.nii.gz"), "-o", str(out), "--model", str(small_model)]
    for words, cause in (
        (["--reference", str(tmp_path / "full.nii.gz")], "give --report too"),
        (["--report", "--reference", str(tmp_path / "other.nii.gz")], "does not lie on the grid"),
        (["--report", "--reference", str(tmp_path / "none.nii.gz")], "is not there"),
        (
            ["--report", "--reference", str(tmp_path / "suv.nii.gz")],
            "suv.nii.gz: does not go with scan.nii.gz",
        ),
    ):
        done = CliRunner().invoke(app, [*call, *words])
        assert isinstance(done.exception, InputError) and cause in str(done.exception)
        assert not list(tmp_path.glob("out*"))
    done = CliRunner().invoke(app, [*call, "--report", "--reference", str(tmp_path / "full.nii.gz")])
    assert done.exit_code == 0, done.output
    result = mapdiff.read(out)
    again = page_of_run(out, tmp_path / "again.html", reference=tmp_path / "full.nii.gz")
    for page in (page_path(out).read_text(), again.read_text()):
        facts, _ = embedded(page)
        keys = [entry["key"] for entry in facts["layers"]]
        assert keys[0] == "input" and keys[-2:] == ["result", "reference"]
        rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page)
        told = {name: re.findall(r"<td[^>]*>(.*?)</td>", cells) for name, cells in rows}
        for name, image in (("input", low), ("result", result)):
            assert float(told[name][-3]) == pytest.approx(psnr(image.array, full.array).value, abs=0.0051)
            assert float(told[name][-1]) == pytest.approx(nmae(image.array, full.array).value, abs=0.000051)
        assert told["reference"][-1] == "–"
    with pytest.raises(InputError, match="grid"):
        page_of_run(out, tmp_path / "no.html", reference=tmp_path / "other.nii.gz")
    assert not (tmp_path / "no.html").exists()


def test_facts_given_by_flags_are_kept_for_a_later_page(tmp_path, small_model):
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz"
    mapdiff.write(low_dose_volume(seed=1), scan)
    scan.with_name("scan.json").write_text(
        '{"Units": "Bq/mL", "TracerRadionuclide": "F18", "RadionuclideHalfLife": 6588, "InjectionStart": 0,'
        '"ImageDecayCorrected": true, "ImageDecayCorrectionTime": 3600, "TimeZero": "10:00:00"}'
    )
    call = ["denoise", str(scan), "-o", str(out), "--model", str(small_model)]
    done = CliRunner().invoke(app, [*call, "--weight", "70", "--injected-activity", "250"])
    assert done.exit_code == 0, done.output
    facts, _ = embedded(page_of_run(out).read_text())
    assert facts["unit"] == "SUV" and facts["top"] == 7
    done = CliRunner().invoke(app, [*call, "--overwrite"])
    page = page_of_run(out, overwrite=True).read_text()
    assert embedded(page)[0]["unit"] == "Bq/mL"
    assert "SUV is not known for this scan" in page


@pytest.mark.parametrize(("units", "flags"), [("kBq/mL", []), ("Bq/mL", ["--unit", "kBq/mL"])])
def test_a_scan_in_kilobecquerels_is_known_again(tmp_path, small_model, units, flags):
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz"
    mapdiff.write(low_dose_volume(seed=1), scan)
    scan.with_name("scan.json").write_text(json.dumps({"Units": units}))
    call = ["denoise", str(scan), "-o", str(out), "--model", str(small_model), *flags]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert page_of_run(out).exists()


def test_a_unit_from_a_table_is_kept_for_a_later_page(tmp_path, small_model):
    """The challenge's test set: the files tell no unit, its table does."""
    scan, out, table = tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz", tmp_path / "table.csv"
    low = low_dose_volume(seed=1)
    nib.save(nib.Nifti1Image(low.array, low.affine), scan)
    table.write_text(
        "NiftiFileName,DoseReductionFactor,ImageUnits,PatientWeight_kg,RadionuclideTotalDose_Bq,"
        "TimeFromInjectionToAcquisition_s,RadionuclideHalfLife_s\nscan.nii.gz,20,BQML,,,,\n"
    )
    call = ["denoise", str(scan), "-o", str(out), "--model", str(small_model), "--csv", str(table)]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert embedded(page_of_run(out).read_text())[0]["unit"] == "Bq/mL"


def test_a_page_that_fails_leaves_no_result_without_a_manifest(tmp_path, small_model, monkeypatch):
    def broken(*args, **kwargs):
        raise InputError("no page")

    monkeypatch.setattr("mapdiff.report.scan_page.page_of_restoration", broken)
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz"
    mapdiff.write(low_dose_volume(seed=1), scan)
    there = sorted(tmp_path.iterdir())
    call = ["denoise", str(scan), "-o", str(out), "--model", str(small_model), "--report"]
    done = CliRunner().invoke(app, call)
    assert isinstance(done.exception, InputError) and "no page" in str(done.exception)
    assert sorted(tmp_path.iterdir()) == there


def test_a_deidentified_run_does_not_tell_of_which_scan(tmp_path, small_model):
    """Folders are often called as the patient is."""
    scan, out = tmp_path / "DOE_JANE" / "scan.nii.gz", tmp_path / "out.nii.gz"
    scan.parent.mkdir()
    mapdiff.write(low_dose_volume(seed=1), scan)
    call = ["denoise", str(scan), "-o", str(out), "--model", str(small_model), "--deidentify"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert "DOE_JANE" not in manifest_path(out).read_text()
    with pytest.raises(InputError, match="give --input"):
        page_of_run(out)
    assert page_of_run(out, source=scan).exists()


@pytest.mark.slow
def test_the_demo_leaves_a_page_and_a_run_that_can_be_reported(tmp_path, small_model):
    from mapdiff.inference.denoiser import Denoiser
    from mapdiff.report.demo import run_demo

    denoiser = Denoiser.from_pretrained(small_model)
    found = run_demo(tmp_path / "demo", denoiser, 1, False, lambda done, total: None, lambda line: None)
    keys = [entry["key"] for entry in embedded(found.page.read_text())[0]["layers"]]
    assert keys[0] == "input" and keys[-1] == "reference"
    assert page_of_run(tmp_path / "demo" / "restored" / "full.nii.gz").is_file()
