"""Mean, maximum and noise within the organs of a label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mapdiff.errors import InputError
from mapdiff.evaluation.metrics import Figure
from mapdiff.volume import Array

#: How far from an organ's surface its noise is measured: nearer, partial volume is what varies.
DEPTH_MM = 10.0


def region_figures(
    prediction: Array, reference: Array, labels: Array, names: Mapping[int, str], *, unit: str = ""
) -> list[Figure]:
    """Bias of the mean and the maximum in every named region, and the noise in it.

    Args:
        prediction: x, shape (I, J, K).
        reference: y, same shape and unit.
        labels: integers, same shape.
        names: the regions wanted, by label; one without a voxel is left out.
        unit: the images' unit.

    Returns:
        Per region "mean", "mean reference", "mean bias", "max bias" and "cov" (standard deviation over
        mean of the prediction: of a whole organ mostly its edges, see `interior_cov`).

    Raises:
        InputError: shapes differ, or none of the regions has a voxel.
    """
    shapes = (prediction.shape, reference.shape, labels.shape)
    if len(set(shapes)) > 1:
        raise InputError(f"the shapes of prediction, reference and labels differ: {shapes}")
    figures = []
    for label, name in names.items():
        inside = labels == label
        if not inside.any():
            continue
        x, y = prediction[inside].astype(np.float64), reference[inside].astype(np.float64)
        words = f"label {label}, {x.size} voxels" + (f"; unit {unit}" if unit else "")
        mean_bias, max_bias = (100 * (a / b - 1) if b else float("nan") for a, b in _pairs(x, y))
        figures += [
            Figure("mean", float(x.mean()), unit, words, region=name),
            Figure("mean reference", float(y.mean()), unit, words, region=name),
            Figure("mean bias", mean_bias, "%", f"mean x / mean y - 1; {words}", region=name),
            Figure("max bias", max_bias, "%", f"max x / max y - 1, single voxels; {words}", region=name),
        ]
        if x.mean() > 0:
            cov = 100 * float(x.std() / x.mean())
            figures.append(Figure("cov", cov, "%", f"standard deviation / mean of x; {words}", region=name))
    if not figures:
        raise InputError(f"the label map holds none of {', '.join(names.values())}")
    return figures


def interior_cov(
    image: Array,
    organ: NDArray[np.bool_],
    lesions: NDArray[np.bool_] | None,
    spacing_mm: Sequence[float],
    name: str,
) -> Figure | None:
    """Noise in an organ: standard deviation / mean, %, where neither its edges nor its lesions are.

    The structure inside the organ is still in it: the noise-free image's own value says how much that is.

    Args:
        image: shape (I, J, K).
        organ: its voxels, same shape.
        lesions: theirs, which are kept `DEPTH_MM` away from too; None where there are none.
        spacing_mm: voxel size along i, j, k.
        name: of the organ.

    Returns:
        "interior cov"; None where no voxel lies `DEPTH_MM` deep, or their mean is not positive.
    """
    box = ndimage.find_objects(organ.astype(np.uint8))
    if not box:
        return None
    free = organ[box[0]] if lesions is None else organ[box[0]] & ~lesions[box[0]]
    # The box's own border is the organ's, so what lies beyond it counts as outside.
    depth = ndimage.distance_transform_edt(np.pad(free, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    x = image[box[0]][depth >= DEPTH_MM].astype(np.float64)
    if not x.size or x.mean() <= 0:
        return None
    words = f"standard deviation / mean of x, {DEPTH_MM:.0f} mm inside, {x.size} voxels"
    return Figure("interior cov", 100 * float(x.std() / x.mean()), "%", words, region=name)


def _pairs(x: Array, y: Array) -> list[tuple[float, float]]:
    return [(float(x.mean()), float(y.mean())), (float(x.max()), float(y.max()))]
