"""The cohort store at native size: packing time, memory, error, resuming; written as JSON.

    python benchmarks/store.py --work runs/store [--jobs 2]

Makes a cohort of one subject of 440 x 440 x 644 voxels at seven doses (smooth activity in an elliptic body,
noise of the scans' correlation length, air that is exactly 0 for the most part), packs it in a process of its
own, and measures that process.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import gaussian_filter

from mapdiff.cohort.layout import COHORT_FILE, SUBJECT_FILE, dose_path
from mapdiff.cohort.store import store_subjects
from mapdiff.dose import DOSES, dose_label

SHAPE = (440, 440, 644)
SPACING_MM = 1.65
BQML_PER_MEAN = 3000.0


def repeated(rng: np.random.Generator, sigma: float, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Smooth noise of unit variance that repeats every 128 voxels."""
    tile = gaussian_filter(rng.standard_normal((128, 128, 128)).astype(np.float32), sigma, mode="wrap")
    tile /= tile.std()
    reps = [-(-n // 128) for n in shape]
    return np.tile(tile, reps)[tuple(slice(n) for n in shape)]


def make_cohort(cohort: Path, shape: tuple[int, int, int] = SHAPE) -> None:
    """One subject of that shape."""
    if (cohort / COHORT_FILE).exists():
        return
    rng = np.random.default_rng(0)
    i, j = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[:2])
    inside = (i[:, None] / 0.6) ** 2 + (j[None] / 0.4) ** 2 < 1
    body = np.where(inside[..., None], 1 + 0.3 * repeated(rng, 6, shape), 0).astype(np.float32)
    body[:, :, :12] = 0
    np.maximum(body, 0, out=body)
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    subject = cohort / "sub-001"
    count, below = np.zeros(shape, np.float32), 0.0
    for dose in sorted(DOSES):  # counts up to a dose: nested, as windows of one scan are
        count += np.sqrt(float(dose) - below) * repeated(rng, 0.8, shape)
        below = float(dose)
        scan = np.maximum(body + 0.1 / float(dose) * np.sqrt(body) * count, 0) * np.float32(BQML_PER_MEAN)
        path = dose_path(subject, "sub-001", dose)
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.nifti1.Nifti1Image(scan, affine)
        image.header.set_xyzt_units("mm")
        nibabel.openers.Opener.default_compresslevel = 1
        nibabel.save(image, path)
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps({"Units": "Bq/mL"}))
    facts = {"subject": "sub-001", "doses": [dose_label(d) for d in DOSES]}
    (subject / SUBJECT_FILE).write_text(json.dumps(facts))
    (cohort / COHORT_FILE).write_text(json.dumps({"kind": "mapdiff cohort", "simulated": True}))


def packed(cohort: Path, store: Path, jobs: int) -> dict[str, float]:
    """Seconds and peak resident memory of `mapdiff pack`."""
    started = time.monotonic()
    words = ["-m", "mapdiff", "pack", str(cohort), "-o", str(store), "--jobs", str(jobs)]
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"seconds": round(time.monotonic() - started, 1), "peak_gb": round(peak, 2)}


def worst_error(cohort: Path, store: Path) -> float:
    """Largest relative error of a stored dose above a thousandth of the body's mean."""
    stored = store_subjects(store)[0]
    box = tuple(slice(o, o + n) for o, n in zip(stored.facts.origin, stored.facts.shape, strict=True))
    whole = tuple(slice(0, n) for n in stored.facts.shape)
    path = dose_path(cohort / "sub-001", "sub-001", DOSES[0])
    real = np.asarray(nibabel.nifti1.Nifti1Image.from_filename(path).dataobj, np.float32)[box]
    back = stored.read(whole)[0].astype(np.float32) * np.float32(stored.facts.scale)
    seen = real > 1e-3 * stored.facts.scale
    return float((np.abs(back - real)[seen] / real[seen]).max())


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    cohort, store = options.work / "cohort", options.work / "cohort.zarr"
    make_cohort(cohort)
    shutil.rmtree(store, ignore_errors=True)
    first = packed(cohort, store, options.jobs)
    again = packed(cohort, store, options.jobs)
    stored = sum(p.stat().st_size for p in store.rglob("*") if p.is_file())
    source = 4 * len(DOSES) * int(np.prod(SHAPE))
    result = {
        "shape": SHAPE,
        "doses": len(DOSES),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "pack": first,
        "pack_again": again,
        "float32_gb": round(source / 1e9, 2),
        "stored_gb": round(stored / 1e9, 3),
        "worst_relative_error": worst_error(cohort, store),
    }
    print(json.dumps(result, indent=1))
    (options.work / "store.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
