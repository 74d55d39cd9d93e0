"""What the simulator promises of physics, by the measurements of benchmarks/physics.py."""

from fractions import Fraction

import numpy as np
import pytest
from physics import autocorrelation, exponent, organ_means, repeats, variances, width_mm

from mapdiff.dose import DOSES
from mapdiff.simulate.scanner import PRESETS, QUADRA

LOW = Fraction(1, 20)
#: Organs of the uniform body that are wide enough for their middle to be untouched by their edge.
DEEP = ("muscle", "lungs", "liver", "spleen", "kidneys", "blood", "stomach", "bowel", "brain", "mediastinum")


@pytest.mark.parametrize("name", list(PRESETS))
def test_variance_over_repeats_is_inverse_to_the_dose(name):
    images, inner = repeats(PRESETS[name], 5.0, 8, 6, tuple(dose for dose in DOSES if dose >= LOW))
    assert exponent(variances(images, inner), LOW) == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize("name", list(PRESETS))
def test_noise_is_correlated_over_the_resolution_and_not_white(name):
    images, inner = repeats(PRESETS[name], 1.65, 16, 3, (LOW,), radius_mm=30.0)
    for axis in range(3):
        correlation = autocorrelation(images[LOW], inner, axis, 6)
        assert correlation[1] > 0.3, axis  # of white noise it is 0
        width = width_mm(correlation, 1.65)
        resolution = PRESETS[name].resolution_mm
        assert 0.7 * resolution < width < 2.5 * resolution, axis


@pytest.mark.slow
def test_the_quadras_reconstruction_has_every_large_organs_mean():
    """Within 2 % at full dose, beyond twice the resolution from the edge."""
    found, _ = organ_means(QUADRA, (3.0, 3.0, 3.0), realisations=1)
    assert set(DEEP) <= found.keys()
    for organ in DEEP:
        assert found[organ] == pytest.approx(1, abs=0.02), organ


def test_the_measure_of_width_knows_white_and_smooth_noise():
    rng = np.random.default_rng(0)
    inner = np.ones((24, 24, 24), bool)
    white = autocorrelation([rng.standard_normal(inner.shape) for _ in range(2)], inner, 0, 3)
    assert white[0] == 1 and abs(white[1]) < 0.05
    assert width_mm([1.0, 0.75, 0.25], 2.0) == pytest.approx(2 * 2.0 * 1.5)
