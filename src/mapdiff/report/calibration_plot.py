"""The calibration's picture: simulated degradation along the path, and where each dose meets it."""

from pathlib import Path

from mapdiff.atomic import written_aside
from mapdiff.diffusion.calibration import Calibration


def plot_calibration(calibration: Calibration, path: Path) -> None:
    """Write a PNG: D_sim(t), D_real(d) as levels, the anchors' t with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    axes.plot(calibration.grid, calibration.simulated, color="0.3", label="path, $D_{sim}(t)$")
    colours = pyplot.get_cmap("viridis")
    for n, (label, anchor) in enumerate(calibration.anchors.items()):
        colour = colours(n / max(len(calibration.anchors) - 1, 1) * 0.9)
        axes.plot([1, anchor.t], [anchor.degradation] * 2, color=colour, linewidth=1)
        axes.plot(
            [anchor.t_low, anchor.t_high], [anchor.degradation] * 2, color=colour, linewidth=5, alpha=0.4
        )
        axes.plot(anchor.t, anchor.degradation, "o", color=colour, label=f"dose {label}: t = {anchor.t:.0f}")
    axes.set(
        xlabel="timestep t of T = 1000",
        ylabel=f"degradation against the full dose ({calibration.measure.upper()}, inside the body)",
        yscale="log",
        title=f"Calibration by degradation matching, {calibration.subjects} subjects",
    )
    axes.legend(frameon=False, fontsize=8)
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=120)
    pyplot.close(figure)
