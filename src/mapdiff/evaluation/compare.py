"""Every figure of a prediction against a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mapdiff.body import body_mask
from mapdiff.errors import InputError, UnitError
from mapdiff.evaluation import metrics
from mapdiff.evaluation.lesions import lesion_figures
from mapdiff.evaluation.masks import LesionMask, same_grid
from mapdiff.evaluation.metrics import GAUSSIAN, UDPET, UNIFORM, Figure, Mask, Sums
from mapdiff.volume import UNKNOWN, Array, Volume

#: SUV factors that differ by less than this part, as figures that were rounded do, are called the same.
SAME_FACTOR = 1e-3


def compare(prediction: Volume, reference: Volume, lesions: LesionMask | None = None) -> list[Figure]:
    """All figures, in SUV where both images can be had in it, otherwise in the unit both are stored in.

    Args:
        prediction: the image to be judged.
        reference: the image it is judged by, on the same grid.
        lesions: masks on that grid.

    Returns:
        Figures over the whole volume and inside the reference's body in our convention, the challenge's
        (udpet), Yu and Gong's (only in SUV), and those of the lesions. SSIM is left out of a volume that is
        thinner than its window.

    Raises:
        InputError: the grids differ, or the units cannot be reconciled.
    """
    if not same_grid(reference.shape, reference.affine, prediction.shape, prediction.affine):
        raise InputError(
            f"prediction and reference are not on one grid: {_grid(prediction)} against {_grid(reference)}"
        )
    prediction, reference, remark = common_unit(prediction, reference)
    x, y, unit = prediction.array, reference.array, reference.unit
    sums = metrics.sums_of(x, y)
    figures = volume_figures(x, y, unit, sums=sums) + _body_figures(x, y, reference)
    figures += _other_conventions(x, y, unit, sums)
    if lesions is not None:
        figures += lesion_figures(prediction, reference, lesions)
    return [replace(figure, convention=f"{figure.convention}; {remark}") for figure in figures]


def volume_figures(
    x: Array, y: Array, unit: str, similarity: bool = True, sums: Sums | None = None
) -> list[Figure]:
    """The figures over the whole volume in our convention.

    Args:
        x: the image to be judged, (I, J, K).
        y: the image it is judged by, the same shape and unit.
        unit: of both.
        similarity: SSIM too, where the volume is thick enough for its window.
        sums: of the two images, where they are there already.
    """
    sums = metrics.sums_of(x, y) if sums is None else sums
    psnr, *others = _pointwise(x, y, unit, sums)
    thick = similarity and _thick_enough(y, GAUSSIAN)
    return [psnr, *([metrics.ssim(x, y, unit=unit)] if thick else []), *others]


def _body_figures(x: Array, y: Array, reference: Volume) -> list[Figure]:
    body = body_mask(y, reference.spacing)
    figures = _pointwise(x, y, reference.unit, metrics.sums_of(x, y, body), body, "body")
    return [replace(f, convention=f"{f.convention}; body found from the reference") for f in figures]


def _pointwise(
    x: Array, y: Array, unit: str, sums: Sums, mask: Mask | None = None, region: str = "volume"
) -> list[Figure]:
    """The figures of our convention that are made of one pass over the images; PSNR first."""
    return [
        metrics.psnr(x, y, mask=mask, region=region, unit=unit, sums=sums),
        metrics.nmae(x, y, mask=mask, region=region, unit=unit, sums=sums),
        metrics.nrmse(x, y, mask=mask, region=region, unit=unit, sums=sums),
        metrics.total_activity_bias(x, y, mask=mask, region=region, unit=unit, sums=sums),
    ]


def _other_conventions(x: Array, y: Array, unit: str, sums: Sums) -> list[Figure]:
    figures = [
        metrics.psnr(x, y, unit=unit, protocol=UDPET, sums=sums),
        metrics.nrmse_udpet(x, y, unit=unit, sums=sums),
    ]
    if _thick_enough(y, UNIFORM):
        figures.append(metrics.ssim_udpet(x, y))
        if unit == "SUV":
            figures += metrics.yu_gong(x, y)
    return figures


def _thick_enough(array: Array, window: metrics.Window) -> bool:
    return bool(min(array.shape) > 2 * window.radius)


def common_unit(prediction: Volume, reference: Volume) -> tuple[Volume, Volume, str]:
    """Both images in one unit, and how that was done, in words (`common_factors`).

    Raises:
        InputError: the stored units differ and one cannot be had in SUV.
    """
    factors, unit, remark = common_factors([prediction, reference])
    x, y = (
        volume if factor == 1 else replace(volume, array=volume.array * np.float32(factor), unit=unit)
        for volume, factor in zip((prediction, reference), factors, strict=True)
    )
    return x, y, remark


def common_factors(volumes: Sequence[Volume]) -> tuple[list[float], str, str]:
    """What each image is multiplied by to have all in one unit, that unit, and how, in words.

    SUV where each header gives it; where only some of several images in Bq/mL tell their factor, the last
    one that does serves those that do not; else the unit all are stored in. Where images in Bq/mL differ in
    the patient's weight alone, the last one's serves all: a corrected weight is no error of the image.

    Raises:
        InputError: the stored units differ and one cannot be had in SUV.
    """
    factors = [_suv_factor(volume) for volume in volumes]
    told = [factor for factor in factors if factor is not None]
    units = {volume.unit for volume in volumes}
    if len(told) == len(volumes):
        remark = "SUV by body weight"
        if max(told) > (1 + SAME_FACTOR) * min(told) and units == {"Bq/mL"}:
            one_scan = _weights_alone(volumes, told)
            remark += ", by the last image's weight" if one_scan else ", each by its own header"
            remark += f" (factors from {min(told):.4g} to {max(told):.4g})"
            told = [told[-1]] * len(volumes) if one_scan else told
        return told, "SUV", remark
    if len(units) > 1:
        raise InputError(
            f"the images are in different units ({', '.join(sorted(units))}) and not all can be had in SUV; "
            "give all in one unit"
        )
    unit = units.pop()
    if told:
        remark = "SUV by body weight, where a header lacks it by the other image's"
        return [told[-1] if factor is None else factor for factor in factors], "SUV", remark
    what = "unit unknown" if unit == UNKNOWN else f"{unit}, SUV not known"
    return [1.0] * len(volumes), unit, f"voxels as stored ({what})"


def _weights_alone(volumes: Sequence[Volume], factors: Sequence[float]) -> bool:
    """Whether SUV factors differ by the weights that the headers tell, and by nothing else."""
    weights = [volume.acquisition.weight_kg for volume in volumes]
    parts = [factor / weight for factor, weight in zip(factors, weights, strict=True) if weight]
    return len(parts) == len(factors) and max(parts) <= (1 + SAME_FACTOR) * min(parts)


def _suv_factor(volume: Volume) -> float | None:
    """What one unit of the image is in SUV; None where the header does not tell."""
    one = replace(volume, array=volume.array[:1, :1, :1] * 0 + 1)
    try:
        return float(one.to("SUV").array.item())
    except UnitError:
        return None


def _grid(volume: Volume) -> str:
    size = " x ".join(map(str, volume.shape))
    step = " x ".join(f"{length:.3f}" for length in volume.spacing)
    start = ", ".join(f"{place:.1f}" for place in volume.affine[:3, 3])
    return f"{size} voxels of {step} mm from ({start})"
