"""The noise level of an unknown input is found by the network's own estimate."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from mapdiff.diffusion.calibration import nmae
from mapdiff.inference.noise_level import find_noise, probe_tiles
from synthetic import nested_scans, smooth_body

SHAPE = (48, 40, 64)
Z = smooth_body(SHAPE)
BODY = Z > 0.5
SCANS = nested_scans(Z)


@pytest.mark.parametrize("dose", [Fraction(1, 4), Fraction(1, 20), Fraction(1, 100)])
@pytest.mark.parametrize("start", [0.05, 0.3, 2.0])
def test_a_perfect_estimate_gives_the_true_level(dose, start):
    u = SCANS[dose]
    truth = torch.from_numpy(Z)
    found = find_noise(
        lambda tile, level: truth[tile.slices],
        u,
        BODY,
        probe_tiles(BODY, 4),
        "nmae",
        start=start,
        bounds=(0.03, 1.2),
        spacing_mm=(4.0, 4.0, 4.0),
    ).level
    # the probes lie in the middle, the body is a little larger
    assert found == pytest.approx(nmae(SCANS[dose][BODY], Z[BODY]), rel=0.05)


def test_an_estimate_that_depends_on_the_level_converges():
    """A denoiser that leaves more noise the higher the level it is told, as one that smooths too little."""
    u, truth = SCANS[Fraction(1, 20)], Z
    told = []

    def estimate(tile, level):
        told.append(level)
        return truth[tile.slices] + 0.2 * level * (u[tile.slices] - truth[tile.slices])

    found = find_noise(
        estimate,
        u,
        BODY,
        probe_tiles(BODY, 4),
        "nmae",
        start=1.0,
        bounds=(0.03, 1.2),
        spacing_mm=(4.0, 4.0, 4.0),
    ).level
    true = nmae(SCANS[Fraction(1, 20)][BODY], Z[BODY])
    assert found == pytest.approx(true / (1 + 0.2 * true), rel=0.05)  # found = true (1 - 0.2 found)
    assert all(0.03 <= level <= 1.2 for level in told)


def test_the_level_told_to_the_network_is_bounded_and_the_answer_is_not():
    u, truth = SCANS[Fraction(1, 100)], Z
    told = []

    def estimate(tile, level):
        told.append(level)
        return truth[tile.slices]

    found = find_noise(
        estimate,
        u,
        BODY,
        probe_tiles(BODY, 4),
        "nmae",
        start=0.1,
        bounds=(0.05, 0.2),
        spacing_mm=(4.0, 4.0, 4.0),
    ).level
    assert max(told) <= 0.2 < found


def test_an_image_without_noise_has_no_level_and_no_crash():
    u = Z
    found = find_noise(
        lambda tile, level: u[tile.slices],
        u,
        BODY,
        probe_tiles(BODY, 4),
        "nmae",
        start=0.3,
        bounds=(0.03, 1.2),
        spacing_mm=(4.0, 4.0, 4.0),
    ).level
    assert 0 <= found < 1e-6


@pytest.mark.parametrize("multiple", [4, 8])
@pytest.mark.parametrize("shape", [(48, 40, 64), (24, 24, 16), (104, 96, 200)])
def test_probes_are_full_of_body_and_lie_on_the_grid(shape, multiple):
    body = smooth_body(shape) > 0.5
    tiles = probe_tiles(body, multiple)
    assert tiles and len({tile.start for tile in tiles}) == len(tiles)
    shares = []
    for tile in tiles:
        for start, stop, size in zip(tile.start, tile.stop, shape, strict=True):
            assert 0 <= start < stop <= size and start % multiple == 0
            assert stop - start == min(48, size)
        shares.append(body[tile.slices].mean())
    assert np.mean(shares) >= 0.9 * body.mean()


def test_probes_pass_over_slices_without_body():
    body = np.zeros((48, 48, 200), bool)
    body[10:40, 10:40, 60:100] = True
    assert all(tile.start[2] < 100 and tile.stop[2] > 60 for tile in probe_tiles(body, 8))
