"""The noise of the simulated scanners beside that of the real ones: figures into JSON, a table into the docs.

    python benchmarks/noise.py --shared ../shared/data --work runs/noise

For each scanner, people are drawn from the cohort's table (data_stats.csv of KUL-recon-lab/2025_ud_pet_kul,
Apache-2.0): one from each of as many groups of equal size by weight. Each gets a body of that weight and
height, the activity and the time of that row, and is scanned at the scanner's own voxel size in slabs spread
over the whole axial field of view. The figure of a scan is that of the table (`mapdiff.evaluation.noise`).
A run that was stopped goes on with the slabs that are missing.

Another set of parameters is tried, and nothing written, by naming the scanner and what differs:

    python benchmarks/noise.py --shared ../shared/data --work runs/noise --scanner uexplorer \\
        --set subsets=120 --set coarse_iterations=0 --subjects 3 --slabs 6
"""

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from trial import add_trial, scanners

import mapdiff.simulate
from mapdiff.decay import F18_HALF_LIFE_S
from mapdiff.dose import DOSES, FULL, dose_label, parse_dose
from mapdiff.evaluation.noise import NoiseSums, noise_sums
from mapdiff.simulate.cohort import AXIAL_FOV_MM, SCAN_SECONDS
from mapdiff.simulate.phantom import Body, draw_body
from mapdiff.simulate.scan import simulate_scan
from mapdiff.simulate.scanner import Scanner
from mapdiff.simulate.subject import Subject

#: Doses of the table, as its column `recon` names them.
RECONS = {"ref": FULL, **{str(n): parse_dose(f"1/{n}") for n in (4, 10, 20, 50, 100)}}
LOW = parse_dose("1/20")
INNER_MM, ENDS_MM = 10.0, 11.0  # what a slab is measured over, and what it needs beside that
SEED = 20260
Row = dict[str, str]


def people(table: Path, model: str) -> dict[str, dict[str, Row]]:
    """The acquisitions of a scanner that have all doses and plausible facts: name to recon to row."""
    found: dict[str, dict[str, Row]] = {}
    with table.open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["scanner"] == model and row["tracer"] in ("FDG", "Fluorodeoxyglucose"):
                found.setdefault(row["acq"], {})[row["recon"]] = row
    return {name: rows for name, rows in found.items() if set(RECONS) <= set(rows) and plausible(rows["ref"])}


def plausible(row: Row) -> bool:
    try:
        weight, height, activity, minutes = (
            float(row[key]) for key in ("weight", "height", "activity", "scantime_pi")
        )
    except ValueError:
        return False
    return (
        1.3 <= height <= 2.1
        and 15.5 <= weight / height**2 <= 45
        and 50 <= activity <= 600
        and 30 <= minutes <= 150
    )


def drawn(cohort: dict[str, dict[str, Row]], count: int) -> list[dict[str, Row]]:
    """One acquisition at random from each of `count` groups of equal size by weight."""
    rng = np.random.default_rng(SEED)
    ordered = sorted(cohort.values(), key=lambda rows: (float(rows["ref"]["weight"]), rows["ref"]["acq"]))
    groups = np.array_split(np.arange(len(ordered)), count)
    return [ordered[int(rng.choice(group))] for group in groups]


def person(row: Row, number: int) -> Subject:
    """Who lies on the table; sex and arms, which the table does not tell, alternate."""
    return Subject(
        sex="MF"[number % 2],
        height_cm=float(row["height"]) * 100,
        weight_kg=float(row["weight"]),
        arms_up=bool(number // 2 % 2),
        injected_activity_bq=float(row["activity"]) * 1e6,
        uptake_s=float(row["scantime_pi"]) * 60,
    )


def measure(scanner: Scanner, body: Body, top_mm: float, seed: list[int]) -> dict[str, object]:
    """One slab whose middle lies at a height: sums of the figure and of the residual by dose."""
    spacing, subject = scanner.spacing_mm, body.subject
    slices = round((INNER_MM + 2 * ENDS_MM) / spacing[2])
    rasters = body.rasterise(spacing, (*scanner.matrix[:2], slices), (0.0, 0.0, top_mm))
    decayed = subject.injected_activity_bq * 2.0 ** (-subject.uptake_s / F18_HALF_LIFE_S)
    suv_per_bqml = subject.weight_kg * 1000 / decayed
    activity = (rasters.suv / np.float32(suv_per_bqml)).astype(np.float32)
    rng = np.random.default_rng(seed)
    scan = simulate_scan(activity, rasters.mu, spacing, scanner, SCAN_SECONDS, DOSES, rng)
    inside = rasters.mu > 1e-4
    ends = round(ENDS_MM / spacing[2])
    kept = slice(ends, slices - ends)
    core = inside[:, :, kept]
    full = scan.doses[FULL]
    found: dict[str, object] = {
        "voxels": int(core.sum()),
        "activity": float(full[:, :, kept][core].sum(dtype=np.float64)),
    }
    for dose in RECONS.values():
        image = scan.doses[dose]
        sums = noise_sums(image * suv_per_bqml, spacing, inside, ENDS_MM)
        residual = (image - full)[:, :, kept][core].astype(np.float64)
        found[dose_label(dose)] = {
            **asdict(sums),
            "residual": float(residual.sum()),
            "squared": float(np.square(residual).sum()),
        }
    return found


def scan_person(
    scanner: Scanner, rows: dict[str, Row], number: int, slabs: int, folder: Path
) -> dict[str, object]:
    """All slabs of a person, those that are there already read from the folder."""
    subject = person(rows["ref"], number)
    body: Body | None = None
    parts = []
    for slab in range(slabs):
        path = folder / f"{number:02d}-{slab:02d}.json"
        if not path.exists():
            body = body or draw_body(np.random.default_rng([SEED, number]), subject)
            fov = min(AXIAL_FOV_MM[scanner.name], subject.height_cm * 10)
            shift = np.random.default_rng([SEED, number, slab]).uniform(0.2, 0.8)
            top = subject.height_cm * 10 - (slab + shift) / slabs * fov
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(measure(scanner, body, top, [SEED, number, slab])))
            print(f"{scanner.name}: person {number + 1}, slab {slab + 1} of {slabs}", file=sys.stderr)
        parts.append(json.loads(path.read_text()))
    result: dict[str, object] = {"person": asdict(subject)}
    voxels = sum(part["voxels"] for part in parts)
    mean = sum(part["activity"] for part in parts) / voxels
    for recon, dose in RECONS.items():
        label = dose_label(dose)
        keys = ("inside", "outside", "bright")
        sums = sum_of(NoiseSums(*(part[label][key] for key in keys)) for part in parts)
        offset = sum(part[label]["residual"] for part in parts) / voxels
        variance = sum(part[label]["squared"] for part in parts) / voxels - offset**2
        result[label] = {
            "figure": sums.figure,
            "inside_share": sums.inside_share,
            "residual": max(variance, 0.0) ** 0.5 / mean,
            "real": float(rows[recon]["noise_metric"]),
        }
    return result


def sum_of(parts: Iterable[NoiseSums]) -> NoiseSums:
    total = NoiseSums(0.0, 0.0, 0)
    for part in parts:
        total += part
    return total


def table(scanner: str, found: list[dict[str, dict[str, float]]], real: dict[str, np.ndarray]) -> list[str]:
    """Lines of a table in Markdown: medians side by side, the share inside, the spread, the residual."""
    lines = [
        f"**{scanner}**, {len(found)} people",
        "",
        "| dose | real median | simulated | ratio | to these people's own | of it inside the body "
        "| real, 5th to 95th percentile | simulated, least to most | residual to full, inside, SD / mean |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for recon, dose in RECONS.items():
        label = dose_label(dose)
        figures = np.array([person[label]["figure"] for person in found])
        median, there = float(np.median(figures)), float(np.median(real[recon]))
        low, high = np.percentile(real[recon], [5, 95])
        own = float(np.median([person[label]["real"] for person in found]))
        share = np.median([person[label]["inside_share"] for person in found])
        residual = [person[label]["residual"] for person in found]
        shown = (
            "" if dose == FULL else f"{np.median(residual):.2f} ({min(residual):.2f} to {max(residual):.2f})"
        )
        lines.append(
            f"| {label} | {there:.4f} | {median:.4f} | {median / there:.2f} | {median / own:.2f} "
            f"| {share:.0%} | {low:.4f} to {high:.4f} "
            f"| {figures.min():.4f} to {figures.max():.4f} | {shown} |"
        )
    return [*lines, ""]


def mark(scanner: Scanner) -> str:
    """A mark of the simulator's source and the scanner: slabs of another simulator are not mixed in."""
    digest = hashlib.sha256(json.dumps(asdict(scanner)).encode())
    for path in sorted(Path(mapdiff.simulate.__file__).parent.glob("*.py")):
        if path.name not in ("scanner.py", "cohort.py", "udpet_tree.py", "from_image.py"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def main() -> None:
    """Measure what is missing, then write the JSON file and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    add_trial(parser)
    parser.add_argument("--subjects", type=int, default=9)
    parser.add_argument("--slabs", type=int, default=10)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/noise.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs/simulation.md"))
    arguments = parser.parse_args()
    content: dict[str, object] = {}
    lines: list[str] = []
    for name, scanner in scanners(parser, arguments).items():
        cohort = people(arguments.shared / "udpet_tables" / "data_stats.csv", scanner.model)
        real = {r: np.array([float(rows[r]["noise_metric"]) for rows in cohort.values()]) for r in RECONS}
        folder = arguments.work / f"{name}-{mark(scanner)}-{arguments.subjects}x{arguments.slabs}"
        found = [
            scan_person(scanner, rows, number, arguments.slabs, folder)
            for number, rows in enumerate(drawn(cohort, arguments.subjects))
        ]
        content[name] = {
            "mark": mark(scanner),
            "scanner": asdict(scanner),
            "slabs": arguments.slabs,
            "people": found,
        }
        lines += table(name, found, real)  # type: ignore[arg-type]
        print("\n".join(lines))
    if arguments.scanner:
        return
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(content, indent=1))
    text = arguments.docs.read_text()
    start, end = "<!-- noise: written by benchmarks/noise.py -->", "<!-- /noise -->"
    before, after = text.split(start)[0], text.split(end)[1]
    arguments.docs.write_text("\n".join([before + start, "", *lines]) + end + after)


if __name__ == "__main__":
    main()
