"""Degradation matching on the Gaussian path: it finds the noise that was put in, and mistakes are errors."""

import dataclasses

import numpy as np
import pytest
import torch

from mapdiff.diffusion.calibration import calibrate, measure_subject, nmae, nrms
from mapdiff.diffusion.gaussian_calibration import (
    SIGMAS,
    anchor_times,
    evenly_spaced,
    gaussian_degradation,
    sigma_of_level,
    time_of_level,
)
from mapdiff.diffusion.schedule import linear, logarithmic
from mapdiff.diffusion.transform import invert, transform
from mapdiff.dose import ANCHORS
from mapdiff.errors import InputError
from synthetic import FULL_LEVEL, nested_scans, nominal_calibration, smooth_body

BODY = smooth_body((64, 64, 64))
INSIDE = BODY[BODY > 0.3]


@pytest.mark.parametrize("measure", [nmae, nrms])
def test_the_curve_rises_and_does_not_depend_on_the_unit(measure):
    curve = gaussian_degradation(INSIDE, measure)
    assert list(curve) == sorted(curve)
    assert gaussian_degradation(4000 * INSIDE, measure) == pytest.approx(curve, rel=1e-4)


def test_small_noise_degrades_as_the_transforms_slope_says():
    """v' = v + sigma noise / T'(v) to first order, T' = 1 / (2 sqrt(v + c)): NMAE by hand."""
    curve = gaussian_degradation(np.full(200_000, 3.0, np.float32), nmae)
    expected = SIGMAS[3] * np.sqrt(2 / np.pi) * 2 * np.sqrt(1.05)
    assert curve[3] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("sigma", [0.03, 0.2, 0.7])
def test_noise_that_was_put_in_is_found_again(sigma):
    calibration = dataclasses.replace(nominal_calibration(), gaussian=gaussian_degradation(INSIDE, nmae))
    x_0 = INSIDE / INSIDE.mean()
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(5))
    y = invert(transform(torch.from_numpy(x_0)) + sigma * noise).numpy()
    level = nmae(y, x_0)
    assert sigma_of_level(calibration, level) == pytest.approx(sigma, rel=0.03)
    schedule = logarithmic()
    assert float(schedule.sigma(time_of_level(calibration, schedule, level))) == pytest.approx(
        sigma, rel=0.04
    )


def test_anchors_come_out_in_order_and_a_coarse_schedule_is_an_error():
    calibration = nominal_calibration()
    times = anchor_times(calibration, logarithmic())
    assert list(times) == ["1/2", "1/4", "1/10"] and list(times.values()) == sorted(set(times.values()))
    quiet = nominal_calibration(FULL_LEVEL / 20)
    with pytest.raises(InputError, match=r"out of order.*'linear'"):
        anchor_times(quiet, linear())


def test_a_cohorts_calibration_has_the_curve_and_an_old_one_says_so(tmp_path):
    subjects = [
        measure_subject(nested_scans(smooth_body(seed=n) + 0.2, seed=n), np.ones((24, 24, 16), bool))
        for n in range(3)
    ]
    found = calibrate(subjects, resamples=20)
    assert found.gaussian is not None and len(found.gaussian) == len(SIGMAS)
    path = tmp_path / "calibration.json"
    path.write_text(found.to_json())
    assert type(found).read(path) == found
    # Noise that is nearly white and uniform on the root's scale lies where its level says.
    times = anchor_times(found, logarithmic())
    assert len(times) == len(ANCHORS)
    with pytest.raises(InputError, match="calibrate"):
        sigma_of_level(dataclasses.replace(found, gaussian=None), 0.1)


def test_evenly_spaced_anchors_are_even():
    assert list(evenly_spaced(nominal_calibration(), logarithmic(), 400).values()) == [100, 200, 300]
