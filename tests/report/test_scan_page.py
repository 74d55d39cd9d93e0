"""The page from the command line: with the run, and later from its files."""

from pathlib import Path

import numpy as np
import pytest
from test_page import embedded
from typer.testing import CliRunner

import mapdiff
from mapdiff.cli.main import app
from mapdiff.errors import InputError
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


def test_names_of_pages():
    assert page_path(Path("a/scan.nii.gz")) == Path("a/scan_report.html")
    assert page_path(Path("a/series")) == Path("a/series_report.html")
    assert page_path(Path("a/series.zip")) == Path("a/series_report.html")
