"""Coverage of a spread: right where the samples are, else wrong by the closed form."""

import numpy as np
import pytest

from mapdiff.errors import InputError
from mapdiff.evaluation.coverage import LEVELS, coverage, expected_coverage, spread_by_bins

SHAPE = (40, 40, 20)


def drawn(samples: int, factor: float = 1.0, seed: int = 0):
    """Mean and deviation of samples whose spread is `factor` times the reference's, and the reference."""
    rng = np.random.default_rng(seed)
    truth, local = rng.uniform(1, 4, SHAPE), rng.uniform(0.2, 1.5, SHAPE)
    images = truth + factor * local * rng.standard_normal((samples, *SHAPE))
    return images.mean(0), images.std(0, ddof=1), truth + local * rng.standard_normal(SHAPE)


@pytest.mark.parametrize("samples", [2, 4, 16])
def test_right_samples_cover_what_they_say(samples):
    found = {f.name: f.value for f in coverage(*drawn(samples), samples=samples)}
    for level in LEVELS:
        assert found[f"coverage of {100 * level:g} %"] == pytest.approx(100 * level, abs=1.0)
    assert found["spread over error"] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_spread_covers_as_the_closed_form_says(factor):
    samples = 200
    found = {f.name: f.value for f in coverage(*drawn(samples, factor), samples=samples)}
    for level in LEVELS:
        expected = expected_coverage(level, factor)
        assert found[f"coverage of {100 * level:g} %"] == pytest.approx(expected, abs=1.5)
    assert found["spread over error"] == pytest.approx(factor, rel=0.03)


def test_only_the_mask_and_voxels_with_spread_count():
    mean, deviation, reference = drawn(8)
    mask = np.zeros(SHAPE, bool)
    mask[:20] = True
    reference[20:] = 1e6
    deviation[:5] = 0
    figures = coverage(mean, deviation, reference, samples=8, mask=mask, region="body")
    assert figures[-1].value == pytest.approx(1, abs=0.05) and figures[0].region == "body"
    assert str(15 * 40 * 20) in figures[0].convention


def test_what_has_no_spread_is_refused():
    mean, deviation, reference = drawn(4)
    with pytest.raises(InputError, match="at least 2"):
        coverage(mean, deviation, reference, samples=1)
    with pytest.raises(InputError, match="no voxel"):
        coverage(mean, 0 * deviation, reference, samples=4)
    with pytest.raises(InputError, match="shapes"):
        coverage(mean, deviation[1:], reference, samples=4)


@pytest.mark.parametrize("samples", [2, 8])
@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_bins_of_a_right_spread_lie_on_the_line(samples, factor):
    """Also of two samples, whose spread at a voxel is mostly chance."""
    rng = np.random.default_rng(5)
    local = np.linspace(0.3, 3, SHAPE[0])[:, None, None] * np.ones(SHAPE)
    images = factor * local * rng.standard_normal((samples, *SHAPE))
    reference = local * rng.standard_normal(SHAPE)
    mask = np.ones(SHAPE, bool)
    mask[:, :3] = False
    claimed, error = spread_by_bins(
        images.mean(0), images.std(0, ddof=1), reference, samples=samples, mask=mask, spacing_mm=(4, 4, 4)
    )
    right = np.sqrt((1 + 1 / samples) / (1 + factor**2 / samples))
    np.testing.assert_allclose(np.array(claimed) / error, factor * right, rtol=0.12)
    assert claimed[-1] > 4 * claimed[0] and list(claimed) == sorted(claimed)
