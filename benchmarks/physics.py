"""The simulator's physics, measured: organ means, variance by dose, correlation of the noise.

    python benchmarks/physics.py

Three measurements for each scanner:
- a body whose organs are uniform, at full dose: the mean of each organ, eroded by twice the resolution;
- repeated scans of a cylinder: how the variance follows the dose, as an exponent;
- the same repeats at a twentieth: the autocorrelation of the noise along x, y and z.

Another set of parameters is tried, and nothing written, by naming the scanner and what differs:

    python benchmarks/physics.py --scanner quadra --set subsets=120 --set iterations=1 --organs-only
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from trial import add_trial, scanners

from mapdiff.dose import DOSES, FULL, dose_label
from mapdiff.simulate.phantom import ORGANS, draw_body
from mapdiff.simulate.scan import simulate_scan
from mapdiff.simulate.scanner import Scanner
from mapdiff.simulate.subject import Subject

LOW = Fraction(1, 20)
ERODED = 2.0  # times the resolution
SMALLEST_ML = 3.0  # what is left of an organ, for a mean that noise does not move
BQML_PER_SUV = 1930.0  # 219 MBq, 69 minutes, 73 kg: the Quadra cohort's means
Floats = NDArray[np.float32]
Repeats = dict[Fraction, list[Floats]]


def uniform_body(step: float) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Activity (Bq/mL) that is one value in each organ, attenuation and labels of a body without lesions."""
    body = draw_body(np.random.default_rng(5), Subject("M", 175.0, 73.0, False, 219e6, 4140.0))
    shape = (round(640 / step), round(400 / step), round(1060 / step))
    rasters = body.rasterise((step,) * 3, shape, (0.0, 0.0, 1750.0 - 530.0))
    labels = np.where(rasters.lesions > 0, np.uint8(ORGANS["muscle"]), rasters.organs)
    activity = np.zeros(shape, np.float32)
    for label in np.unique(labels[labels > 0]):
        activity[labels == label] = np.median(rasters.suv[labels == label]) * BQML_PER_SUV
    return activity, rasters.mu, labels


def organ_means(scanner: Scanner, step: float = 3.0, seed: int = 1) -> dict[str, float]:
    """Mean of each organ of the uniform body at full dose, eroded, over its truth."""
    return organ_means_with_and_without_noise(scanner, step, seed)[0]


def organ_means_with_and_without_noise(
    scanner: Scanner, step: float = 3.0, seed: int = 1
) -> tuple[dict[str, float], dict[str, float]]:
    """The same, and that of the reconstruction of the expected counts, from one scan."""
    activity, mu, labels = uniform_body(step)
    spacing = (step,) * 3
    scan = simulate_scan(activity, mu, spacing, scanner, 600.0, (FULL,), np.random.default_rng(seed))
    noisy = scan.doses[FULL]
    found: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for name, label in ORGANS.items():
        deep = distance_transform_edt(labels == label, sampling=spacing) > ERODED * scanner.resolution_mm
        deep[:, :, :4] = deep[:, :, -4:] = False  # beyond the field of view's ends lies activity unseen
        truth = float(activity[labels == label][0]) if (labels == label).any() else 0.0
        if deep.sum() * step**3 / 1000 >= SMALLEST_ML and truth > 0:
            for means, image in zip(found, (noisy, scan.noise_free), strict=True):
                means[name] = float(image[deep].mean(dtype=np.float64)) / truth
    return found


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


def main() -> None:
    """Measure, print, and write the JSON file and the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/physics.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs/simulation.md"))
    add_trial(parser)
    parser.add_argument(
        "--organs-only", action="store_true", help="print each organ's mean, with noise and without, and stop"
    )
    arguments = parser.parse_args()
    chosen = scanners(parser, arguments)
    if arguments.organs_only:
        for name, scanner in chosen.items():
            both = organ_means_with_and_without_noise(scanner)
            for noise, organs in zip(("with noise", "without noise"), both, strict=True):
                print(f"{noise}, {beyond(name, organs)}")
                print(json.dumps(organs, indent=1))
        return
    content: dict[str, object] = {}
    lines = [
        "| scanner | organs: mean / truth, least to most | variance ~ dose^, to 1/20 | to 1/100 "
        "| width of the noise's autocorrelation in x, y, z (mm) |",
        "| --- | --- | --- | --- | --- |",
    ]
    organ_lines = [""]
    curves = ["", "| scanner | axis | " + " | ".join(f"{1.65 * n:.2f} mm" for n in range(7)) + " |"]
    curves.append("| --- | --- |" + " --- |" * 7)
    for name, scanner in chosen.items():
        organs = organ_means(scanner)
        images, inner = repeats(scanner, 3.0, 12, 10)
        by_dose = variances(images, inner)
        noise, inside = repeats(scanner, 1.65, 20, 6, (LOW,))
        correlation = [autocorrelation(noise[LOW], inside, axis, 6) for axis in range(3)]
        widths = [width_mm(c, 1.65) for c in correlation]
        content[name] = {
            "scanner": asdict(scanner),
            "organs": organs,
            "variance": {dose_label(dose): value for dose, value in by_dose.items()},
            "exponent to 1/20": exponent(by_dose, LOW),
            "exponent to 1/100": exponent(by_dose, DOSES[-1]),
            "autocorrelation": dict(zip("xyz", correlation, strict=True)),
        }
        lines.append(
            f"| {name} | {min(organs.values()):.3f} to {max(organs.values()):.3f} ({len(organs)} organs) "
            f"| {exponent(by_dose, LOW):.3f} | {exponent(by_dose, DOSES[-1]):.3f} "
            f"| {', '.join(f'{w:.1f}' for w in widths)} |"
        )
        organ_lines += [beyond(name, organs), ""]
        for axis, values in zip("xyz", correlation, strict=True):
            curves.append(f"| {name} | {axis} | " + " | ".join(f"{v:.2f}" for v in values) + " |")
        print(json.dumps(content[name], indent=1))
    if arguments.scanner:
        return
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(content, indent=1))
    text = arguments.docs.read_text()
    start, end = "<!-- physics: written by benchmarks/physics.py -->", "<!-- /physics -->"
    before, after = text.split(start)[0], text.split(end)[1]
    arguments.docs.write_text(
        "\n".join([before + start, "", *lines, *organ_lines[:-1], *curves, "", end]) + after
    )


if __name__ == "__main__":
    main()
