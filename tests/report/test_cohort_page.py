"""A folder against a folder: the figures, the page, what is beside it, and what fails."""

import base64
import csv
import gzip
import json
import re
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

import mapdiff
from mapdiff.cli.main import app, run
from mapdiff.errors import InputError
from mapdiff.evaluation.metrics import nmae, psnr
from mapdiff.evaluation.rows import rows_from_json
from mapdiff.inference.run import input_hash, manifest_path
from mapdiff.report.cohort_page import interval_table, page_of_rows
from mapdiff.report.cohort_run import evaluate_folders
from synthetic import low_dose_volume

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))
from small_series import IDENTITY, make_headers, save_headers


def evaluated(smoothed_cohort, tiny_cohort, folder, **options):
    return evaluate_folders(
        smoothed_cohort / "smoothed", tiny_cohort, output=folder, inputs=smoothed_cohort / "low", **options
    )


@pytest.fixture(scope="module")
def made(smoothed_cohort, tiny_cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "page"
    return evaluated(smoothed_cohort, tiny_cohort, folder)


def table(path: Path) -> list[list[str]]:
    return list(csv.reader(path.open(encoding="utf-8")))


def test_rows_are_the_figures_of_the_files(made, smoothed_cohort, tiny_cohort):
    assert not made.result.failed and not made.result.unmatched and not made.result.unused
    rows = {
        (r.method, r.input_dose, r.metric): r
        for r in made.rows
        if (r.protocol, r.region) == ("mapdiff", "volume")
    }
    for method, folder in (("prediction", "smoothed"), ("input", "low")):
        for dose, rec in (("1/20", "drf20"), ("1/50", "drf50")):
            for name, figure in (("psnr", psnr), ("nmae", nmae)):
                row = rows[method, dose, name]
                assert row.n == 3 and row.cohort == "tiny" and row.grid == "4 mm"
                for subject, value in row.subjects.items():
                    x = mapdiff.read(smoothed_cohort / folder / f"{subject}_rec-{rec}_pet.nii.gz").array
                    y = mapdiff.read(tiny_cohort / subject / "pet" / f"{subject}_rec-full_pet.nii.gz").array
                    assert value == pytest.approx(figure(x, y).value, rel=1e-6)


def test_what_lies_beside_the_page(made):
    folder = made.page.parent
    assert sorted(p.name for p in folder.iterdir()) == ["cohort.html", "figures", "rows.json", "subjects"]
    again = rows_from_json(json.loads((folder / "rows.json").read_text()))
    assert [row.as_dict() for row in again] == [row.as_dict() for row in made.rows]
    page = made.page.read_text()
    links = re.findall(r'href="((?!data:)[^"]+)"', page)
    assert len([link for link in links if link.startswith("subjects/")]) == 6
    for link in links:
        assert (folder / link).is_file(), link
    for name in ("psnr", "ssim", "nmae", "total-activity-bias"):
        assert (folder / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        rows = table(folder / "figures" / f"{name}.csv")
        assert len(rows) == 1 + 3 * 2 * 2  # subjects, doses, methods
    assert {"best.png", "worst.png", "intervals.csv", "subjects.csv"} <= {
        p.name for p in (folder / "figures").iterdir()
    }
    assert "{{" not in page and "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?(?:https?:|//|/)", page)


def test_gains_are_paired(made):
    head, *rows = interval_table(made.rows)
    by_method = {row[head.index("Method")]: row for row in rows if row[head.index("Input dose")] == "1/50"}
    column = head.index("PSNR, dB")
    means = {name: float(row[column].split()[0]) for name, row in by_method.items()}
    assert means["prediction − input"] == pytest.approx(means["prediction"] - means["input"], abs=0.011)
    assert by_method["prediction − input"][column].startswith("+")


def test_best_and_worst_are_by_psnr(made):
    values = {
        (name, row.input_dose): value
        for row in made.rows
        if (row.method, row.metric, row.protocol, row.region) == ("prediction", "psnr", "mapdiff", "volume")
        for name, value in row.subjects.items()
    }
    page = made.page.read_text()
    for word, pick in (("best", max), ("worst", min)):
        name, dose = pick(values, key=values.get)
        assert f"The {word} by PSNR: {name} {dose}, {values[name, dose]:.2f} dB" in page


def test_one_that_fails_does_not_stop_the_others(smoothed_cohort, tiny_cohort, tmp_path, monkeypatch, capsys):
    bad = tmp_path / "bad"
    shutil.copytree(smoothed_cohort / "smoothed", bad)
    broken = bad / "sub-002_rec-drf20_pet.nii.gz"
    broken.write_bytes(b"no scan")
    other = mapdiff.read(bad / "sub-001_rec-drf20_pet.nii.gz")
    mapdiff.write(other, bad / "stranger.nii.gz")
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    call = ["mapdiff", "evaluate", bad, tiny_cohort, "-o", out, "--json", figures, "--no-pages"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in call])
    with pytest.raises(SystemExit) as stop:
        run()
    told = capsys.readouterr()
    assert stop.value.code == 3
    assert "sub-002_rec-drf20_pet.nii.gz" in told.err and "1 of 6 scans failed" in told.err
    assert "stranger.nii.gz: no reference of this name" in told.err
    assert str(out / "cohort.html") in told.out
    content = json.loads(figures.read_text())
    assert len(content["failed"]) == 1 and len(content["unmatched"]) == 1
    page = (out / "cohort.html").read_text()
    assert "stranger.nii.gz" in page and "sub-002_rec-drf20_pet.nii.gz" in page
    assert not (out / "subjects").exists()


def test_two_results_of_one_scan_are_not_mixed(smoothed_cohort, tiny_cohort, tmp_path, capsys, monkeypatch):
    """Two checkpoints' folders in one: the second's figures would take the first's place."""
    both = tmp_path / "both"
    name = "sub-001_rec-drf20_pet.nii.gz"
    for folder in ("a", "b"):
        (both / folder).mkdir(parents=True)
        shutil.copy(smoothed_cohort / "smoothed" / name, both / folder / name)
    other = mapdiff.read(both / "b" / name)
    (both / "b" / name).unlink()
    mapdiff.write(other.with_array(2 * other.array), both / "b" / name)
    figures = tmp_path / "figures.json"
    call = ["mapdiff", "evaluate", both, tiny_cohort, "-o", tmp_path / "out", "--json", figures, "--no-pages"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in call])
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 3 and "1 of 2 scans failed" in capsys.readouterr().err
    content = json.loads(figures.read_text())
    assert "of the same subject, method and dose as a/sub-001" in content["failed"][0]["cause"]
    (nmae,) = [
        row
        for row in content["rows"]
        if (row["metric"], row["protocol"], row["region"], row["stage"])
        == ("nmae", "mapdiff", "volume", "full")
        and row["method"] == "prediction"
    ]
    assert nmae["n"] == 1 and nmae["mean"] < 0.5


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["{smoothed}", "{file}"], "is not a folder"),
        (["{file}", "{file}", "-o", "{out}"], "for folders of many"),
        (["{smoothed}", "{cohort}", "--series", "1"], "--series is for one scan"),
        (["{smoothed}", "{cohort}", "-o", "{mine}"], "holds other things"),
        (["{smoothed}", "{strangers}"], "has a reference in"),
        (["{smoothed}", "{cohort}", "--lesions", "{out}"], "is not there"),
    ],
)
def test_wrong_calls_are_one_line_and_write_nothing(words, cause, smoothed_cohort, tiny_cohort, tmp_path):
    places = {
        "smoothed": smoothed_cohort / "smoothed",
        "cohort": tiny_cohort,
        "file": smoothed_cohort / "low" / "sub-001_rec-drf20_pet.nii.gz",
        "out": tmp_path / "out",
        "mine": tmp_path / "mine",
        "strangers": tmp_path / "strangers",
    }
    for name in ("mine", "strangers"):
        places[name].mkdir()
    (places["mine"] / "thesis.txt").touch()
    shutil.copy(places["file"], places["strangers"] / "nobody.nii.gz")
    done = CliRunner().invoke(app, ["evaluate", *(word.format(**places) for word in words), "--overwrite"])
    assert isinstance(done.exception, InputError) and cause in str(done.exception)
    assert not places["out"].exists() and [p.name for p in places["mine"].iterdir()] == ["thesis.txt"]


def test_an_existing_page_is_replaced_only_when_asked(made, smoothed_cohort, tiny_cohort):
    before = made.page.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        evaluated(smoothed_cohort, tiny_cohort, made.page.parent)
    assert made.page.read_bytes() == before


def test_the_page_of_a_benchmark(tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        {
            "cohort": cohort,
            "method": method,
            "sampler": "4 steps",
            "grid": "4 mm",
            "input_dose": dose,
            "reference": "full",
            "stage": stage,
            "metric": metric,
            "convention": "whole volume",
            "subjects": {f"sub-{n}": float(base + rng.normal()) for n in range(4)},
        }
        for cohort in ("internal", "external")
        for method in ("input", "unet", "map-diff")
        for dose in ("1/20", "1/50")
        for stage in ("full", "1/2")
        for metric, base in (("psnr", 40.0), ("nmae", 0.1))
    ]
    page = page_of_rows(
        {"rows": rows}, tmp_path / "bench", pages={"sub-0": "../sub-0.html"}, notes=["a note"]
    )
    text = page.read_text()
    assert 'href="../sub-0.html"' in text and "a note" in text
    data = table(tmp_path / "bench" / "figures" / "psnr.csv")
    assert len(data) == 1 + 4 * 3 * 2 * 2
    _, *means = table(tmp_path / "bench" / "figures" / "intervals.csv")
    assert len(means) == 2 * 2 * 2 * 5  # cohorts, doses, stages; three methods and two differences
    with pytest.raises(InputError, match="exists already"):
        page_of_rows({"rows": rows}, tmp_path / "bench")


def test_a_planted_name_is_nowhere(tmp_path):
    """A DICOM series with a patient's name, evaluated with pages: no file tells the name."""
    headers = make_headers()
    for dose in ("1-20 dose", "Full_dose"):
        save_headers(headers, tmp_path / "scans" / "Subject_1" / dose)
    low = mapdiff.read(tmp_path / "scans" / "Subject_1" / "1-20 dose")
    target = tmp_path / "restored" / "Subject_1" / "1-20 dose"
    target.parent.mkdir(parents=True)
    mapdiff.write(low.with_array(low.array * np.float32(0.99)), target, description="test")
    found = evaluate_folders(tmp_path / "restored", tmp_path / "scans", output=tmp_path / "page")
    assert len(found.result.subjects) == 1
    files = [path for path in (tmp_path / "page").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".html", ".json", ".csv", ".png"}
    for path in files:
        content = path.read_bytes()
        packed = re.findall(rb'octet-stream" id="volume[^>]*>(.*?)</script>', content, re.S)
        images = re.findall(rb"data:image/[^;]+;base64,([^\"]+)", content)
        readable = re.sub(rb'(octet-stream" id="[^>]*>).*?</script>', b"", content, flags=re.S)
        readable = re.sub(rb"base64,[^\"]+", b"", readable)
        parts = [gzip.decompress(base64.b64decode(part)) for part in packed]
        parts += [base64.b64decode(part) for part in images]
        for word in IDENTITY:
            if path.suffix != ".png":
                assert word.lower().encode() not in readable.lower(), (path.name, word)
            if len(word) >= 5:
                assert not any(word.encode() in part for part in (*parts, content)), (path.name, word)


@pytest.mark.parametrize(("seed", "found"), [(None, 3), (5, 2)])
def test_the_input_of_a_deidentified_run_is_found_by_its_voxels(
    smoothed_cohort, tiny_cohort, tmp_path, seed, found
):
    """Its manifest does not tell where the scan lay, and names may differ."""
    shutil.copytree(smoothed_cohort / "smoothed", tmp_path / "smoothed")
    result = next((tmp_path / "smoothed").glob("sub-001_rec-drf20*.nii.gz"))
    scan = mapdiff.read(smoothed_cohort / "low" / result.name)
    if seed is not None:
        scan = low_dose_volume(seed=seed)
    told = {"path": None, "sha256_of_voxels_and_affine": input_hash(scan)}
    manifest_path(result).write_text(json.dumps({"outputs": [result.name], "input": told}))
    done = evaluate_folders(
        tmp_path / "smoothed",
        tiny_cohort,
        output=tmp_path / "page",
        inputs=smoothed_cohort / "low",
        subject_pages=False,
    )
    rows = [row for row in done.rows if (row.method, row.input_dose, row.metric) == ("input", "1/20", "nmae")]
    assert {row.n for row in rows} == {found}


def told_by_the_run(smoothed_cohort, folder, change):
    """One prediction, with a manifest that tells what its input, a file without a unit, was taken for."""
    shutil.copytree(smoothed_cohort / "smoothed", folder / "smoothed")
    result = next((folder / "smoothed").glob("sub-001_rec-drf20*.nii.gz"))
    for other in set((folder / "smoothed").glob("*.nii.gz")) - {result}:
        other.unlink()
    source = folder / "scan.nii.gz"
    low = mapdiff.read(smoothed_cohort / "low" / result.name)
    assert low.unit == "Bq/mL"
    nib.save(nib.Nifti1Image(low.array, low.affine), source)
    manifest = {"outputs": [result.name], "input": {"path": str(source)}, "parameters": {}}
    change(manifest)
    manifest["input"]["sha256_of_voxels_and_affine"] = input_hash(low)
    manifest_path(result).write_text(json.dumps(manifest))
    return folder / "smoothed"


def of_the_input(done):
    return [
        row.n for row in done.rows if (row.method, row.metric, row.protocol) == ("input", "nmae", "mapdiff")
    ]


@pytest.mark.parametrize(
    "told",
    [{"parameters": {"unit": "Bq/mL"}}, {"input": {"unit": "Bq/mL"}}],
    ids=["by the option", "by the table"],
)
def test_the_input_is_read_as_it_was_denoised(smoothed_cohort, tiny_cohort, tmp_path, told):
    """The scan tells no unit; the run's options or its table did."""

    def change(manifest):
        for part, facts in told.items():
            manifest[part].update(facts)

    folder = told_by_the_run(smoothed_cohort, tmp_path, change)
    done = evaluate_folders(folder, tiny_cohort, output=tmp_path / "page")
    assert not done.result.failed
    assert set(of_the_input(done)) == {1}
    assert not any("left out" in line for line in done.result.subjects[0].warnings)


def test_an_input_that_does_not_fit_takes_nothing_from_the_prediction(smoothed_cohort, tiny_cohort, tmp_path):
    folder = told_by_the_run(smoothed_cohort, tmp_path, lambda manifest: None)
    done = evaluate_folders(folder, tiny_cohort, output=tmp_path / "page", subject_pages=False)
    assert not done.result.failed and of_the_input(done) == []
    assert {row.method for row in done.rows} == {"prediction"}
    assert any("the input is left out: " in line for line in done.result.subjects[0].warnings)
