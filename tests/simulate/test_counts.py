"""Counts are Poisson, and lower doses are exact thinnings of higher ones."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from mapdiff.dose import DOSES
from mapdiff.simulate.counts import draw_nested, expect
from mapdiff.simulate.projector import Projector
from mapdiff.simulate.scanner import QUADRA


@pytest.fixture(scope="module")
def scanned():
    i, j = np.ogrid[-15.5:16, -15.5:16]
    body = i**2 + j**2 < 144
    activity = np.repeat(np.where(body, 3000.0, 0.0)[:, :, None], 6, axis=2).astype(np.float32)
    mu = np.repeat(np.where(body, 0.0096, 0.0)[:, :, None], 6, axis=2).astype(np.float32)
    projector = Projector(i**2 + j**2 < 210, (6.0, 6.0, 6.0), 32, 4, 6.0)
    expectation = expect(projector, QUADRA, activity, mu, 600.0)
    return expectation, draw_nested(expectation, DOSES, 5)


def flat(views) -> np.ndarray:
    return np.concatenate([v.ravel() for v in views]).astype(float)


def expected_of(expectation) -> np.ndarray:
    return flat(expectation.trues) + flat(expectation.background)


def test_the_full_dose_is_poisson(scanned):
    expectation, counts = scanned
    mean, drawn = expected_of(expectation), flat(counts[Fraction(1)])
    assert abs(drawn.sum() - mean.sum()) < 4 * np.sqrt(mean.sum())
    enough = mean > 5
    chi = ((drawn - mean)[enough] ** 2 / mean[enough]).sum()
    assert enough.sum() > 5000 and abs(chi - enough.sum()) < 4.5 * np.sqrt(2 * enough.sum())


def test_lower_doses_are_parts_of_higher_ones(scanned):
    _, counts = scanned
    assert list(counts) == list(DOSES)
    for high, low in pairwise(DOSES):
        for above, below in zip(counts[high], counts[low], strict=True):
            assert (below >= 0).all() and (below <= above).all() and np.issubdtype(below.dtype, np.integer)


@pytest.mark.parametrize("low", DOSES[1:])
def test_thinning_is_binomial(scanned, low):
    """Given the full dose's counts, those at d are binomial: chi-square over the bins, and the whole sum."""
    _, counts = scanned
    n, k, p = flat(counts[Fraction(1)]), flat(counts[low]), float(low)
    assert abs(k.sum() - p * n.sum()) < 4 * np.sqrt(p * (1 - p) * n.sum())
    enough = n * p > 3
    variance = n[enough] * p * (1 - p)
    chi = ((k[enough] - n[enough] * p) ** 2 / variance).sum()
    assert enough.sum() > 500 and abs(chi - enough.sum()) < 5 * np.sqrt(2.5 * enough.sum())


def test_attenuation_follows_the_path_through_the_body(scanned):
    """Through the middle of a cylinder of 144 mm of water a pair survives with exp(-mu 144)."""
    expectation, _ = scanned
    for views in expectation.attenuation:
        assert (views > 0).all() and (views <= 1).all()
        middle = views[:, views.shape[1] // 2 - 1 : views.shape[1] // 2 + 1, 3]
        np.testing.assert_allclose(middle, np.exp(-0.0096 * 144), rtol=0.05)
        np.testing.assert_allclose(views[:, 0, 3], 1, rtol=1e-5)


def test_fractions_are_the_scanners(scanned):
    expectation, _ = scanned
    trues, background = flat(expectation.trues).sum(), flat(expectation.background).sum()
    scatter = trues * QUADRA.scatter_fraction / (1 - QUADRA.scatter_fraction)
    # the bins cover only a part of the field of view, over which randoms are level
    seen = expectation.trues[0].shape[1] * 6.0 / QUADRA.fov_mm
    assert background == pytest.approx(scatter + seen * QUADRA.randoms_ratio * trues, rel=1e-3)


def test_counts_follow_sensitivity_and_time(scanned):
    """Without attenuation, trues = activity in Bq x sensitivity x effective gain x seconds."""
    activity = np.zeros((20, 20, 9), np.float32)
    activity[8:12, 8:12, 4] = 1000
    projector = Projector(np.ones((20, 20), bool), (4.0, 4.0, 5.0), 16, 2, 4.0)
    scanner = replace(QUADRA, tof_reference_mm=0.0)
    found = expect(projector, scanner, activity, np.zeros_like(activity), 100.0)
    becquerel = 16 * 1000 * 0.08
    per_bq = QUADRA.sensitivity_cps_per_bq * QUADRA.effective_gain * 100
    assert flat(found.trues).sum() == pytest.approx(becquerel * per_bq, rel=2e-3)


def test_time_of_flight_gains_in_proportion_to_the_diameter():
    i, j = np.ogrid[-40:41, -40:41]
    mu = np.stack([np.where(i**2 + j**2 < radius**2, np.float32(0.0096), 0) for radius in (15, 30)], axis=2)
    projector = Projector(np.ones((81, 81), bool), (4.0, 4.0, 5.0), 16, 2, 4.0)
    found = expect(projector, QUADRA, np.zeros_like(mu), mu, 100.0)
    assert found.gain[1] / found.gain[0] == pytest.approx(2, rel=0.01)
    assert found.slices(slice(1, 2)).gain == found.gain[1:]
    with_none = expect(projector, replace(QUADRA, tof_reference_mm=0.0), np.zeros_like(mu), mu, 100.0)
    assert found.gain[1] / with_none.gain[1] == pytest.approx(240 / QUADRA.tof_reference_mm, rel=0.01)


def test_the_seed_decides(scanned):
    expectation, counts = scanned
    again = draw_nested(expectation, DOSES, 5)
    other = draw_nested(expectation, DOSES, 6)
    assert all((flat(again[d]) == flat(counts[d])).all() for d in DOSES)
    assert (flat(other[DOSES[0]]) != flat(counts[DOSES[0]])).any()


def test_a_ray_moves_the_counts_of_its_own_view_alone(scanned):
    """So that two processors, which round some expectations otherwise, draw nearly the same scan."""
    expectation, counts = scanned
    trues = [views.copy() for views in expectation.trues]
    trues[1][3, :, 2] *= 1.5
    moved = draw_nested(replace(expectation, trues=trues), DOSES, 5)
    for dose in DOSES:
        for subset, (before, after) in enumerate(zip(counts[dose], moved[dose], strict=True)):
            changed = {(angle, k) for angle, _, k in np.argwhere(before != after)}
            assert changed == ({(3, 2)} if subset == 1 else set())


def test_a_slice_has_the_same_counts_in_any_piece(scanned):
    expectation, counts = scanned
    piece = draw_nested(expectation.slices(slice(2, 5)), DOSES, 5, first_slice=2)
    for dose in DOSES:
        for whole, part in zip(counts[dose], piece[dose], strict=True):
            np.testing.assert_array_equal(whole[:, :, 2:5], part)


def test_the_highest_dose_need_not_be_full(scanned):
    expectation, _ = scanned
    counts = draw_nested(expectation, (Fraction(1, 10),), 0)
    mean = expected_of(expectation).sum() / 10
    assert abs(flat(counts[Fraction(1, 10)]).sum() - mean) < 4 * np.sqrt(mean)
