"""Contrast recovery of lesions against the tissue round them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mapdiff.evaluation.masks import Lesion, LesionMask
from mapdiff.evaluation.metrics import Figure
from mapdiff.volume import Array

#: The shell of tissue round a lesion, mm from the centre of its nearest voxel: beyond its blur, near it.
SHELL_MM = (8.0, 16.0)
#: A lesion that stands out of its shell by less than this part has no contrast to recover.
LEAST_CONTRAST = 0.25


def shell_of(
    lesion: Lesion, everything: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]]:
    """The box and mask of the tissue round a lesion, without any lesion's voxels."""
    reach = [int(np.ceil(SHELL_MM[1] / s)) + 1 for s in spacing_mm]
    box = [
        slice(max(s.start - r, 0), min(s.stop + r, n))
        for s, r, n in zip(lesion.box, reach, everything.shape, strict=True)
    ]
    inside = np.zeros(tuple(s.stop - s.start for s in box), bool)
    place = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(lesion.box, box, strict=True))
    inside[place] = lesion.mask
    where = (box[0], box[1], box[2])
    distance = ndimage.distance_transform_edt(~inside, sampling=spacing_mm)
    return where, (distance >= SHELL_MM[0]) & (distance <= SHELL_MM[1]) & ~everything[where]


def contrast_figures(
    prediction: Array, reference: Array, lesions: LesionMask, spacing_mm: tuple[float, float, float]
) -> list[Figure]:
    """Contrast recovery of each lesion, %: (mean / shell - 1) of the prediction over that of the reference.

    A lesion whose contrast in the reference is below a quarter, or that fills its surroundings, is left out.

    Args:
        prediction: (I, J, K).
        reference: same shape and unit.
        lesions: masks on that grid.
        spacing_mm: voxel size.
    """
    everything = lesions.anywhere
    figures = []
    for lesion in lesions.lesions:
        box, shell = shell_of(lesion, everything, spacing_mm)
        if not shell.any():
            continue
        found, true = (
            float(lesion.voxels(image).mean()) / max(float(image[box][shell].mean()), 1e-12) - 1
            for image in (prediction, reference)
        )
        if true < LEAST_CONTRAST:
            continue
        words = f"lesion over a shell {SHELL_MM[0]:g} to {SHELL_MM[1]:g} mm round it, minus 1"
        figures.append(Figure("contrast recovery", 100 * found / true, "%", words, region=lesion.name))
    return figures
