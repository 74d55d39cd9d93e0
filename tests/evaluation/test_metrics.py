"""Metrics: hand cases, agreement with scikit-image, and what each convention is blind to."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mapdiff.errors import InputError
from mapdiff.evaluation import metrics
from mapdiff.evaluation.metrics import (
    GAUSSIAN,
    UNIFORM,
    nmae,
    nrmse,
    nrmse_udpet,
    psnr,
    ssim,
    ssim_udpet,
    total_activity_bias,
    yu_gong,
)

EVERY = [psnr, ssim, ssim_udpet, nmae, nrmse, nrmse_udpet, total_activity_bias]


@pytest.fixture
def pair():
    rng = np.random.default_rng(3)
    y = rng.gamma(0.7, 2.0, (23, 19, 27)).astype(np.float32)
    y[8:11, 8:11, 8:11] = 40
    return (y * rng.normal(1.05, 0.5, y.shape)).astype(np.float32), y


def test_hand_case():
    y = np.array([0.0, 1.0, 2.0, 5.0]).reshape(4, 1, 1)
    x = np.array([1.0, 1.0, 0.0, 5.0]).reshape(4, 1, 1)
    assert nmae(x, y).value == pytest.approx(3 / 8)
    assert nrmse(x, y).value == pytest.approx(math.sqrt(5 / 30))
    assert nrmse_udpet(x, y).value == pytest.approx(math.sqrt(5 / 4) / 5)
    assert total_activity_bias(x, y).value == pytest.approx(100 * (7 / 8 - 1))
    assert psnr(x, y).value == pytest.approx(10 * math.log10(25 / (5 / 4)))
    assert psnr(x, y, peak=10).value == pytest.approx(10 * math.log10(100 / (5 / 4)))
    assert psnr(x, y, clip=1.5).value == pytest.approx(10 * math.log10(25 / (3.25 / 4)))
    mask = np.array([True, False, False, True]).reshape(4, 1, 1)
    assert nmae(x, y, mask=mask).value == pytest.approx(1 / 5)
    assert total_activity_bias(x, y, mask=mask).value == pytest.approx(20)


def test_identical_images(pair):
    _, y = pair
    assert psnr(y, y).value == math.inf
    assert nmae(y, y).value == nrmse(y, y).value == total_activity_bias(y, y).value == 0
    assert ssim(y, y).value == pytest.approx(1)
    assert [figure.value for figure in yu_gong(y, y)] == [math.inf, pytest.approx(1)]


@pytest.mark.parametrize("slab_voxels", [1, 3000, 10**9])
def test_ssim_and_psnr_are_scikit_images(pair, slab_voxels, monkeypatch):
    monkeypatch.setattr(metrics, "_SLAB_VOXELS", slab_voxels)
    x, y = (image.astype(np.float64) for image in pair)
    peak = float(y.max())
    assert psnr(x, y).value == pytest.approx(peak_signal_noise_ratio(y, x, data_range=peak))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(y, x, data_range=peak, **options)
    assert ssim(x, y, window=GAUSSIAN).value == pytest.approx(expected, abs=1e-6)
    assert expected < 0.95  # or agreement would prove nothing
    expected = structural_similarity(y / y.max(), x / x.max(), data_range=2)
    assert ssim_udpet(x, y).value == pytest.approx(expected, abs=1e-6)
    clipped = [np.clip(image, 0, 16) for image in (y, x)]
    expected = structural_similarity(*clipped, data_range=16)
    assert yu_gong(x, y)[1].value == pytest.approx(expected, abs=1e-6)
    expected = 10 * math.log10(peak**2 / ((clipped[0] - clipped[1]) ** 2).mean())
    assert yu_gong(x, y)[0].value == pytest.approx(expected)


def test_masked_ssim_averages_scikit_images_map(pair):
    x, y = (image.astype(np.float64) for image in pair)
    mask = np.random.default_rng(1).random(y.shape) < 0.3
    _, quality = structural_similarity(y, x, data_range=40, full=True)
    inner = (slice(3, -3),) * 3
    expected = quality[inner][mask[inner]].mean()
    found = ssim(x, y, data_range=40, mask=mask, window=UNIFORM, region="lungs")
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert "inside lungs" in found.convention


def test_no_figure_depends_on_the_unit(pair):
    x, y = pair
    for figure in EVERY:
        assert figure(3700 * x, 3700 * y).value == pytest.approx(figure(x, y).value, rel=1e-4)


def test_what_is_symmetric_and_what_is_not(pair):
    x, y = pair
    assert psnr(x, y, peak=40).value == pytest.approx(psnr(y, x, peak=40).value)
    assert ssim(x, y, data_range=40).value == pytest.approx(ssim(y, x, data_range=40).value)
    assert nmae(x, y).value != pytest.approx(nmae(y, x).value)
    up, down = total_activity_bias(x, y).value, total_activity_bias(y, x).value
    assert (1 + up / 100) * (1 + down / 100) == pytest.approx(1)


def test_only_the_challenges_ssim_is_blind_to_a_factor(pair):
    _, y = pair
    assert ssim_udpet(1.5 * y, y).value == pytest.approx(1, abs=1e-6)
    assert ssim(1.5 * y, y).value < 0.99
    assert nmae(1.5 * y, y).value == pytest.approx(0.5, rel=1e-5)


def test_more_noise_is_worse(pair):
    _, y = pair
    noise = np.random.default_rng(0).standard_normal(y.shape)
    figures = {f: [f(y + s * noise, y).value for s in (0.1, 0.5, 2)] for f in EVERY[:6]}
    for figure, values in figures.items():
        falls = figure in (psnr, ssim, ssim_udpet)
        assert values == sorted(values, reverse=falls), figure.__name__


def test_every_figure_names_its_convention(pair):
    x, y = pair
    assert "max of the whole reference" in psnr(x, y, unit="SUV").convention
    assert "40 SUV" in psnr(x, y, unit="SUV").convention
    assert "data range" in ssim(x, y).convention
    mask = y > 1
    for figure in (psnr, nmae, nrmse, total_activity_bias):
        assert "no mask" in figure(x, y).convention
        assert "unclipped" in figure(x, y).convention
        assert "inside body" in figure(x, y, mask=mask, region="body").convention


def test_what_cannot_be_measured_is_refused(pair):
    x, y = pair
    empty = np.zeros(y.shape, bool)
    for figure in EVERY:
        with pytest.raises(InputError, match="shapes differ"):
            figure(x[1:], y)
    for figure in (psnr, nmae, nrmse, total_activity_bias, ssim):
        with pytest.raises(InputError, match="mask is empty"):
            figure(x, y, mask=empty)
        with pytest.raises(InputError):
            figure(x, 0 * y)
    with pytest.raises(InputError, match="11 voxels"):
        ssim(x[:10], y[:10])
    with pytest.raises(InputError, match="not finite"):
        nmae(np.where(y > 30, np.nan, x), y)
    with pytest.raises(InputError, match="constant"):
        nrmse_udpet(x, 0 * y + 3)


def test_integers_do_not_wrap():
    y = np.full((2, 2, 2), 200, np.uint8)
    assert nmae(y + 50, y).value == pytest.approx(0.25)
    assert nmae(y - 50, y).value == pytest.approx(0.25)
