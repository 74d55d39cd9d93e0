"""What a page tells of each image: its voxels on the page's grid, and figures measured on the full scan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapdiff.errors import InputError
from mapdiff.evaluation.compare import common_factors
from mapdiff.evaluation.masks import same_grid
from mapdiff.evaluation.metrics import GAUSSIAN, nmae, psnr, ssim
from mapdiff.report.embed import Layer, PageGrid, body_or_all, plan_grid, reduced
from mapdiff.volume import Volume

#: Layers with a meaning of their own; the others are stages, by their dose.
INPUT, RESULT, REFERENCE, DEVIATION = "input", "result", "reference", "deviation"
#: SSIM of more voxels than this takes minutes: it is left to `mapdiff evaluate`.
MOST_SSIM_VOXELS = 40_000_000


@dataclass(frozen=True)
class Quality:
    """Figures against the reference, whole volume, no mask; SSIM is None where it was left out."""

    psnr: float
    nmae: float
    ssim: float | None


@dataclass(frozen=True)
class Row:
    """What the table says of one image, measured on the scan as it is, in the page's unit.

    Attributes:
        key: of the layer.
        label: the image.
        body_mean: mean inside the body.
        maximum: largest voxel.
        total: sum over all voxels.
        activity_mbq: activity in the field of view, MBq; None where the image is not in Bq/mL.
        quality: against the reference; None where there is none, and for the reference itself.
    """

    key: str
    label: str
    body_mean: float
    maximum: float
    total: float
    activity_mbq: float | None
    quality: Quality | None


@dataclass(frozen=True)
class Measured:
    """All images of a page.

    Attributes:
        grid: of the page's volumes.
        unit: of all values: "SUV", or the unit all images are stored in.
        remark: how that unit was had, in words.
        values: by layer key, voxels on the grid in that unit.
        rows: by layer key, all but the deviation.
        peak: the reference's maximum; None where there is no reference.
    """

    grid: PageGrid
    unit: str
    remark: str
    values: dict[str, NDArray[np.float32]]
    rows: dict[str, Row]
    peak: float | None


def measure(layers: Sequence[Layer], most_voxels: int) -> Measured:
    """Load every image once, bring it onto the page's grid, measure it, and let it go.

    The grid and the body are those of the result, or of the last image where none is called so. A reference
    stays in memory beside the image that is measured against it.

    Args:
        layers: the page's images, of one grid; all in one unit, but the reference.
        most_voxels: of one volume in the page.

    Raises:
        InputError: there is no image, or their grids or units differ.
    """
    images = [layer for layer in layers if layer.key != DEVIATION]
    if not images:
        raise InputError("a page needs one image or more")
    main = next((layer for layer in images if layer.key == RESULT), images[-1])
    truth = next((layer for layer in images if layer.key == REFERENCE and layer is not main), None)
    volume = main.load()
    reference = None if truth is None else truth.load()
    if reference is not None and not same_grid(
        volume.shape, volume.affine, reference.shape, reference.affine
    ):
        raise InputError("the reference does not lie on the scan's grid")
    factors, unit, remark = common_factors([volume] if reference is None else [volume, reference])
    stored = volume.unit
    body = body_or_all(volume)
    grid = plan_grid(volume, most_voxels, body)
    values: dict[str, NDArray[np.float32]] = {}
    rows: dict[str, Row] = {}

    def take(layer: Layer, image: Volume, factor: float) -> None:
        values[layer.key] = reduced(image, grid) * np.float32(factor)
        if layer.key != DEVIATION:
            other = None if reference is None or layer is truth else reference
            rows[layer.key] = _row(layer, image, factor, body, other, factors[-1])

    take(main, volume, factors[0])
    del volume
    for layer in layers:
        if layer is main:
            continue
        if layer is truth and reference is not None:
            take(layer, reference, factors[-1])
            continue
        image = layer.load()
        if image.unit != stored:
            raise InputError(f"the images of a page need one unit: '{layer.key}' is in {image.unit}")
        take(layer, image, factors[0])
        del image
    order = [layer.key for layer in layers]
    return Measured(
        grid=grid,
        unit=unit,
        remark=remark,
        values={key: values[key] for key in order},
        rows={key: rows[key] for key in order if key in rows},
        peak=None if reference is None else factors[-1] * float(reference.array.max()),
    )


def _row(
    layer: Layer,
    image: Volume,
    factor: float,
    body: NDArray[np.bool_],
    reference: Volume | None,
    reference_factor: float,
) -> Row:
    total = float(image.array.sum(dtype=np.float64))
    return Row(
        key=layer.key,
        label=layer.label,
        body_mean=factor * float(image.array.mean(where=body, dtype=np.float64)),
        maximum=factor * float(image.array.max()),
        total=factor * total,
        activity_mbq=total * float(np.prod(image.spacing)) * 1e-9 if image.unit == "Bq/mL" else None,
        quality=None if reference is None else _quality(image, reference, factor / reference_factor),
    )


def _quality(image: Volume, reference: Volume, factor: float) -> Quality:
    """`factor` brings the image into the reference's stored unit."""
    x = image.array if factor == 1 else image.array * np.float32(factor)
    y = reference.array
    small = y.size <= MOST_SSIM_VOXELS and min(y.shape) > 2 * GAUSSIAN.radius
    return Quality(psnr(x, y).value, nmae(x, y).value, ssim(x, y).value if small else None)
