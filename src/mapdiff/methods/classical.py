"""The untrained rivals, tuned on validation subjects: a Gaussian filter and non-local means in 3D."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, uniform_filter

from mapdiff.body import air_widths, body_mask, body_scale, near_body
from mapdiff.diffusion.transform import transform
from mapdiff.errors import InputError
from mapdiff.volume import Array, Volume

FWHM_PER_SIGMA = 2.3548
#: Non-local means (Buades et al. 2005): edges of the compared patches and reach of the search, voxels.
NLM_PATCH, NLM_REACH = 3, 3
#: Factor of the linear values beside the transformed ones, which alone shall tell patches apart.
FAINT = np.float32(1e-4)


def gaussian(volume: Volume, fwhm_mm: float) -> Array:
    """The volume under a Gaussian filter of that width."""
    sigma = [fwhm_mm / FWHM_PER_SIGMA / s for s in volume.spacing]
    filtered: Array = gaussian_filter(volume.array.astype(np.float32), sigma)
    return filtered


def nlm(volume: Volume, strength: float) -> Array:
    """The volume under 3D non-local means (scikit-image's fast form), alike on the transformed scale.

    Patches are compared on that scale, where the noise is nearly uniform, so that one filter strength serves
    faint and bright tissue; what is averaged are the linear values, since the mean of roots, squared, lacks
    their variance. It works on the body's box and the air near it; beyond, the air is averaged over boxes as
    wide.

    Args:
        volume: the scan.
        strength: the filter's h in units of the noise found in the image.
    """
    from skimage.restoration import denoise_nl_means

    body = body_mask(volume.array, volume.spacing)
    scale = np.float32(body_scale(volume.array, body))
    y = volume.array.astype(np.float32) / scale
    x = transform(torch.from_numpy(y)).numpy()
    box = find_objects(near_body(body, volume.spacing).astype(np.uint8))[0]
    filtered: Array = uniform_filter(y, air_widths(volume.spacing), mode="nearest")
    # One filter averages both channels with the same weights. The library takes the mean of a patch's
    # squared differences over the channels too, hence the root of two; the second adds next to nothing.
    filtered[box] = denoise_nl_means(
        np.stack([x[box], FAINT * y[box]], axis=-1),
        patch_size=NLM_PATCH,
        patch_distance=NLM_REACH,
        h=strength * noise_of(x, body) / 2**0.5,
        fast_mode=True,
        channel_axis=-1,
    )[..., 1]
    filtered[box] /= FAINT
    filtered *= scale
    return filtered


def noise_of(x: NDArray[np.float32], body: NDArray[np.bool_]) -> float:
    """Standard deviation of the noise by the median of second differences along k, inside the body.

    Correlated noise comes out too small; tuning the strength makes up for that.
    """
    inside = body[:, :, 2:] & body[:, :, 1:-1] & body[:, :, :-2]
    second = (x[:, :, 2:] - 2 * x[:, :, 1:-1] + x[:, :, :-2])[inside]
    return max(float(np.median(np.abs(second))) / 0.6745 / 6**0.5, 1e-6)


@dataclass(frozen=True)
class Classical:
    """An untrained method with one parameter.

    Attributes:
        name: "gaussian" or "nlm".
        run: the volume under that parameter.
        grid: the parameters that tuning tries.
        unit: of the parameter.
        edition: raised by hand where it comes to give other images: benchmarks then tune and run it anew.
    """

    name: str
    run: Callable[[Volume, float], Array]
    grid: tuple[float, ...]
    unit: str
    edition: int = 1


CLASSICAL = {
    "gaussian": Classical(
        "gaussian", gaussian, tuple(float(w) for w in np.arange(2.0, 16.1, 0.5)), "mm FWHM"
    ),
    "nlm": Classical(
        "nlm", nlm, (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0, 2.8, 4.0), "times the noise", 2
    ),
}


def tune(
    method: Classical, pairs: Sequence[tuple[Volume, Volume]], score: Callable[[Array, Array], float]
) -> float:
    """The parameter with the best mean score over validation subjects.

    Every fourth one of the grid is tried, then the neighbours of the best, two apart and one apart: as a
    function of its strength a filter's score has one peak.

    Args:
        method: what to tune.
        pairs: low dose and reference of each subject.
        score: of a prediction against a reference, higher is better.

    Raises:
        InputError: there is no pair.
    """
    if not pairs:
        raise InputError(f"no validation subject to tune {method.name} on")

    @functools.cache
    def mean(index: int) -> float:
        value = method.grid[index]
        return float(np.mean([score(method.run(low, value), reference.array) for low, reference in pairs]))

    best = max(range(0, len(method.grid), 4), key=mean)
    for stride in (2, 1):
        around = (best - stride, best, best + stride)
        best = max((index for index in around if 0 <= index < len(method.grid)), key=mean)
    return method.grid[best]
