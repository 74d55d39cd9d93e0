"""A mean over a width in mm keeps what there is, and ends where it says."""

import numpy as np
import pytest

from mapdiff.diffusion.smoothing import reach, smooth


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (2.0, 3.0, 4.0)])
def test_a_point_is_spread_over_the_width_and_no_further_than_its_reach(spacing):
    point = np.zeros((41, 41, 41), np.float32)
    point[20, 20, 20] = 1
    mean = smooth(point, 12.0, spacing)
    assert mean.sum() == pytest.approx(1, rel=1e-4)
    for axis, step in enumerate(spacing):
        profile = np.moveaxis(mean, axis, 0)[:, 20, 20]
        half = np.interp(6.0, np.arange(21) * step, profile[20:])
        assert half == pytest.approx(profile[20] / 2, rel=0.05)
        ends = np.flatnonzero(mean.any(axis=tuple(a for a in range(3) if a != axis)))
        assert ends[0] == 20 - reach(12.0, step) and ends[-1] == 20 + reach(12.0, step)


def test_an_even_image_stays_even_up_to_its_border():
    even = np.full((9, 7, 5), 3.0, np.float32)
    np.testing.assert_allclose(smooth(even, 30.0, (4.0, 4.0, 4.0)), even, rtol=1e-5)
