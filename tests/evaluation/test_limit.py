"""The mark beside the network's figures: what Wiener's filter with known spectra would leave."""

import numpy as np
import pytest
from limit import MOST, nmae_of, spectrum, windows


def test_windows_lie_wholly_in_the_mask_and_are_not_too_many():
    mask = np.zeros((60, 40, 30), bool)
    mask[3:55, 5:33, 2:28] = True
    mask[20, 20, 10] = False
    starts = windows(mask, 5)
    assert 0 < len(starts) <= MOST
    assert all(mask[i : i + 5, j : j + 5, k : k + 5].all() for i, j, k in starts)
    assert len(windows(mask, 29)) == 0


def test_the_spectrum_of_white_noise_is_flat_and_a_constant_has_none():
    rng = np.random.default_rng(0)
    starts = windows(np.ones((32, 32, 32), bool), 5)
    white = spectrum(rng.standard_normal((32, 32, 32)), starts, 5)
    far = [white[index] for index in np.ndindex(white.shape) if max(index) in (2, 3)]  # the mean is taken off
    assert np.std(far) < 0.1 * np.mean(far)
    assert spectrum(np.full((32, 32, 32), 7.0), starts, 5).max() < 1e-20


def test_an_estimate_that_leaves_all_noise_is_the_input_and_one_that_leaves_none_the_oracle():
    assert nmae_of(1.0) == pytest.approx(1.0)
    rng = np.random.default_rng(1)  # nested counts: the full dose is the twentieth and 19 others like it
    scans = rng.standard_normal((20, 200_000))
    y, u = scans.mean(axis=0), scans[0]
    oracle = u / 20  # z is 0
    assert nmae_of(0.0) == pytest.approx(np.abs(oracle - y).mean() / np.abs(u - y).mean(), rel=0.01)
