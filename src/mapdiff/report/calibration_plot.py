"""The calibration's picture: simulated degradation along the path, and where each dose meets it."""

from pathlib import Path
from typing import Any

from mapdiff.atomic import written_aside
from mapdiff.bootstrap import LEAST_SUBJECTS
from mapdiff.diffusion.calibration import Calibration
from mapdiff.report.plots import OKABE_ITO, Plot, new_figure


def plot_calibration(calibration: Calibration, path: Path) -> None:
    """Write a PNG: D_sim(t), D_real(d) as levels, the anchors' t with their intervals."""
    with written_aside(path) as aside:
        calibration_plot(calibration).figure.savefig(aside, dpi=120)


def calibration_plot(calibration: Calibration) -> Plot:
    """D_sim(t), D_real(d) as levels, the anchors' t with their intervals."""
    figure, grid = new_figure(7, 4.2)
    axes = grid[0][0]
    axes.plot(calibration.grid, calibration.simulated, color="0.3", label="path, $D_{sim}(t)$")
    data: list[list[Any]] = [["dose", "t", "t low", "t high", f"degradation {calibration.measure.upper()}"]]
    for n, (label, anchor) in enumerate(calibration.anchors.items()):
        colour, level = OKABE_ITO[n % len(OKABE_ITO)], anchor.degradation
        axes.plot([1, anchor.t], [level] * 2, color=colour, linewidth=1)
        if anchor.interval is not None:
            axes.plot(anchor.interval, [level] * 2, color=colour, linewidth=5, alpha=0.4)
        axes.plot(anchor.t, level, "os^Dv"[n % 5], color=colour, label=f"dose {label}: t = {anchor.t:.0f}")
        data.append([label, anchor.t, anchor.t_low, anchor.t_high, level])
    data += [
        ["path", t, t, t, level] for t, level in zip(calibration.grid, calibration.simulated, strict=True)
    ]
    axes.set(
        xlabel="timestep t of T = 1000",
        ylabel=f"degradation against the full dose\n({calibration.measure.upper()}, inside the body)",
        yscale="log",
        title=f"Calibration by degradation matching, {calibration.subjects} subjects",
    )
    axes.legend(fontsize=8)
    caption = (
        "Of the model: where the degradation simulated along its path meets that of the training scans of "
        "each dose, with the 95 % interval of that timestep (of fewer than "
        f"{LEAST_SUBJECTS} subjects there is none)."
    )
    return Plot("calibration-path", "Calibration of the path", caption, figure, data)
