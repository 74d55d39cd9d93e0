import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mapdiff.cli.main import run


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
