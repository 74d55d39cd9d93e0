"""The scanners that can be simulated."""

from dataclasses import replace

import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.simulate.scanner import NAMED, PRESETS, QUADRA, draw_scanner, scanner_named


@pytest.mark.parametrize("name", ["quadra", "uexplorer"])
def test_presets_are_found_by_name(name):
    scanner = scanner_named(name)
    assert scanner.name == name and PRESETS[name] is scanner


@pytest.mark.parametrize("name", list(NAMED))
def test_subsets_divide_the_angles(name):
    scanner = scanner_named(name)
    assert scanner.angles % scanner.subsets == 0


@pytest.mark.parametrize("name", ["quadra", "uexplorer"])
def test_the_other_reconstruction_is_of_the_same_scanner(name):
    """Same person, grid and detector; only what is done with the counts, and how many they stand for."""
    one, other = scanner_named(name), scanner_named(f"{name}-psf")
    chosen = ("effective_gain", "angles", "iterations", "subsets", "psf_mm", "filter_mm", "coarse_iterations")
    assert replace(one, **{field: getattr(other, field) for field in chosen}) == other != one
    assert other.psf_mm == other.resolution_mm


@pytest.mark.parametrize("name", ["", "Quadra", "mct"])
def test_an_unknown_scanner_is_an_error_that_lists_the_known(name):
    with pytest.raises(InputError, match="quadra, uexplorer"):
        scanner_named(name)


def test_drawn_scanners_lie_in_their_ranges_and_differ():
    drawn = [draw_scanner(np.random.default_rng(n)) for n in range(300)]
    counts = np.array([s.sensitivity_cps_per_bq / QUADRA.sensitivity_cps_per_bq for s in drawn])
    assert 0.003 < counts.min() < 0.05 and 2 < counts.max() < 30
    for s in drawn:
        assert 3.0 <= s.resolution_mm <= 6.5 and 0.3 <= s.scatter_fraction <= 0.42
        assert 0.2 <= s.randoms_ratio <= 1.2 and 0 <= s.filter_mm <= 6
        assert s.name == "varied" and not s.model  # it must not pass for a real one
    one_view = [s for s in drawn if s.subsets == s.angles]
    assert 0.5 < len(one_view) / len(drawn) < 0.7
    assert {s.iterations for s in one_view} == {1, 2} and not any(s.psf_mm for s in one_view)
    few = [s for s in drawn if s.subsets < s.angles]
    assert {s.iterations for s in few} == {2, 3, 4} and {s.subsets for s in few} == {8, 20}
    assert all(s.psf_mm == 0 or 0.69 < s.psf_mm / s.resolution_mm <= 1 for s in few)
    assert 0.45 < np.mean([s.psf_mm > 0 for s in few]) < 0.75


def test_a_seed_draws_one_scanner():
    assert draw_scanner(np.random.default_rng(1)) == draw_scanner(np.random.default_rng(1))
