"""Uptake in lesions, and how a prediction changes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mapdiff.errors import InputError
from mapdiff.evaluation.masks import Lesion, LesionMask
from mapdiff.evaluation.metrics import Figure
from mapdiff.volume import Array, Volume

#: Radius of the sphere of 1 mL that SUVpeak is the mean of (PERCIST), mm.
PEAK_RADIUS_MM = (0.75 * 1000 / np.pi) ** (1 / 3)
#: The metabolic tumour volume is what reaches this part of the lesion's own maximum (EANM: 41 %).
MTV_FRACTION = 0.41


@dataclass(frozen=True)
class Uptake:
    """What one lesion holds in one image.

    Attributes:
        mean: over the mask, in the image's unit (SUVmean where that is SUV).
        maximum: over the mask, in the image's unit (SUVmax).
        peak: highest mean of a sphere of 1 mL whose centre is a voxel of the mask, in the image's unit.
        volume_ml: of the mask, mL.
        mtv_ml: of the voxels of the mask from 41 % of its maximum up, mL.
        tlg: total lesion glycolysis, mean x volume of the mask, unit x mL.
    """

    mean: float
    maximum: float
    peak: float
    volume_ml: float
    mtv_ml: float
    tlg: float


def measure(array: Array, affine: NDArray[np.float64], lesion: Lesion) -> Uptake:
    """Uptake of one lesion.

    Args:
        array: PET image on the lesion's grid, shape (I, J, K), any unit.
        affine: of the image, to RAS+ mm.
        lesion: mask on the same grid.
    """
    values = lesion.voxels(array).astype(np.float64)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    mean, maximum = float(values.mean()), float(values.max())
    volume = values.size * voxel_ml
    hot = int((values >= MTV_FRACTION * maximum).sum())
    return Uptake(mean, maximum, _peak(array, affine, lesion), volume, hot * voxel_ml, mean * volume)


def _peak(array: Array, affine: NDArray[np.float64], lesion: Lesion) -> float:
    """The highest mean over a sphere of 1 mL: voxels by their centres, none beyond the volume."""
    steps = affine[:3, :3]
    reach = np.ceil(PEAK_RADIUS_MM / np.linalg.norm(steps, axis=0)).astype(int) + 1
    around = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1)
    sphere = (np.linalg.norm(around @ steps.T, axis=-1) <= PEAK_RADIUS_MM).astype(np.float64)
    low = [max(0, s.start - r) for s, r in zip(lesion.box, reach, strict=True)]
    high = [min(n, s.stop + r) for s, r, n in zip(lesion.box, reach, array.shape, strict=True)]
    part = array[tuple(map(slice, low, high))].astype(np.float64)
    sums = ndimage.convolve(part, sphere, mode="constant")
    counts = ndimage.convolve(np.ones_like(part), sphere, mode="constant")
    box = tuple(slice(s.start - at, s.stop - at) for s, at in zip(lesion.box, low, strict=True))
    return float((sums / counts)[box][lesion.mask].max())


def lesion_figures(prediction: Volume, reference: Volume, lesions: LesionMask) -> list[Figure]:
    """For every lesion its uptake in both images, and the prediction's bias in per cent.

    Args:
        prediction: on the lesions' grid.
        reference: on the same grid, in the same unit.
        lesions: masks, taken as they are for both images.

    Returns:
        Per lesion and quantity three figures: "suvmean", "suvmean reference" and "suvmean bias", and so on
        for suvmax, suvpeak, tlg and mtv; and its "volume". In another unit than SUV "suv" is left off.

    Raises:
        InputError: the images' units or shapes differ, or the masks lie on another grid.
    """
    if prediction.unit != reference.unit:
        raise InputError(f"units differ: prediction {prediction.unit}, reference {reference.unit}")
    if not prediction.shape == reference.shape == lesions.shape:
        raise InputError("the lesions' masks do not lie on the images' grid")
    figures = []
    for lesion in lesions.lesions:
        found = measure(prediction.array, reference.affine, lesion)
        true = measure(reference.array, reference.affine, lesion)
        words = f"mask as given, {lesion.mask.sum()} voxels"
        figures.append(Figure("volume", true.volume_ml, "mL", words, region=lesion.name))
        for name, unit, convention, x, y in _quantities(found, true, reference.unit):
            convention = f"{convention}; {words}; unit {reference.unit}"
            figures.append(Figure(name, x, unit, convention, region=lesion.name))
            figures.append(Figure(f"{name} reference", y, unit, convention, region=lesion.name))
            bias = 100 * (x / y - 1) if y else float("nan")
            figures.append(
                Figure(f"{name} bias", bias, "%", f"x / y - 1 of: {convention}", region=lesion.name)
            )
    return figures


def _quantities(x: Uptake, y: Uptake, unit: str) -> list[tuple[str, str, str, float, float]]:
    """Name, unit, convention, and the two values of each quantity that has a bias."""
    suv = "suv" if unit == "SUV" else ""
    return [
        (f"{suv}mean", unit, "mean of the mask's voxels", x.mean, y.mean),
        (f"{suv}max", unit, "hottest single voxel of the mask", x.maximum, y.maximum),
        (f"{suv}peak", unit, "hottest 1 mL sphere centred on a voxel of the mask", x.peak, y.peak),
        ("tlg", f"{unit} mL", "mean x volume of the mask", x.tlg, y.tlg),
        ("mtv", "mL", "voxels of the mask from 41 % of its max in the same image up", x.mtv_ml, y.mtv_ml),
    ]
