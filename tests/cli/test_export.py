"""`mapdiff export`: half the size, the same image, another scanner's doses where asked for."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mapdiff.cli.main import app
from mapdiff.errors import InputError
from mapdiff.inference import Denoiser
from mapdiff.methods.model_file import load_model
from synthetic import low_dose_volume, nominal_calibration


def export(*words: object) -> None:
    CliRunner().invoke(app, ["export", *map(str, words)], catch_exceptions=False)


def test_the_file_is_half_as_large_and_gives_the_same_image(small_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "half.safetensors"
    export(small_model, "-o", target)
    assert target.stat().st_size < small_model.stat().st_size
    # In float32, so that what differs is the file's rounding, not that of the arithmetic.
    before, after = (
        Denoiser.from_pretrained(path, precision="float32").denoise(low_dose_volume())
        for path in (small_model, target)
    )
    np.testing.assert_allclose(after.image.array, before.image.array, rtol=5e-3, atol=5.0)


def test_a_calibration_replaces_the_models(small_model: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(nominal_calibration(0.3), grain_mm3=120.0)
    (tmp_path / "other.json").write_text(other.to_json())
    export(small_model, "-o", tmp_path / "m.safetensors", "--calibration", tmp_path / "other.json")
    assert load_model(tmp_path / "m.safetensors").calibration == other


def test_an_output_that_exists_is_kept(small_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "there.safetensors"
    target.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export(small_model, "-o", target)
    assert target.read_text() == "mine"
