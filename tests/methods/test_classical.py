"""The untrained rivals: equivariant to the unit, better than the input once tuned."""

import numpy as np
import pytest

from mapdiff.body import body_mask
from mapdiff.dose import FULL
from mapdiff.errors import InputError
from mapdiff.evaluation.metrics import psnr
from mapdiff.methods.classical import CLASSICAL, noise_of, tune
from synthetic import nested_scans, smooth_body, volume_of


def score(x, y):
    return psnr(x, y).value


@pytest.fixture(scope="module")
def pairs():
    found = []
    for seed in range(2):
        scans = nested_scans(smooth_body(seed=seed), seed=seed)
        low = min(scans, key=lambda dose: abs(float(dose) - 0.05))
        found.append((volume_of(4000 * scans[low]), volume_of(4000 * scans[FULL])))
    return found


@pytest.mark.parametrize("name", list(CLASSICAL))
def test_tuned_it_beats_the_input_and_every_other_parameter(name, pairs):
    method = CLASSICAL[name]
    best = tune(method, pairs, score)
    assert best in method.grid

    def mean(value):
        return np.mean([score(method.run(low, value), full.array) for low, full in pairs])

    assert mean(best) > 1 + np.mean([score(low.array, full.array) for low, full in pairs])
    assert all(mean(value) <= mean(best) for value in method.grid)


@pytest.mark.parametrize("name", list(CLASSICAL))
def test_the_unit_plays_no_part(name, pairs):
    low = pairs[0][0]
    one = CLASSICAL[name].run(low, 1.0)
    other = CLASSICAL[name].run(low.with_array(low.array / np.float32(4000)), 1.0)
    np.testing.assert_allclose(4000 * other, one, rtol=1e-3, atol=1)


def test_activity_is_kept_where_nothing_tells_voxels_apart():
    """The mean of roots, squared, would lack the roots' variance: a tenth of the activity here."""
    z = 4000 * (smooth_body() > 0)
    noise = np.random.default_rng(0).standard_normal(z.shape)
    low = volume_of(z * (1 + 0.4 * noise))
    inside = body_mask(low.array, low.spacing)
    for name, value in (("gaussian", 4.0), ("nlm", 4.0)):
        found = CLASSICAL[name].run(low, value)
        assert found[inside].mean() == pytest.approx(low.array[inside].mean(), rel=0.02)


def test_white_noise_is_measured():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3, 20)[:, None, None] + 0.2 * rng.standard_normal((20, 30, 40))
    assert noise_of(x.astype(np.float32), np.ones(x.shape, bool)) == pytest.approx(0.2, rel=0.03)
    body = body_mask(smooth_body(), (4.0, 4.0, 4.0))
    assert noise_of(np.ones(body.shape, np.float32), body) == 1e-6


def test_nothing_to_tune_on_is_an_error():
    with pytest.raises(InputError, match="gaussian"):
        tune(CLASSICAL["gaussian"], [], score)
