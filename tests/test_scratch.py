"""Scratch images: what is written is read, and nothing stays behind."""

import os
import tempfile

import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.scratch import Scratch, release, slabs


def test_slabs_are_read_as_they_were_written():
    image = np.random.default_rng(0).standard_normal((5, 7, 11)).astype(np.float32)
    scratch = Scratch(image.shape)
    assert (scratch.read(0, 11) == 0).all()
    for start, stop in slabs(11, 4):
        scratch.write(start, image[:, :, start:stop])
    np.testing.assert_array_equal(scratch.read(3, 9), image[:, :, 3:9])
    np.testing.assert_array_equal(scratch.array(), image)
    assert scratch.read(2, 2).shape == (5, 7, 0)


def test_slabs_cover_everything_once():
    assert list(slabs(70, 32)) == [(0, 32), (32, 64), (64, 70)] and list(slabs(0)) == []


def test_the_array_outlives_the_scratch_and_can_be_released():
    image = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    scratch = Scratch(image.shape)
    scratch.write(0, image)
    array = scratch.array()
    del scratch
    array[0, 0, 0] = 7
    release(array)
    release(np.zeros(3))  # of any other array nothing is let go
    assert array[0, 0, 0] == 7 and (array.ravel()[1:] == image.ravel()[1:]).all()


def test_nothing_stays_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch = Scratch((4, 4, 4))
    scratch.write(0, np.ones((4, 4, 4), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"0\.0 GB of scratch space \(No space left.*TMPDIR"):
        Scratch((4, 4, 4))
