import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mapdiff.cli.main import run

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))
from small_series import make_headers, save_headers


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mapdiff", "info", *arguments])
    with pytest.raises(SystemExit) as caught:
        run()
    return int(caught.value.code or 0)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).uniform(0, 9000, (6, 5, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 3.0, 4.0, 1.0])), tmp_path / "sub-1_pet.nii.gz")
    fields = {
        "Units": "Bq/mL",
        "TracerName": "FDG",
        "InjectedRadioactivity": 300,
        "InjectedRadioactivityUnits": "MBq",
        "RadionuclideHalfLife": 6586.2,
        "InjectionStart": 0,
        "ImageDecayCorrectionTime": 3600,
        "TimeZero": "10:00:00",
        "PatientName": "DOE^JANE",
    }
    (tmp_path / "sub-1_pet.json").write_text(json.dumps(fields))
    return tmp_path / "sub-1_pet.nii.gz"


def test_lines(scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, str(scan)) == 0
    out = capsys.readouterr().out
    for line in ("format: NIfTI", "grid: 6 x 5 x 4", "spacing mm: 2 x 3 x 4", "unit: Bq/mL", "tracer: FDG"):
        assert line in out.splitlines()
    assert "SUV per" not in out and "DOE" not in out


def test_json_with_a_supplied_weight(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, str(scan), "--json", "--weight", "60", "--injection-time", "10:00") == 0
    out = capsys.readouterr().out
    facts = json.loads(out)
    assert facts["SUV_per_Bq_per_mL"] == pytest.approx(60000 / (300e6 * 0.5 ** (3600 / 6586.2)))
    assert facts["supplied_by_user"] == ["weight_kg", "uptake_s"]
    assert "DOE" not in out


def test_absurd_weight_is_refused(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, str(scan), "--weight", "7000") == 2
    assert "absurd" in capsys.readouterr().err


def test_what_is_supplied_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = make_headers()
    for header in headers:
        del header.PatientWeight
    folder = str(save_headers(headers, tmp_path / "series"))
    assert call(monkeypatch, folder) == 0
    assert "SUV is not known" in capsys.readouterr().out
    assert call(monkeypatch, folder, "--weight", "60") == 0
    out = capsys.readouterr().out
    assert "SUV per Bq per mL" in out and "SUV is not known" not in out


def test_a_name_that_is_no_utf8_is_printed_as_it_is(tmp_path: Path) -> None:
    """Latin-1 from an old archive: the name in bytes, on a terminal that takes UTF-8 only."""
    cohort = tmp_path / os.fsdecode(b"M\xfcller")
    done = subprocess.run(
        [sys.executable, "-m", "mapdiff", "simulate", "-o", cohort, "--spacing", "8", "--slab", "8"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"M\xfcller" in done.stdout
