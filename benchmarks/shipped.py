"""What the shipped model does on real and simulated scans: figures into JSON, a table into the docs.

    python benchmarks/shipped.py --shared ../shared/data --work runs/bench [--scan NIFTI_OR_DICOM ...]

The figures of the page's first part come from here. The input is a twentieth of the dose, the reference the
full-dose reconstruction of the same scan, the rival the Gaussian filter whose width is best by PSNR (tuned
on the answer, which flatters it).
"""

import argparse
import hashlib
import json
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import gaussian_filter

from mapdiff import __version__
from mapdiff.cohort.layout import doses_of, truth_path
from mapdiff.dose import ANCHORS, FULL, dose_label
from mapdiff.evaluation.benchmark.measure import SMALL_ML
from mapdiff.evaluation.lesion_files import read_lesions
from mapdiff.evaluation.lesions import lesion_figures
from mapdiff.evaluation.metrics import nmae, psnr, total_activity_bias
from mapdiff.formats import read
from mapdiff.inference import Denoiser
from mapdiff.inference.denoiser import FAST_EVALUATIONS
from mapdiff.simulate.cohort import CohortPlan, simulate_cohort, simulate_from_image
from mapdiff.volume import Array, Volume

DOSE = Fraction(1, 20)
#: Spheres in the real scan STS_001: voxel (i, j, k) of the centre and radius in mm, placed by eye.
STS001_REGIONS = {
    "liver": ((50, 64, 155), 25.0),
    "heart": ((75, 60, 178), 40.0),
    "muscle": ((40, 76, 58), 20.0),
}
ORGANS = ("liver", "heart", "muscle")
#: Who scans the real images again.
RESCANNER = "quadra"
#: Simulated bodies: scanner, voxel size in mm, slices, subjects, seed. None was trained on.
SIMULATED = {
    "quadra 1.65 mm": ("quadra", 1.65, 96, 2, 9001),
    "quadra 2.9 mm": ("quadra", 2.9, 96, 2, 9002),
    "quadra 4.7 mm": ("quadra", 4.7, None, 2, 9003),
    "uexplorer 2.9 mm": ("uexplorer", 2.9, 96, 2, 9004),
}


def gaussian(volume: Volume, fwhm_mm: float) -> Array:
    """The volume filtered by a Gaussian."""
    return gaussian_filter(volume.array, [fwhm_mm / 2.3548 / s for s in volume.spacing])


def best_gaussian(low: Volume, full: Volume) -> tuple[float, Array]:
    """The width in mm whose filter of `low` has the best PSNR against `full`, and the filtered image."""
    widths = np.arange(3.0, 16.1, 0.5)
    scores = [psnr(gaussian(low, w), full.array).value for w in widths]
    best = float(widths[int(np.argmax(scores))])
    return best, gaussian(low, best)


def sphere(volume: Volume, centre: tuple[int, int, int], radius_mm: float) -> Array:
    """A ball of voxels."""
    axes = [(np.arange(n) - c) * s for n, c, s in zip(volume.shape, centre, volume.spacing, strict=True)]
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    return i**2 + j**2 + k**2 <= radius_mm**2


def sts001(shared: Path, work: Path) -> tuple[Path, dict[str, Array]]:
    """The real scan's folder, scanned again where it is not there yet, and its regions."""
    target = work / "sts001"
    if not target.exists():
        simulate_from_image(shared / "real_pet_sts001" / "dicom", target, [DOSE, *ANCHORS], RESCANNER, seed=0)
    subject = target / "sub-001"
    full = read(doses_of(subject)[FULL])
    return subject, {name: sphere(full, *where) for name, where in STS001_REGIONS.items()}


def simulated(name: str, work: Path) -> list[Path]:
    """The folders of a simulated cohort's subjects, simulated where they are not there yet."""
    scanner, spacing, slab, subjects, seed = SIMULATED[name]
    plan = CohortPlan(subjects, scanner, seed, (spacing,) * 3, slab)
    return simulate_cohort(plan, work / name.replace(" ", "-"))


def judge(
    denoiser: Denoiser, subject: Path, regions: dict[str, Array], lesions: Path | None
) -> dict[str, object]:
    """Denoise one subject's twentieth and measure it."""
    scans = doses_of(subject)
    low, full = read(scans[DOSE]), read(scans[FULL])
    result = denoiser.denoise(low)
    image, reference = result.image.array, full.array
    width, filtered = best_gaussian(low, full)
    row: dict[str, object] = {
        "subject": subject.name,
        "noise_level": result.level,
        "dose_found": result.dose,
        "seconds": round(result.seconds, 1),
        "warnings": list(result.warnings),
    }
    fast = denoiser.denoise(low, evaluations=FAST_EVALUATIONS).image.array
    images = {"input": low.array, "gaussian": filtered, "map-diff": image, "fast": fast}
    noise_free = truth_path(subject, subject.name, "noisefree")
    if noise_free.exists():
        z = read(noise_free).array
        images["oracle"] = float(DOSE) * low.array + (1 - float(DOSE)) * z
    for name, array in images.items():
        row[f"psnr {name}"] = psnr(array, reference).value
        row[f"nmae {name}"] = nmae(array, reference).value
    row["gaussian fwhm mm"] = width
    row["total activity bias %"] = total_activity_bias(image, reference).value
    for name, mask in regions.items():
        row[f"{name} mean bias %"] = 100 * (float(image[mask].mean()) / float(reference[mask].mean()) - 1)
    if lesions is not None and lesions.exists():
        found = read_lesions(lesions, full)
        for figure in lesion_figures(result.image, full, found):
            if figure.name in ("mean bias", "max bias", "volume"):
                row.setdefault(f"lesion {figure.name}", {})[figure.region] = figure.value  # type: ignore[index,union-attr]
    for dose in ANCHORS:
        label = dose_label(dose)
        if dose in scans and label in result.stages:
            target = read(scans[dose]).array
            row[f"stage {label} nmae"] = nmae(result.stages[label].array, target).value
            row[f"stage {label} nmae of the input"] = nmae(low.array, target).value
    return row


def lesion_file(subject: Path) -> Path | None:
    """The lesions of a simulated body, where its slab has any."""
    path = truth_path(subject, subject.name, "lesions")
    return path if (np.asarray(nibabel.nifti1.Nifti1Image.from_filename(path).dataobj) > 0).any() else None


def organ_masks(subject: Path) -> dict[str, Array]:
    """Organs of a simulated body, where it has a few millilitres of them."""
    from mapdiff.simulate.phantom import ORGANS as LABELS

    volume = read(truth_path(subject, subject.name, "organs"), unit="SUV")
    millilitres = float(np.prod(volume.spacing)) / 1000
    masks = {name: volume.array == LABELS[name] for name in ORGANS if name in LABELS}
    return {name: mask for name, mask in masks.items() if mask.sum() * millilitres > 20}


def figures(row: dict[str, object]) -> str:
    """A subject's line of the table in the docs."""

    def number(key: str) -> float:
        value = row[key]
        assert isinstance(value, float)
        return value

    cells = [str(row["subject"])]
    for name in ("input", "gaussian", "map-diff", "oracle"):
        part = number(f"nmae {name}") / number("nmae input")
        cells.append(f"{number(f'psnr {name}'):.2f} / {part:.3f}" if f"psnr {name}" in row else "")
    cells.append(f"{number('psnr map-diff') - number('psnr input'):+.2f}")
    cells.append(f"{number('psnr map-diff') - number('psnr gaussian'):+.2f}")
    cells.append(f"{number('psnr fast') - number('psnr map-diff'):+.2f}")
    cells.append(f"{number('total activity bias %'):+.2f}")
    organs = [
        f"{name} {number(f'{name} mean bias %'):+.1f}" for name in ORGANS if f"{name} mean bias %" in row
    ]
    cells.append(", ".join(organs))
    lesions = row.get("lesion mean bias", {})
    assert isinstance(lesions, dict)
    volumes = row.get("lesion volume", {})
    assert isinstance(volumes, dict)
    large = [bias for name, bias in lesions.items() if volumes[name] >= SMALL_ML]
    for found in (list(lesions.values()), large):
        cells.append(f"{np.mean(found):+.1f} (n = {len(found)})" if found else "")
    stages = []
    for dose in ANCHORS:
        key = f"stage {dose_label(dose)} nmae"
        if key in row:
            stages.append(f"{dose_label(dose)}: {number(key) / number(f'{key} of the input'):.2f}")
    cells.append(", ".join(stages))
    return "| " + " | ".join(cells) + " |"


def write_docs(rows: dict[str, list[dict[str, object]]], path: Path) -> None:
    """Put the tables between the marks in the docs."""
    lines = []
    for name, found in rows.items():
        lines += [
            f"### {name}",
            "",
            "| subject | input | best Gaussian | map-diff | oracle | gain, dB | over the Gaussian, dB "
            "| `--fast`, dB | total, % | organ means, % | lesion SUVmean, % | from 10 mm, % | stages |",
            "| --- " * 13 + "|",
            *map(figures, found),
            "",
        ]
    text = path.read_text()
    start, end = "<!-- shipped: written by make bench -->\n", "<!-- /shipped -->"
    before, after = text.split(start)[0], text.split(end)[1]
    path.write_text(before + start + "\n" + "\n".join(lines) + end + after)


def main() -> None:
    """Run everything that is not there yet, then write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="map-diff")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/shipped.json"))
    parser.add_argument("--docs", type=Path, help="page whose tables are written anew")
    parser.add_argument("--scan", type=Path, action="append", default=[], help="a further real scan")
    arguments = parser.parse_args()
    denoiser = Denoiser.from_pretrained(arguments.model)
    rows: dict[str, list[dict[str, object]]] = {}

    subject, regions = sts001(arguments.shared, arguments.work)
    contours = next((arguments.shared / "real_pet_sts001" / "rtstruct").glob("*.dcm"))
    rows["real STS_001"] = [judge(denoiser, subject, regions, contours)]
    show("real STS_001", rows["real STS_001"])

    for scan in arguments.scan:
        name = f"real {scan.name.split('.')[0]}"
        target = (
            arguments.work
            / f"{name.replace(' ', '-')}-{hashlib.sha256(str(scan.resolve()).encode()).hexdigest()[:8]}"
        )
        if not target.exists():
            simulate_from_image(scan, target, [DOSE, *ANCHORS], RESCANNER, seed=0)
        rows[name] = [judge(denoiser, target / "sub-001", {}, None)]
        show(name, rows[name])

    for name in SIMULATED:
        folders = simulated(name, arguments.work)
        rows[name] = [judge(denoiser, folder, organ_masks(folder), lesion_file(folder)) for folder in folders]
        show(name, rows[name])
    content = {"mapdiff": __version__, "model_sha256": denoiser.hash, "input_dose": "1/20", "rows": rows}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(content, indent=1))
    if arguments.docs is not None:
        write_docs(rows, arguments.docs)


def show(name: str, rows: list[dict[str, object]]) -> None:
    """Print a cohort's rows."""
    for row in rows:
        print(
            name,
            json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, indent=1),
        )


if __name__ == "__main__":
    main()
