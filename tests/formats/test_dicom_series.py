"""A DICOM series made from a volume reads back as that volume."""

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.formats.dicom_series import new_study, series_of, write_series
from mapdiff.volume import Volume
from udpet_scans import FACTS

STUDY = new_study(datetime(2022, 2, 24, 0, 20), "Doe^Jane", "7")
AFFINE = np.array([[-2.0, 0, 0, 31], [0, -2.5, 0, 12.25], [0, 0, 3, -700], [0, 0, 0, 1]])


def some_volume(unit: str = "Bq/mL") -> Volume:
    array = np.random.default_rng(3).gamma(1.0, 900.0, (7, 9, 5)).astype(np.float32)
    array[:, :, 2] *= 100  # slices of very different maxima need slopes of their own
    return Volume(array, AFFINE, unit, FACTS)


def test_it_reads_back_with_voxels_grid_and_facts(tmp_path):
    volume = some_volume()
    write_series(series_of(volume, STUDY, "2.886 x 600 WB D10", 4), tmp_path / "s", ".IMA")
    back = read(tmp_path / "s")
    half_step = volume.array.max(axis=(0, 1)) / 32767 / 2
    assert (np.abs(back.array - volume.array).max(axis=(0, 1)) <= half_step * 1.001).all()
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-6)
    assert back.unit == "Bq/mL" and back.warnings == ()
    for name in ("tracer", "half_life_s", "injected_activity_bq", "weight_kg", "frame_s", "model"):
        assert getattr(back.acquisition, name) == getattr(FACTS, name), name
    # the scan began 20 minutes after midnight: the injection was on the day before
    assert back.acquisition.uptake_s == pytest.approx(3600)
    expected = 68e3 / (2.5e8 * 2 ** (-3600 / 6586.2))
    assert back.acquisition.suv_per_bqml == pytest.approx(expected, rel=1e-6)


def test_an_oblique_grid_keeps_its_place(tmp_path):
    turn = np.deg2rad(20)
    affine = np.array(
        [
            [2 * np.cos(turn), -2 * np.sin(turn), 0, 5],
            [2 * np.sin(turn), 2 * np.cos(turn), 0, -9],
            [0, 0, 3.0, 100],
            [0, 0, 0, 1],
        ]
    )
    volume = replace(some_volume(), affine=affine)
    write_series(series_of(volume, STUDY, "oblique", 1), tmp_path / "s")
    np.testing.assert_allclose(read(tmp_path / "s").affine, affine, atol=1e-6)


def test_same_entropy_same_uids_and_other_series_other_uids():
    one, two = (new_study(datetime(2022, 1, 1), "a", "1", "seed 5") for _ in range(2))
    assert one.uid == two.uid and one.frame_uid == two.frame_uid != one.uid
    first = series_of(some_volume(), one, "D2", 1)
    again = series_of(some_volume(), one, "D2", 1)
    other = series_of(some_volume(), one, "D4", 2)
    assert [d.SOPInstanceUID for d in first] == [d.SOPInstanceUID for d in again]
    assert not {d.SOPInstanceUID for d in first} & {d.SOPInstanceUID for d in other}
    assert len({d.SOPInstanceUID for d in first}) == 5


def test_dciodvfy_finds_no_error(tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    write_series(series_of(some_volume(), STUDY, "2.886 x 600 WB D10", 4), tmp_path / "s")
    file = sorted((tmp_path / "s").iterdir())[0]
    done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    assert "PETImage" in done.stdout + done.stderr
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []


def test_what_dicom_cannot_hold_is_refused():
    with pytest.raises(InputError, match="Bq/mL or SUV"):
        series_of(some_volume("unknown"), STUDY, "x", 1)
    sheared = AFFINE.copy()
    sheared[0, 1] = 1.0
    with pytest.raises(InputError, match="perpendicular"):
        series_of(replace(some_volume(), affine=sheared), STUDY, "x", 1)
