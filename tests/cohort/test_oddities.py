"""Noise by dose inside the body, and which end is the full dose."""

from dataclasses import replace
from fractions import Fraction

import pytest

from mapdiff.body import body_mask
from mapdiff.cohort.oddities import Body, differing_facts, grid_fault, order_faults
from mapdiff.dose import FULL
from mapdiff.volume import Acquisition
from synthetic import SPACING_MM, nested_scans, smooth_body, volume_of

LOW = Fraction(1, 20)


@pytest.fixture(scope="module")
def scans():
    return nested_scans(smooth_body(seed=2), seed=2, doses=(FULL, LOW))


def test_two_doses_suffice_to_tell_the_full_one(scans):
    right = Body(volume_of(scans[FULL]))
    assert order_faults({d: right.measure(scan) for d, scan in scans.items()}) == []
    wrong = Body(volume_of(scans[LOW]))
    swapped = {FULL: wrong.measure(scans[LOW]), LOW: wrong.measure(scans[FULL])}
    (fault,) = order_faults(swapped)
    assert "wrong order of doses: dose 1/20 is smoother than the full dose" in fault


def test_a_measure_is_that_of_the_noise(scans):
    body = Body(volume_of(scans[FULL]))
    same = body.measure(scans[FULL])
    assert (same.gain, same.residual) == (1, 0) and same.likeness == pytest.approx(1)
    low = body.measure(scans[LOW])
    inside = body_mask(scans[FULL], SPACING_MM)
    full, fewer = scans[FULL][inside], scans[LOW][inside]
    assert low.gain == pytest.approx(fewer.mean() / full.mean(), rel=1e-4)
    expected = (fewer / low.gain - full).std() / full.mean()
    assert low.residual == pytest.approx(expected, rel=1e-4)
    tripled = body.measure(3 * scans[LOW])
    assert tripled.gain == pytest.approx(3 * low.gain, rel=1e-5)
    assert tripled.residual == pytest.approx(low.residual, rel=1e-3)
    assert tripled.roughness == pytest.approx(low.roughness, rel=1e-3)


def test_grids_may_differ_by_rounding_only(scans):
    full = volume_of(scans[FULL])
    for shift, faulty in ((0.05, False), (0.5, True)):
        affine = full.affine.copy()
        affine[2, 3] += shift
        assert (grid_fault(full.shape, affine, full) is not None) == faulty
    affine = full.affine.copy()
    affine[2, 2] *= 1.004  # adds up over the slices
    assert "another grid" in (grid_fault(full.shape, affine, full) or "")


def test_figures_that_differ_between_doses_are_told():
    facts = Acquisition(weight_kg=70, injected_activity_bq=2.5e8, uptake_s=3600)
    # the window of a lower dose begins a few seconds later
    assert differing_facts({FULL: facts, LOW: replace(facts, uptake_s=3622)}) == []
    assert differing_facts({FULL: facts, LOW: replace(facts, weight_kg=7)}) == [
        "the weight differs between the doses (see 1/20)"
    ]
