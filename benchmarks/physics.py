"""The simulator's physics, measured: organ means, variance by dose, correlation of the noise.

    python benchmarks/physics.py

Three measurements for each scanner:
- a body whose organs are uniform, on the scanner's own voxels at full dose: the mean of each organ, eroded by
  twice the resolution, over several scans that differ in their counts alone;
- repeated scans of a cylinder: how the variance follows the dose, as an exponent;
- the same repeats at a twentieth: the autocorrelation of the noise along x, y and z.

Another set of parameters is tried, and nothing written, by naming the scanner and what differs:

    python benchmarks/physics.py --scanner quadra --set iterations=2 --set filter_mm=3 --organs-only
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from trial import add_trial, scanners

from mapdiff.dose import DOSES, FULL, dose_label
from mapdiff.simulate.phantom import ORGANS, draw_body
from mapdiff.simulate.scan import simulate_scan
from mapdiff.simulate.scanner import Scanner
from mapdiff.simulate.subject import Subject

LOW = Fraction(1, 20)
ERODED = 2.0  # times the resolution
SMALLEST_ML = 3.0  # what is left of an organ, for a mean that noise does not move
ENDS_MM = 12.0  # at the field of view's ends, where activity lies beyond them unseen
REALISATIONS = 4  # of the counts: one moves the mean of an organ of a few mL by a percent or more
BQML_PER_SUV = 1930.0  # 219 MBq, 69 minutes, 73 kg: the Quadra cohort's means
Floats = NDArray[np.float32]
Spacing = tuple[float, float, float]
Repeats = dict[Fraction, list[Floats]]


def uniform_body(spacing_mm: Spacing) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Activity (Bq/mL) that is one value in each organ, attenuation and labels of a body without lesions."""
    body = draw_body(np.random.default_rng(5), Subject("M", 175.0, 73.0, False, 219e6, 4140.0))
    shape = (round(640 / spacing_mm[0]), round(400 / spacing_mm[1]), round(1060 / spacing_mm[2]))
    rasters = body.rasterise(spacing_mm, shape, (0.0, 0.0, 1750.0 - 530.0))
    labels = np.where(rasters.lesions > 0, np.uint8(ORGANS["muscle"]), rasters.organs)
    activity = np.zeros(shape, np.float32)
    for label in np.unique(labels[labels > 0]):
        activity[labels == label] = np.median(rasters.suv[labels == label]) * BQML_PER_SUV
    return activity, rasters.mu, labels


def deep_parts(
    labels: NDArray[np.uint8], spacing_mm: Spacing, depth_mm: float
) -> dict[str, tuple[NDArray[np.intp], ...]]:
    """Indices of the voxels of each organ that lie deeper than that, where they make up enough volume."""
    boxes = find_objects(labels)
    ends = round(ENDS_MM / spacing_mm[2])
    found = {}
    for name, label in ORGANS.items():
        if label > len(boxes) or boxes[label - 1] is None:
            continue
        box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in boxes[label - 1])
        deep = distance_transform_edt(labels[box] == label, sampling=spacing_mm) > depth_mm
        at = np.nonzero(deep)
        at = tuple(index + side.start for index, side in zip(at, box, strict=True))
        kept = (at[2] >= ends) & (at[2] < labels.shape[2] - ends)
        if kept.sum() * np.prod(spacing_mm) / 1000 >= SMALLEST_ML:
            found[name] = tuple(index[kept] for index in at)
    return found


def organ_means(
    scanner: Scanner, spacing_mm: Spacing | None = None, realisations: int = REALISATIONS
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean of each organ of the uniform body at full dose, eroded, over its truth.

    Args:
        scanner: who scans.
        spacing_mm: voxel size; None is the scanner's own.
        realisations: scans whose means are averaged; they differ in their counts alone.

    Returns:
        The means with noise, and those of the reconstruction of the expected counts.
    """
    spacing = spacing_mm or scanner.spacing_mm
    activity, mu, labels = uniform_body(spacing)
    parts = deep_parts(labels, spacing, ERODED * scanner.resolution_mm)
    truth = {name: float(activity[tuple(index[0] for index in at)]) for name, at in parts.items()}
    noisy, noise_free = ({name: 0.0 for name, value in truth.items() if value > 0} for _ in range(2))
    for seed in range(1, realisations + 1):
        scan = simulate_scan(activity, mu, spacing, scanner, 600.0, (FULL,), np.random.default_rng(seed))
        image = scan.doses[FULL]
        for name in noisy:
            noisy[name] += float(image[parts[name]].mean(dtype=np.float64)) / truth[name] / realisations
            noise_free[name] = float(scan.noise_free[parts[name]].mean(dtype=np.float64)) / truth[name]
    return noisy, noise_free


def cylinder(step: float, slices: int, radius_mm: float) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Activity of SUV 1 in water, its attenuation, and the part of it that lies well inside."""
    half = round(1.3 * radius_mm / step)
    i, j = np.ogrid[-half : half + 1, -half : half + 1]
    disc = np.repeat(((i**2 + j**2) * step**2 < radius_mm**2)[:, :, None], slices, axis=2)
    inner = np.repeat(((i**2 + j**2) * step**2 < (0.75 * radius_mm) ** 2)[:, :, None], slices, axis=2)
    inner[:, :, :3] = inner[:, :, -3:] = False
    return np.where(disc, np.float32(BQML_PER_SUV), 0), np.where(disc, np.float32(0.0096), 0), inner


def repeats(
    scanner: Scanner,
    step: float,
    slices: int,
    count: int,
    doses: Sequence[Fraction] = DOSES,
    radius_mm: float = 100.0,
) -> tuple[Repeats, NDArray[np.bool_]]:
    """Scans of the cylinder that differ in their counts alone, and its inner part."""
    activity, mu, inner = cylinder(step, slices, radius_mm)
    images: Repeats = {dose: [] for dose in doses}
    for n in range(count):
        rng = np.random.default_rng([7, n])
        scan = simulate_scan(activity, mu, (step,) * 3, scanner, 600.0, doses, rng)
        for dose in doses:
            images[dose].append(scan.doses[dose])
    return images, inner


def variances(images: Repeats, inner: NDArray[np.bool_]) -> dict[Fraction, float]:
    """Variance over repeats by dose, relative to the squared mean, averaged over the inner part."""
    return {
        dose: float(np.var([image[inner] for image in found], axis=0, ddof=1).mean())
        / float(np.mean([image[inner].mean() for image in found])) ** 2
        for dose, found in images.items()
    }


def exponent(by_dose: dict[Fraction, float], down_to: Fraction) -> float:
    """The power of the dose that the variance follows, fitted from full dose down to another."""
    kept = [dose for dose in by_dose if dose >= down_to]
    return float(np.polyfit(np.log([float(d) for d in kept]), np.log([by_dose[d] for d in kept]), 1)[0])


def autocorrelation(images: list[Floats], inner: NDArray[np.bool_], axis: int, lags: int) -> list[float]:
    """Correlation of the noise, image less the repeats' mean, with itself 0 to `lags` voxels on an axis."""
    mean = np.mean(images, axis=0)
    found = []
    for lag in range(lags + 1):
        a = tuple(slice(None, -lag or None) if n == axis else slice(None) for n in range(3))
        b = tuple(slice(lag, None) if n == axis else slice(None) for n in range(3))
        both = inner[a] & inner[b]
        found.append(
            float(np.mean([((image - mean)[a] * (image - mean)[b])[both].mean() for image in images]))
        )
    return [value / found[0] for value in found]


def width_mm(correlation: list[float], step: float) -> float:
    """Full width of the autocorrelation at half of its height, by linear interpolation."""
    below = next(n for n, value in enumerate(correlation) if value < 0.5)
    before, after = correlation[below - 1], correlation[below]
    return 2 * step * (below - 1 + (before - 0.5) / (before - after))


def beyond(name: str, organs: dict[str, float], bound: float = 0.02) -> str:
    """A line that names the organs whose mean is off by more than the bound."""
    off = [f"{organ} {value:.3f}" for organ, value in organs.items() if abs(value - 1) > bound]
    return f"{name}: {len(organs) - len(off)} of {len(organs)} organs within 2 %" + (
        f", not {', '.join(off)}." if off else "."
    )


def measured(scanner: Scanner, realisations: int) -> dict[str, Any]:
    """All three measurements of a scanner, as the JSON file holds them."""
    organs, noise_free = organ_means(scanner, realisations=realisations)
    images, inner = repeats(scanner, 3.0, 12, 10)
    by_dose = variances(images, inner)
    noise, inside = repeats(scanner, 1.65, 20, 6, (LOW,))
    return {
        "scanner": asdict(scanner),
        "scans of the uniform body": realisations,
        "organs": organs,
        "organs without noise": noise_free,
        "variance": {dose_label(dose): value for dose, value in by_dose.items()},
        "exponent to 1/20": exponent(by_dose, LOW),
        "exponent to 1/100": exponent(by_dose, DOSES[-1]),
        "autocorrelation": {
            name: autocorrelation(noise[LOW], inside, axis, 6) for axis, name in enumerate("xyz")
        },
    }


def tables(content: dict[str, dict[str, Any]]) -> list[str]:
    """The measurements in Markdown: a row per scanner, its organs, the noise's correlation."""
    lines = [
        "| scanner | organs: mean / truth, least to most | variance ~ dose^, to 1/20 | to 1/100 "
        "| width of the noise's autocorrelation in x, y, z (mm) |",
        "| --- | --- | --- | --- | --- |",
    ]
    organ_lines, curves = [""], ["", "| scanner | axis |"]
    curves[1] += "".join(f" {1.65 * n:.2f} mm |" for n in range(7))
    curves.append("| --- | --- |" + " --- |" * 7)
    for name, found in content.items():
        organs, noise_free, correlation = (
            found[key] for key in ("organs", "organs without noise", "autocorrelation")
        )
        widths = ", ".join(f"{width_mm(values, 1.65):.1f}" for values in correlation.values())
        lines.append(
            f"| {name} | {min(organs.values()):.3f} to {max(organs.values()):.3f} ({len(organs)} organs) "
            f"| {found['exponent to 1/20']:.3f} | {found['exponent to 1/100']:.3f} | {widths} |"
        )
        organ_lines += [
            beyond(f"{name}, mean of {found['scans of the uniform body']} scans", organs)
            + f" Without noise: {min(noise_free.values()):.3f} to {max(noise_free.values()):.3f}.",
            "",
        ]
        for axis, values in correlation.items():
            curves.append(f"| {name} | {axis} | " + " | ".join(f"{v:.2f}" for v in values) + " |")
    return [*lines, *organ_lines[:-1], *curves]


def write(content: dict[str, dict[str, Any]], json_path: Path, page: Path) -> None:
    """Write the JSON file, and the tables into their place on the page."""
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(content, indent=1))
    text = page.read_text()
    start, end = "<!-- physics: written by benchmarks/physics.py -->", "<!-- /physics -->"
    before, after = text.split(start)[0], text.split(end)[1]
    page.write_text("\n".join([before + start, "", *tables(content), "", end]) + after)


def main() -> None:
    """Measure, print, and write the JSON file and the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/physics.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs/simulation.md"))
    add_trial(parser)
    parser.add_argument(
        "--organs-only", action="store_true", help="print each organ's mean, with noise and without, and stop"
    )
    parser.add_argument("--realisations", type=int, default=REALISATIONS, help="scans of the uniform body")
    arguments = parser.parse_args()
    chosen = scanners(parser, arguments)
    if arguments.organs_only:
        for name, scanner in chosen.items():
            both = organ_means(scanner, realisations=arguments.realisations)
            for noise, organs in zip(("with noise", "without noise"), both, strict=True):
                print(f"{noise}, {beyond(name, organs)}")
                print(json.dumps(organs, indent=1))
        return
    content = {}
    for name, scanner in chosen.items():
        content[name] = measured(scanner, arguments.realisations)
        print(json.dumps(content[name], indent=1))
    if not arguments.scanner:
        write(content, arguments.json, arguments.docs)


if __name__ == "__main__":
    main()
