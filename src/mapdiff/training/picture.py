"""The picture of a run that is renewed at each checkpoint: losses, validation, a slice through the stages."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mapdiff.atomic import written_aside

PICTURE_FILE = "progress.png"
#: Upper end of the grey scale, in units of the body's mean.
WINDOW = 4.0


def draw_progress(
    columns: dict[str, list[float]],
    slices: Sequence[tuple[str, NDArray[np.float32]]],
    title: str,
    path: Path,
) -> None:
    """Draw and write it.

    Args:
        columns: of the log: "step", losses by name, "lr", "psnr".
        slices: label and (I, J) image of the input, each stage and the target, in units of the body's mean.
        title: of the picture.
        path: of the PNG file.
    """
    figure = Figure(figsize=(11, 6), dpi=100)
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    left, right = figure.add_axes((0.09, 0.5, 0.38, 0.4)), figure.add_axes((0.55, 0.5, 0.38, 0.4))
    step = columns["step"]
    marker = "." if len(step) < 30 else None
    for name, values in columns.items():
        if name not in ("step", "lr", "psnr"):
            left.plot(step, values, label=name, marker=marker)
    left.set(xlabel="step", ylabel="training loss", yscale="log")
    left.legend(frameon=False)
    right.plot(step, columns["psnr"], color="black", marker=marker)
    right.set(xlabel="step", ylabel="validation PSNR, dB")
    rate = right.twinx()
    rate.plot(step, columns["lr"], color="tab:gray", linestyle=":")
    rate.set_ylabel("learning rate (dotted)", color="tab:gray")
    bottom = figure.add_axes((0.02, 0.0, 0.96, 0.38))
    width = slices[0][1].shape[0]
    gap = np.full((max(width // 16, 1), slices[0][1].shape[1]), np.nan, np.float32)
    row = np.concatenate([part for _, image in slices for part in (image, gap)][:-1])
    bottom.imshow(row.T, cmap="gray_r", vmin=0, vmax=WINDOW, origin="lower", interpolation="nearest")
    for n, (label, image) in enumerate(slices):
        place = n * (width + len(gap)) + width / 2
        bottom.text(place, image.shape[1], label, ha="center", va="bottom", fontsize=9)
    bottom.set_axis_off()
    with written_aside(path) as aside:
        figure.savefig(aside)
