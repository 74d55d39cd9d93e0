"""The noise figure of the UDPET cohort's table."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mapdiff.errors import InputError
from mapdiff.evaluation.noise import NoiseSums, noise_sums, resampled

STEP = (1.65, 1.65, 1.65)


def noisy(shape=(40, 36, 30)):
    body = np.zeros(shape, bool)
    body[10:30, 8:28] = True
    return np.where(body, 2.0, 0.0) + np.random.default_rng(0).random(shape), body


def test_it_is_the_formula():
    suv, body = noisy()
    v = np.log(1 + suv)
    g = gaussian_filter(v, 2, mode="nearest")
    expected = np.abs(v - g).sum() / (g > 0.1).sum()
    sums = noise_sums(suv, STEP, body)
    assert sums.figure == pytest.approx(expected, rel=1e-5)
    assert sums.inside == pytest.approx(np.abs(v - g)[body].sum(), rel=1e-5)
    assert sums.inside_share == pytest.approx(np.abs(v - g)[body].sum() / np.abs(v - g).sum(), rel=1e-5)


def test_slabs_add_up_to_the_whole():
    suv, body = noisy((40, 36, 60))
    ends = 12 * 1.65  # beyond the reach of the smoothing, 4 sigma
    whole = noise_sums(suv, STEP, body, ends)
    middle = 30
    parts = [
        noise_sums(suv[:, :, s], STEP, body[:, :, s], ends)
        for s in (slice(0, middle + 12), slice(middle - 12, 60))
    ]
    both = parts[0] + parts[1]
    assert both.figure == pytest.approx(whole.figure, rel=1e-5) and both.bright == whole.bright


def test_an_even_image_has_no_noise_and_air_counts_as_air():
    body = np.ones((20, 20, 20), bool)
    assert noise_sums(np.full(body.shape, 3.0), STEP, body).figure == pytest.approx(0, abs=1e-6)
    assert noise_sums(noisy()[0], STEP, np.zeros((40, 36, 30), bool)).inside == 0


def test_a_ramp_is_resampled_exactly():
    ramp = np.repeat(np.repeat(np.arange(20, dtype=np.float32)[None, None] * 2.886, 5, 0), 6, 1)
    fine = resampled(ramp, (1.65, 1.65, 2.886))
    assert fine.shape == (5, 6, 34)
    np.testing.assert_allclose(fine[2, 3], np.arange(34) * 1.65, rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_refused():
    suv, body = noisy()
    with pytest.raises(InputError, match="does not fit"):
        noise_sums(suv, STEP, body[1:])
    with pytest.raises(InputError, match="leave nothing"):
        noise_sums(suv, STEP, body, 30)
    assert NoiseSums(1, 1, 10).figure == 0.2
