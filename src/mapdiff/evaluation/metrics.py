"""Image quality figures of a prediction x against a reference y, each with the convention it follows.

Every function takes NumPy arrays of one shape and one unit and works slab by slab in float64, so that a
whole-body volume costs little memory beyond itself. The formulas and their sources are in docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mapdiff.errors import InputError
from mapdiff.volume import Array

Mask = NDArray[np.bool_]

#: The conventions by the name they are reported under.
MAPDIFF, UDPET, YU_GONG = "mapdiff", "udpet", "yu-gong"
#: SUV at which Yu and Gong clip the images, and their SSIM's data range.
YU_GONG_CLIP = 16.0
SSIM_K1, SSIM_K2 = 0.01, 0.03
_SLAB_VOXELS = 2_000_000


@dataclass(frozen=True)
class Figure:
    """One figure as it is printed.

    Attributes:
        name: what is measured, in lower case: "psnr", "ssim", "nmae", "nrmse", "total activity bias", ...
        value: the figure; infinite for the PSNR of identical images.
        unit: of the value: "dB", "%", "mL", "SUV"; "" where it has none.
        convention: peak, data range, mask, unit and clipping, in words.
        protocol: whose convention: "mapdiff", "udpet" (the challenge) or "yu-gong".
        region: what it was measured in: "volume", "body", or a lesion's or organ's name.
    """

    name: str
    value: float
    unit: str
    convention: str
    protocol: str = MAPDIFF
    region: str = "volume"


@dataclass(frozen=True)
class Window:
    """SSIM's local mean in 3D.

    Attributes:
        name: in the convention's words.
        radius: half width in voxels; so much of the volume's edge is left out of the mean.
        sigma: standard deviation of a Gaussian window in voxels; None: a uniform one.
        covariance_factor: 1 for the population's covariance, n / (n - 1) for the sample's.
    """

    name: str
    radius: int
    sigma: float | None
    covariance_factor: float

    def mean(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weighted mean around every voxel."""
        if self.sigma is None:
            return np.asarray(ndimage.uniform_filter(image, 2 * self.radius + 1))
        return np.asarray(ndimage.gaussian_filter(image, self.sigma, radius=self.radius))


#: Wang et al. 2004, in 3D.
GAUSSIAN = Window("3D Gaussian window, sigma 1.5 voxels, 11^3", 5, 1.5, 1.0)
#: scikit-image's default, which the challenge's script and Yu and Gong's take.
UNIFORM = Window("3D uniform window, 7^3, sample covariance", 3, None, 343 / 342)


@dataclass(frozen=True)
class Sums:
    """What the pointwise figures of two images are made of (`sums_of`)."""

    voxels: int
    absolute_error: float
    squared_error: float
    prediction: float
    reference: float
    reference_squared: float
    reference_min: float
    reference_max: float


def psnr(
    prediction: Array,
    reference: Array,
    *,
    peak: float | None = None,
    clip: float | None = None,
    mask: Mask | None = None,
    region: str = "volume",
    unit: str = "",
    protocol: str = MAPDIFF,
    sums: Sums | None = None,
) -> Figure:
    """Peak signal-to-noise ratio, 10 log10(peak^2 / MSE), dB.

    Args:
        prediction: x, shape (I, J, K).
        reference: y, same shape and unit.
        peak: by default the maximum of the whole reference, before clipping and whatever the mask.
        clip: both images are cut off above this value before the error is taken; None: they are not.
        mask: voxels that the error is taken over; None: all.
        region: what the mask is called.
        unit: the images' unit, for the convention's words.
        protocol: whose convention this is.
        sums: of the two images inside the mask, where several figures are made of them (`sums_of`).

    Raises:
        InputError: shapes differ, the mask is empty, or the peak is not above zero.
    """
    sums = sums or sums_of(prediction, reference, mask, clip)
    words = "given" if peak is not None else "max of the whole reference"
    peak = float(reference.max()) if peak is None else peak
    if not peak > 0:
        raise InputError("the reference has no voxel above zero, so PSNR has no peak")
    mse = sums.squared_error / sums.voxels
    value = math.inf if mse == 0 else 10 * math.log10(peak**2 / mse)
    convention = f"peak {_quantity(peak, unit)} ({words}); {_where(region, clip, unit)}"
    return Figure("psnr", value, "dB", convention, protocol, region)


def nmae(
    prediction: Array,
    reference: Array,
    *,
    mask: Mask | None = None,
    region: str = "volume",
    unit: str = "",
    sums: Sums | None = None,
) -> Figure:
    """Normalised mean absolute error, sum |x - y| / sum y.

    Arguments as in `psnr`.

    Raises:
        InputError: shapes differ, the mask is empty, or the reference's sum is not above zero.
    """
    sums = sums or sums_of(prediction, reference, mask)
    value = sums.absolute_error / _positive_total(sums)
    return Figure("nmae", value, "", f"sum |x - y| / sum y; {_where(region, None, unit)}", MAPDIFF, region)


def nrmse(
    prediction: Array,
    reference: Array,
    *,
    mask: Mask | None = None,
    region: str = "volume",
    unit: str = "",
    sums: Sums | None = None,
) -> Figure:
    """Normalised root mean square error, sqrt(sum (x - y)^2 / sum y^2): no air in the denominator.

    Arguments as in `psnr`.

    Raises:
        InputError: shapes differ, the mask is empty, or the reference is all zero.
    """
    sums = sums or sums_of(prediction, reference, mask)
    if sums.reference_squared == 0:
        raise InputError("the reference is all zero, so NRMSE has no denominator")
    value = math.sqrt(sums.squared_error / sums.reference_squared)
    return Figure("nrmse", value, "", f"|x - y| / |y| (L2); {_where(region, None, unit)}", MAPDIFF, region)


def nrmse_udpet(prediction: Array, reference: Array, *, unit: str = "", sums: Sums | None = None) -> Figure:
    """The challenge's NRMSE: RMSE / (max - min of the reference), whole volume.

    Arguments as in `psnr`.

    Raises:
        InputError: shapes differ, or the reference is constant.
    """
    sums = sums or sums_of(prediction, reference)
    extent = sums.reference_max - sums.reference_min
    if extent == 0:
        raise InputError("the reference is constant, so the challenge's NRMSE has no denominator")
    value = math.sqrt(sums.squared_error / sums.voxels) / extent
    convention = (
        f"RMSE / (max - min of the reference, {_quantity(extent, unit)}); {_where('volume', None, unit)}"
    )
    return Figure("nrmse", value, "", convention, UDPET)


def total_activity_bias(
    prediction: Array,
    reference: Array,
    *,
    mask: Mask | None = None,
    region: str = "volume",
    unit: str = "",
    sums: Sums | None = None,
) -> Figure:
    """How much activity is too much or too little: 100 (sum x / sum y - 1), %.

    Arguments as in `psnr`.

    Raises:
        InputError: shapes differ, the mask is empty, or the reference's sum is not above zero.
    """
    sums = sums or sums_of(prediction, reference, mask)
    value = 100 * (sums.prediction / _positive_total(sums) - 1)
    convention = f"sum x / sum y - 1; {_where(region, None, unit)}"
    return Figure("total activity bias", value, "%", convention, MAPDIFF, region)


def ssim(
    prediction: Array,
    reference: Array,
    *,
    data_range: float | None = None,
    clip: float | None = None,
    window: Window = GAUSSIAN,
    mask: Mask | None = None,
    region: str = "volume",
    unit: str = "",
    protocol: str = MAPDIFF,
) -> Figure:
    """Structural similarity in 3D, mean of the map (Wang et al. 2004, K1 = 0.01, K2 = 0.03).

    With the Gaussian window the same as scikit-image's `structural_similarity(gaussian_weights=True,
    use_sample_covariance=False)`, with the uniform one as its default.

    Args:
        prediction: x, shape (I, J, K), each axis at least as long as the window.
        reference: y, same shape and unit.
        data_range: by default the maximum of the whole reference, before clipping.
        clip: both images are cut off above this value; None: they are not.
        window: GAUSSIAN or UNIFORM.
        mask: voxels of the map to average; None: all.
        region: what the mask is called.
        unit: the images' unit, for the convention's words.
        protocol: whose convention this is.

    Raises:
        InputError: shapes differ, an axis is shorter than the window, the mask is empty away from the edge,
            or the data range is not above zero.
    """
    words = "given" if data_range is not None else "max of the whole reference"
    data_range = float(reference.max()) if data_range is None else data_range
    if not data_range > 0:
        raise InputError("the reference has no voxel above zero, so SSIM has no data range")
    factors = (1 / data_range, 1 / data_range)
    value = _mean_ssim(prediction, reference, factors, window, mask, clip)
    where = _where(region, clip, unit)
    convention = f"data range {_quantity(data_range, unit)} ({words}); {window.name}; {where}"
    return Figure("ssim", value, "", convention, protocol, region)


def ssim_udpet(prediction: Array, reference: Array) -> Figure:
    """The challenge's SSIM: each image divided by its own maximum, then scikit-image's default.

    Its script gives no data range, so scikit-image took the range of floating-point images, -1 to 1: a data
    range of 2. Blind to any factor between the two images.

    Raises:
        InputError: as for `ssim`.
    """
    own, other = float(prediction.max()), float(reference.max())
    if not (own > 0 and other > 0):
        raise InputError("an image has no voxel above zero, so SSIM cannot divide it by its maximum")
    value = _mean_ssim(prediction, reference, (0.5 / own, 0.5 / other), UNIFORM, None, None)
    convention = f"each image divided by its own max, data range 2; {UNIFORM.name}; whole volume, no mask"
    return Figure("ssim", value, "", f"{convention}; unclipped", UDPET)


def yu_gong(prediction: Array, reference: Array) -> list[Figure]:
    """PSNR and SSIM of SUV images as Yu and Gong's script takes them.

    Images in SUV, clipped at 16, the prediction at 0 too; PSNR's peak is the reference's unclipped maximum,
    SSIM's data range 16, uniform window.

    Raises:
        InputError: as for `psnr` and `ssim`.
    """
    positive = np.maximum(prediction, 0)
    figures = [
        psnr(positive, reference, clip=YU_GONG_CLIP, unit="SUV", protocol=YU_GONG),
        ssim(
            positive,
            reference,
            data_range=YU_GONG_CLIP,
            clip=YU_GONG_CLIP,
            window=UNIFORM,
            unit="SUV",
            protocol=YU_GONG,
        ),
    ]
    return [replace(figure, convention=f"{figure.convention}; prediction clipped at 0") for figure in figures]


def _quantity(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()


def _where(region: str, clip: float | None, unit: str) -> str:
    """The words for mask, clipping and unit."""
    where = "whole volume, no mask" if region == "volume" else f"inside {region}"
    clipping = "unclipped" if clip is None else f"both images clipped at {_quantity(clip, unit)}"
    return f"{where}; {clipping}" + (f"; unit {unit}" if unit else "")


def _positive_total(sums: Sums) -> float:
    if not sums.reference > 0:
        raise InputError("the reference's sum is not above zero, so nothing can be divided by it")
    return sums.reference


def _check(prediction: Array, reference: Array, mask: Mask | None) -> None:
    if prediction.shape != reference.shape:
        raise InputError(f"shapes differ: prediction {prediction.shape}, reference {reference.shape}")
    if mask is not None and mask.shape != reference.shape:
        raise InputError(f"a mask of shape {mask.shape} does not fit images of {reference.shape}")


def _slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices along the first axis of about _SLAB_VOXELS each."""
    thick = max(1, _SLAB_VOXELS // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], thick):
        yield slice(start, min(start + thick, shape[0]))


def sums_of(prediction: Array, reference: Array, mask: Mask | None = None, clip: float | None = None) -> Sums:
    """All sums in one pass; float64. Arguments as in `psnr`.

    Raises:
        InputError: shapes differ, the mask is empty, or a voxel is not a finite number.
    """
    _check(prediction, reference, mask)
    voxels, total = 0, np.zeros(5)
    low, high = math.inf, -math.inf
    for slab in _slabs(reference.shape):
        x, y = prediction[slab].astype(np.float64), reference[slab].astype(np.float64)
        if mask is not None:
            x, y = x[mask[slab]], y[mask[slab]]
        if x.size == 0:
            continue
        if clip is not None:
            x, y = np.minimum(x, clip), np.minimum(y, clip)
        error = x - y
        low, high = min(low, float(y.min())), max(high, float(y.max()))
        voxels += x.size
        total += (np.abs(error).sum(), (error**2).sum(), x.sum(), y.sum(), (y**2).sum())
    if voxels == 0:
        raise InputError("the mask is empty, so there is nothing to measure in")
    if not np.isfinite(total).all():
        raise InputError("an image has voxels that are not finite numbers")
    absolute, squared, prediction_sum, reference_sum, reference_squared = (float(part) for part in total)
    return Sums(voxels, absolute, squared, prediction_sum, reference_sum, reference_squared, low, high)


def _mean_ssim(
    prediction: Array,
    reference: Array,
    factors: tuple[float, float],
    window: Window,
    mask: Mask | None,
    clip: float | None,
) -> float:
    """Mean SSIM at data range 1 of the images times their factors; slab by slab, with a halo."""
    _check(prediction, reference, mask)
    edge = window.radius
    if min(reference.shape) < 2 * edge + 1:
        width = 2 * edge + 1
        raise InputError(f"SSIM's window needs {width} voxels along each axis, this has {reference.shape}")
    total, voxels = 0.0, 0
    inner = tuple(slice(edge, length - edge) for length in reference.shape)
    for slab in _slabs((reference.shape[0] - 2 * edge, *reference.shape[1:])):
        halo = slice(slab.start, slab.stop + 2 * edge)
        x, y = prediction[halo].astype(np.float64), reference[halo].astype(np.float64)
        if clip is not None:
            x, y = np.minimum(x, clip), np.minimum(y, clip)
        quality = _ssim_map(x * factors[0], y * factors[1], window)[edge:-edge, inner[1], inner[2]]
        if mask is not None:
            quality = quality[mask[slab.start + edge : slab.stop + edge, inner[1], inner[2]]]
        total += float(quality.sum())
        voxels += quality.size
    if voxels == 0:
        raise InputError("the mask is empty away from the volume's edge, so SSIM has nothing to average")
    if not math.isfinite(total):
        raise InputError("an image has voxels that are not finite numbers")
    return total / voxels


def _ssim_map(x: NDArray[np.float64], y: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Wang et al. 2004, Eq. 13, at every voxel; data range 1."""
    c1, c2, factor = SSIM_K1**2, SSIM_K2**2, window.covariance_factor
    mean_x, mean_y = window.mean(x), window.mean(y)
    covariance = factor * (window.mean(x * y) - mean_x * mean_y)
    variances = factor * (window.mean(x * x + y * y) - mean_x**2 - mean_y**2)
    quality = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    quality /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    return quality
