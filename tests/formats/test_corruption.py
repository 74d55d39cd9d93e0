"""Bytes changed at random: a scan is read, or refused with an InputError of one line; never anything else."""

import random
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_series import make_headers, save_headers

import mapdiff
from mapdiff.errors import InputError


def corrupted(content: bytes, reach: int, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(reach)] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.1 else changed)


def check(scan: Path, out: Path) -> bool:
    try:
        volume = mapdiff.read(scan)
        mapdiff.write(volume, out, overwrite=True)
        volume.to("SUV")
    except InputError as error:
        assert "\n" not in str(error)
        return False
    return True


@pytest.mark.filterwarnings("error")  # and nothing is warned about past the volume's own warnings
def test_dicom_with_changed_bytes(tmp_path: Path) -> None:
    folder = save_headers(make_headers(slices=3), tmp_path / "series")
    file = folder / "slice001.dcm"
    content, rng = file.read_bytes(), random.Random(11)
    fates = set()
    for _ in range(80):
        file.write_bytes(corrupted(content, len(content) - 240, rng))
        fates.add(check(folder, tmp_path / "out"))
    assert fates == {True, False}


def test_nifti_with_changed_bytes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).uniform(1, 9, (6, 5, 4)).astype("f4"), np.eye(4)), path)
    content, rng = path.read_bytes(), random.Random(11)
    for _ in range(150):
        path.write_bytes(corrupted(content, 352, rng))
        check(path, tmp_path / "out.nii")
    out, err = capfd.readouterr()
    assert out == "" and err == ""
