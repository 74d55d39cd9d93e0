"""Outputs appear whole or not at all."""

import errno
from pathlib import Path

import pytest

from mapdiff.atomic import check_target, written_aside
from mapdiff.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_with_its_ending(tmp_path):
    target = tmp_path / "new" / "scan.nii.gz"
    with written_aside(target) as aside:
        assert aside.parent == target.parent and aside.name.endswith("scan.nii.gz")
        aside.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole" and names(target.parent) == ["scan.nii.gz"]


def test_a_folder_replaces_a_folder(tmp_path):
    target = tmp_path / "series"
    target.mkdir()
    (target / "old").write_text("old")
    with written_aside(target) as aside:
        aside.mkdir()
        (aside / "new").write_text("new")
        assert names(target) == ["old"]
    assert names(target) == ["new"] and names(tmp_path) == ["series"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), InputError("x")])
@pytest.mark.parametrize("folder", [False, True])
def test_an_error_leaves_nothing_and_keeps_the_old(tmp_path, error, folder):
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(type(error)), written_aside(target) as aside:
        if folder:
            aside.mkdir()
            (aside / "part").write_text("half")
        else:
            aside.write_text("half")
        raise error
    assert target.read_text() == "old" and names(tmp_path) == ["out"]


def test_a_full_disk_is_an_input_error_that_names_the_output(tmp_path):
    target = tmp_path / "out.nii"
    with pytest.raises(InputError, match=r"out\.nii.*No space left"), written_aside(target) as aside:
        aside.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_the_fault_of_another_file_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError), written_aside(tmp_path / "out") as aside:
        aside.write_text((tmp_path / "not there").read_text())
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), written_aside(tmp_path / "file" / "out") as _:
        pass


def test_check_target_refuses_what_is_there(tmp_path):
    file, full, empty = tmp_path / "file", tmp_path / "full", tmp_path / "empty"
    file.write_text("")
    full.mkdir()
    (full / "x").write_text("")
    empty.mkdir()
    for path in (file, full):
        with pytest.raises(InputError, match=rf"{path.name}.*--overwrite"):
            check_target(path, overwrite=False, ours="x")
        check_target(path, overwrite=True, ours="x")
    for path in (empty, tmp_path / "a" / "b" / "c"):
        check_target(path, overwrite=False, ours="x")
        check_target(path, overwrite=None)
    for path in (full, empty):
        with pytest.raises(InputError, match="is a folder; give the name of a file"):
            check_target(path, overwrite=True)
    assert names(tmp_path) == ["empty", "file", "full"]


def test_check_target_refuses_a_place_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        check_target(tmp_path / "file" / "out.nii", overwrite=True)


def test_check_target_refuses_a_place_without_permission(tmp_path, monkeypatch):
    # root may write anywhere, so the answer of the system is what is replaced
    monkeypatch.setattr("mapdiff.atomic.os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="no permission"):
        check_target(tmp_path / "out.nii", overwrite=False)


def test_a_folder_is_replaced_only_if_it_is_of_this_kind(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "PT00001.dcm").touch()
    check_target(folder, True, r"PT\d{5}\.dcm")
    with pytest.raises(InputError, match="is a folder"):
        check_target(folder, True)
    (folder / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis\.tex"):
        check_target(folder, True, r"PT\d{5}\.dcm")
