"""How long a page takes, how much memory, how large it is and how soon it opens, for a scan of any size.

    python benchmarks/report.py --work /tmp/report                       440 x 440 x 644, six volumes
    python benchmarks/report.py --work /tmp/report --shape 128 128 267

Writes a synthetic run (input, three stages, result, standard deviation and a manifest: an ellipsoid of
noise in air that is exactly 0, which compresses no better than a scan) as NIfTI, makes its page with `mapdiff
report` in a process of its own, opens it in headless Chromium. Asked for: 60 s, 3 GB, 25 MB, 5 s, two cores.
On a loaded machine "page_cpu_seconds" tells more than the wall time.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

from mapdiff.formats import read
from mapdiff.inference.run import beside, input_hash, manifest_path
from mapdiff.volume import Array

SPACING_MM = (1.65, 1.65, 1.65)
#: Noise of each image, as a part of the signal.
NOISE = {"input": 0.9, "1/10": 0.6, "1/4": 0.4, "1/2": 0.3, "result": 0.15, "deviation": 0.1}
SEMI_AXES = (0.52, 0.40, 0.98)
BQML_PER_SUV = 4000.0


def image(shape: tuple[int, int, int], noise: float, seed: int) -> Array:
    """An ellipsoid of SUV about 1 with hot blobs and noise, made slice by slice; float32, Bq/mL."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) / r for n, r in zip(shape, SEMI_AXES, strict=True)]
    out = np.zeros(shape, np.float32, order="F")
    plane = axes[0][:, None] ** 2 + axes[1][None, :] ** 2
    for k in range(shape[2]):
        inside = plane + axes[2][k] ** 2 < 1
        blobs = 1 + 4 * (
            (np.sin(20 * axes[0])[:, None] * np.sin(15 * axes[1])[None, :] * np.sin(k / 20)) > 0.8
        )
        values = blobs * (1 + noise * rng.standard_normal(plane.shape, dtype=np.float32))
        out[:, :, k] = np.where(inside, BQML_PER_SUV * np.maximum(values, 0), 0)
    return out


def make_run(folder: Path, shape: tuple[int, int, int], ending: str) -> Path:
    """Input, result, companions and manifest, where they are not there yet; the result's path."""
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / f"result{ending}"
    source = folder / f"input{ending}"
    stages = {label: beside(result, f"dose-{label.replace('/', '-')}") for label in ("1/10", "1/4", "1/2")}
    paths = {"input": source, **stages, "result": result, "deviation": beside(result, "deviation")}
    if manifest_path(result).exists():
        return result
    for seed, (name, path) in enumerate(paths.items()):
        print(f"writing {path.name}", flush=True)
        made = nibabel.nifti1.Nifti1Image(image(shape, NOISE[name], seed), np.diag([*SPACING_MM, 1.0]))
        made.header["descrip"] = b"Bq/mL"
        nibabel.save(made, path)
        facts = {"Modality": "PT", "Units": "Bq/mL", "SUVbwPerBqPerML": 1 / BQML_PER_SUV}
        path.with_name(path.name.replace(ending, ".json")).write_text(json.dumps(facts))
    manifest = {
        "note": "synthetic",
        "input": {
            "path": str(source),
            "sha256_of_voxels_and_affine": input_hash(read(source)),
            "unit": "Bq/mL",
        },
        "outputs": [path.name for name, path in paths.items() if name != "input"],
        "stages": {label: label for label in stages},
        "parameters": {"samples": 4},
        "warnings": [],
    }
    manifest_path(result).write_text(json.dumps(manifest))
    return result


def make_page(result: Path, page: Path, reference: Path | None) -> tuple[float, float, float]:
    """Seconds, seconds of processor time and peak resident GB of `mapdiff report` in its own process."""
    words = [sys.executable, "-m", "mapdiff", "report", str(result), "-o", str(page), "--overwrite"]
    words += ["--reference", str(reference)] if reference else []
    start = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def open_page(page: Path) -> float | None:
    """Seconds until the page is drawn in headless Chromium; None where that is not installed."""
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not driver:
        return None
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tempfile.mkdtemp()}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        start = time.monotonic()
        browser.get(page.resolve().as_uri())
        while not browser.execute_script("return document.documentElement.dataset.ready"):
            if time.monotonic() - start > 300:
                raise SystemExit("the page never became ready")
            time.sleep(0.02)
        return time.monotonic() - start
    finally:
        browser.quit()


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shape", type=int, nargs=3, default=(440, 440, 644))
    parser.add_argument("--ending", choices=(".nii.gz", ".nii"), default=".nii.gz")
    parser.add_argument("--reference", action="store_true", help="with the input as a reference: figures too")
    arguments = parser.parse_args()
    i, j, k = arguments.shape
    folder = arguments.work / f"{i}x{j}x{k}{arguments.ending}"
    result = make_run(folder, (i, j, k), arguments.ending)
    page = folder / "page.html"
    load = os.getloadavg()[0]
    reference = folder / f"input{arguments.ending}" if arguments.reference else None
    seconds, cpu, gigabytes = make_page(result, page, reference)
    opened = open_page(page)
    found = {
        "shape": [i, j, k],
        "files": arguments.ending,
        "page_seconds": round(seconds, 1),
        "page_cpu_seconds": round(cpu, 1),
        "peak_gb": round(gigabytes, 2),
        "page_mb": round(page.stat().st_size / 1e6, 1),
        "opens_in_seconds": None if opened is None else round(opened, 1),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load, 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
