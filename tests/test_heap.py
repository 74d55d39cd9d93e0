"""Freed tensors serve again while the heap is kept, and are given back afterwards."""

import resource
import sys
from pathlib import Path

import pytest
import torch

from mapdiff.heap import kept_heap, peak_memory_mb

#: 80 MB, above the 32 MB that the GNU C library's own adaptation ends at.
NUMBERS = 20_000_000
PAGES = 4 * NUMBERS // resource.getpagesize()


def faults_of_a_tensor() -> int:
    """Pages that the system had to find for a new tensor."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert torch.ones(NUMBERS).sum() == NUMBERS
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture(autouse=True)
def small_pages():
    if sys.platform != "linux":
        pytest.skip("the heap is kept with the GNU C library only")
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if setting.exists() and "[always]" in setting.read_text():
        pytest.skip("the system gives large pages, so faults do not count them")


def test_the_heap_is_kept_and_given_back():
    mapped = faults_of_a_tensor()
    assert mapped > 0.9 * PAGES
    with kept_heap():
        faults_of_a_tensor()
        assert faults_of_a_tensor() < 0.1 * PAGES
    assert faults_of_a_tensor() > 0.9 * PAGES
    assert peak_memory_mb() > 80


def test_what_ends_within_leaves_it_kept():
    with kept_heap():
        with kept_heap():
            faults_of_a_tensor()
        assert faults_of_a_tensor() < 0.1 * PAGES
