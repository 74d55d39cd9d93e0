"""A cohort or a place that cannot be trained on is one line and exit code 2, before the first step."""

import shutil
import subprocess
import sys
from collections import namedtuple
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mapdiff.cli import main as cli_main
from mapdiff.cohort.layout import dose_path, write_image
from mapdiff.cohort.pack import pack
from synthetic import smooth_body, volume_of


@pytest.fixture
def cohort(tiny_cohort, tmp_path) -> Path:
    return shutil.copytree(tiny_cohort, tmp_path / "cohort")


@pytest.fixture
def train(monkeypatch, capsys):
    """`train(word, ...)` runs the verb; gives its last line, after checking that it is one error's line."""

    def run(*words: object) -> str:
        settings = ["--steps", "2", "--patch", "16", "--batch", "2", "--validation", "1"]
        settings += ["--device", "cpu", "--workers", "0"]
        monkeypatch.setattr(sys, "argv", ["mapdiff", "train", *map(str, words), *settings, "--jobs", "1"])
        with pytest.raises(SystemExit) as stop:
            cli_main.run()
        captured = capsys.readouterr()
        assert stop.value.code == 2 and captured.out == "", captured.err
        *progress, last = captured.err.splitlines()
        assert last.startswith("mapdiff: ") and not any("step" in line for line in progress)
        assert "Traceback" not in captured.err and sum(line.startswith("mapdiff:") for line in progress) == 0
        return last

    return run


def path_of(cohort: Path, drf: int) -> Path:
    return dose_path(cohort / "sub-002", "sub-002", Fraction(1, drf))


def missing(cohort: Path) -> None:
    path_of(cohort, 20).unlink()
    doses = '{"doses": ["full", "1/2", "1/4", "1/10", "1/20", "1/50", "1/100"]}'
    (cohort / "sub-002" / "subject.json").write_text(doses)


def swapped(cohort: Path) -> None:
    one, other = path_of(cohort, 2), path_of(cohort, 50)
    one.rename(one.with_name("x"))
    other.rename(one)
    one.with_name("x").rename(other)


def nan(cohort: Path) -> None:
    image = nibabel.nifti1.Nifti1Image.from_filename(path_of(cohort, 10))
    array = np.asarray(image.dataobj).copy()
    array[1, 2, 3] = np.nan
    nibabel.save(nibabel.nifti1.Nifti1Image(array, image.affine), path_of(cohort, 10))


def two_grids(cohort: Path) -> None:
    write_image(volume_of(smooth_body((24, 24, 18))), path_of(cohort, 4))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "sub-002_rec-drf20_pet.nii.gz: is missing"),
        (swapped, "sub-002: wrong order of doses"),
        (nan, "sub-002_rec-drf10_pet.nii.gz: 1 of its"),
        (two_grids, "sub-002_rec-drf4_pet.nii.gz: lies on another grid"),
    ],
)
def test_a_broken_cohort(train, cohort, tmp_path, spoil, said):
    spoil(cohort)
    line = train(cohort, "-o", tmp_path / "run")
    assert said in line and "mapdiff check" in line
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {".lock", "stores"}  # what was packed is kept for the next try


def test_a_broken_store(train, cohort, tmp_path):
    pack(cohort, tmp_path / "store", jobs=1)
    shard = tmp_path / "store" / "sub-003" / "scans" / "c" / "0" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "bytes, not" in train(tmp_path / "store", "-o", tmp_path / "run")


@pytest.mark.parametrize("channels", ["16", "16,24,x", "8,12,16", "8,16,0", "8,16,24,32"])
def test_channels_that_make_no_network(train, cohort, tmp_path, channels):
    line = train(cohort, "-o", tmp_path / "run", "--channels", channels)
    assert f"--channels {channels}: three multiples of 8" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("blocks", ["2", "2,2,x", "0,1,1", "2,-1,1", "1,1,1,1", "3,1,17"])
def test_blocks_that_make_no_network(train, cohort, tmp_path, blocks):
    line = train(cohort, "-o", tmp_path / "run", "--blocks", blocks)
    assert f"--blocks {blocks}: three numbers up to 16" in line
    assert not (tmp_path / "run").exists()


def test_an_optimizer_that_there_is_none_of(train, cohort, tmp_path):
    line = train(cohort, "-o", tmp_path / "run", "--optimizer", "sgd")
    assert "--optimizer sgd: there are muon and adamw" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["/proc/run", "below"])
def test_a_folder_that_cannot_be_written(train, cohort, tmp_path, place):
    """As root nothing is read-only, but /proc is, and a path below a file."""
    if place == "below":
        (tmp_path / "file").write_text("")
        place = str(tmp_path / "file" / "run")
    assert f"{place}: cannot be written" in train(cohort, "-o", place)


def test_a_disk_without_room_for_the_run(train, cohort, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 50, 3 * 2**20))
    assert "run: the disk has 3 MB left, the run needs" in train(cohort, "-o", tmp_path / "run")


def test_a_disk_that_fills_while_packing(train, tiny_cohort, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        line = train(tiny_cohort, "-o", disk / "run")
        assert "No space left on device" in line and "sub-00" in line
    finally:
        subprocess.run(["umount", str(disk)], check=True)
