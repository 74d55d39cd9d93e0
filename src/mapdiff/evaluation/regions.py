"""Mean and maximum within the organs of a label map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mapdiff.errors import InputError
from mapdiff.evaluation.metrics import Figure
from mapdiff.volume import Array


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
        mean of the prediction).

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


def _pairs(x: Array, y: Array) -> list[tuple[float, float]]:
    return [(float(x.mean()), float(y.mean())), (float(x.max()), float(y.max()))]
