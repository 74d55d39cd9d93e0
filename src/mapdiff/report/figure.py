"""A picture of one body at several stages: coronal slices and maximum-intensity projections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.atomic import written_aside
from mapdiff.body import body_mask
from mapdiff.errors import InputError
from mapdiff.evaluation.compare import common_factors
from mapdiff.volume import UNKNOWN, Array, Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Height of one coronal view, inches, and the most a row of views may be wide.
ROW_INCHES, WIDEST_INCHES = 5.0, 24.0
#: Air left beside the body, mm.
MARGIN_MM = 25.0
#: The marks of the patient's sides, readable on air and on activity.
_MARK: dict[str, Any] = {
    "fontsize": 13,
    "color": "0.3",
    "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1.5},
}
#: Where no SUV is to be had the window's upper end is this percentile of the last image's voxels above zero.
WINDOW_PERCENTILE = 99.5


def stages_figure(images: Sequence[tuple[str, Volume]], path: Path, *, vmax_suv: float = 7.0) -> None:
    """Draw the images side by side: above a coronal slice, below the coronal maximum-intensity projection.

    Inverse grey, one window for all, cut to the body's width, voxels in true proportion, the patient's right
    on the left as seen from the front. The slice goes through the middle of the last image's activity.

    Args:
        images: title and scan, in the order drawn; all of one grid, in units that agree.
        path: PNG file to write.
        vmax_suv: upper end of the window, SUV; the lower end is 0. Where not every image can be had in SUV,
            the window ends at a percentile of the last image in its own unit.

    Raises:
        InputError: there is no image, their grids or units differ, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not images:
        raise InputError("a picture needs one image or more")
    factors, unit, _ = common_factors([volume for _, volume in images])
    turned = [to_ras(volume.array, volume.affine) for _, volume in images]
    last, spacing = turned[-1]
    if any(array.shape != last.shape or not np.allclose(step, spacing, rtol=0.01) for array, step in turned):
        raise InputError("the images of a picture need one grid")
    vmax = vmax_suv if unit == "SUV" else window_top(last)
    seen = body_width(last, spacing)
    across = hot_centre(last, vmax / factors[-1])
    wide, high = (seen.stop - seen.start) * spacing[0], last.shape[2] * spacing[2]
    row = min(ROW_INCHES, WIDEST_INCHES / len(images) * high / wide)
    column = row * wide / high
    figure = Figure(
        figsize=(max(column * len(images) + 1.3, 3.5), 2 * row + 0.8), dpi=120, layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid: NDArray[Any] = figure.subplots(2, len(images), squeeze=False)
    shown = None
    for number, ((title, _), (array, _), factor) in enumerate(zip(images, turned, factors, strict=True)):
        for line, view in enumerate((array[seen, across, :], array[seen].max(axis=1))):
            axes: Axes = grid[line, number]
            shown = axes.imshow(
                factor * view[::-1, ::-1].T,  # the patient's right on the left, head up
                cmap="gray_r",
                vmin=0,
                vmax=vmax,
                aspect=spacing[2] / spacing[0],
                interpolation="nearest",
            )
            axes.set_xticks([])
            axes.set_yticks([])
            for x, mark, side in ((0.03, "R", "left"), (0.97, "L", "right")):
                axes.text(x, 0.98, mark, transform=axes.transAxes, ha=side, va="top", **_MARK)
        grid[0, number].set_title(title, fontsize=16)
    grid[0, 0].set_ylabel("coronal slice", fontsize=13)
    grid[1, 0].set_ylabel("maximum-intensity projection", fontsize=13)
    _length_bar(grid[1, 0], wide, spacing)
    assert shown is not None
    bar = figure.colorbar(shown, ax=grid[:, -1], shrink=0.6, pad=0.03, aspect=30, extend="max")
    words = {"SUV": "SUV (body weight)", UNKNOWN: "stored value, unit unknown"}.get(unit, unit)
    bar.set_label(words, fontsize=13)
    bar.ax.tick_params(labelsize=12)
    with written_aside(path) as aside:
        figure.savefig(aside, format="png")


def to_ras(array: Array, affine: NDArray[np.float64]) -> tuple[Array, tuple[float, float, float]]:
    """The array with its axes turned to RAS+: patient's left to right, back to front, feet to head.

    Args:
        array: shape (I, J, K).
        affine: to RAS+ mm; where it is oblique each axis goes to the nearest direction.

    Returns:
        The turned array, a view, and its voxel size in mm.
    """
    from nibabel import orientations

    turn: Any = orientations  # untyped
    orientation = turn.io_orientation(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[np.argsort(orientation[:, 0])]
    a, b, c = (float(length) for length in spacing)
    return np.asarray(turn.apply_orientation(array, orientation)), (a, b, c)


def body_width(array: Array, spacing: tuple[float, float, float]) -> slice:
    """The sagittal slices that hold the body, on RAS+ axes, with a margin; all, where there is no body."""
    if not (array > 0).any():
        return slice(0, array.shape[0])
    found = np.flatnonzero(body_mask(array, spacing).any(axis=(1, 2)))
    margin = int(np.ceil(MARGIN_MM / spacing[0]))
    return slice(max(0, int(found[0]) - margin), min(array.shape[0], int(found[-1]) + 1 + margin))


def hot_centre(array: Array, top: float) -> int:
    """The coronal slice, on RAS+ axes, at the centre of the activity; voxels count up to `top` at most.

    So a full bladder does not draw the slice to itself.
    """
    weights = np.clip(array, 0, top).sum(axis=(0, 2), dtype=np.float64)
    if not weights.sum() > 0:
        return int(array.shape[1] // 2)
    return int(np.rint(np.average(np.arange(weights.size), weights=weights)))


def window_top(array: Array) -> float:
    """Upper end of a grey window for an image without SUV: a high percentile of its voxels above zero."""
    positive = array[array > 0]
    return float(np.percentile(positive, WINDOW_PERCENTILE)) if positive.size else 1.0


def _length_bar(axes: Axes, wide: float, spacing: tuple[float, float, float]) -> None:
    """A bar of 10 cm, or of 1 cm in a narrow field of view, in the lower left corner."""
    from matplotlib.transforms import blended_transform_factory

    length = 100 if wide > 250 else 10
    where = blended_transform_factory(axes.transData, axes.transAxes)
    start = 0.04 * wide / spacing[0]
    axes.plot([start, start + length / spacing[0]], [0.02, 0.02], transform=where, color="black", linewidth=2)
    axes.text(start, 0.03, f"{length // 10} cm", transform=where, fontsize=12, va="bottom")
