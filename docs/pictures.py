"""The pages' screenshots in the docs, made anew with the model that ships.

    python docs/pictures.py --shared ../shared --work runs/docs

Simulates a small cohort and scans the real STS_001 again at a twentieth of the dose, denoises all of it,
evaluates both, and takes pictures of the pages in headless Chromium (selenium, chromium and chromedriver must
be there). What is in --work already is not made again, but for the restored scans of another model.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mapdiff.cohort.layout import COHORT_FILE
from mapdiff.dose import FULL
from mapdiff.inference.denoiser import pretrained_path
from mapdiff.methods.model_file import file_hash
from mapdiff.simulate.cohort import CohortPlan, simulate_cohort

DOSES = (FULL, Fraction(1, 2), Fraction(1, 4), Fraction(1, 10), Fraction(1, 20))
SUBJECTS, SPACING_MM, SEED = 4, 5.0, 4108
SAMPLES = 4
#: Sizes of the window that people look at the pages in.
WIDE, NARROW = (1280, 800), (390, 844)
MOST_BYTES = 400_000


def mapdiff(*words: object) -> None:
    """Run the command line as a user does."""
    print("mapdiff", *words, flush=True)
    subprocess.run([sys.executable, "-m", "mapdiff", *map(str, words)], check=True)


def restored(scans: list[Path], folder: Path) -> None:
    """Denoise scans, with stages and samples, into `folder`; once for each model."""
    for scan in scans:
        if not (folder / scan.name).exists():
            options = ("--save-stages", "--samples", SAMPLES, "--overwrite")
            mapdiff("denoise", scan, "-o", folder / scan.name, *options)


def make_pages(shared: Path, work: Path) -> dict[str, Path]:
    """All scans and pages; the pages by name."""
    model = file_hash(pretrained_path())[:8]
    simulated, real = work / "simulated", work / "real"
    if not (simulated / COHORT_FILE).exists():
        simulate_cohort(CohortPlan(SUBJECTS, "quadra", SEED, (SPACING_MM,) * 3, doses=DOSES), simulated)
    if not (real / COHORT_FILE).exists():
        source = shared / "data" / "real_pet_sts001" / "dicom"
        mapdiff("simulate", "--from-image", source, "-o", real, "--dose", "1/20")
    contours = next((shared / "data" / "real_pet_sts001" / "rtstruct").glob("*.dcm"))
    pages = {}
    for name, cohort in (("simulated", simulated), ("real", real)):
        out = work / f"{name}-restored-{model}"
        scans = sorted(cohort.glob("sub-*/pet/*_rec-drf20_pet.nii.gz"))
        restored(scans, out)
        page = work / f"{name}-page-{model}"
        extra = ("--lesions", contours) if name == "real" else ()
        mapdiff("evaluate", out, cohort, "-o", page, "--overwrite", *extra)
        pages[f"cohort-{name}"] = page / "cohort.html"
        pages[f"report-{name}"] = page / "subjects" / "sub-001.html"
    return pages


def shoot(pages: dict[str, Path], out: Path) -> None:
    """Pictures of each page: the first screen wide, the whole page of the cohort, and narrow in the dark."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tempfile.mkdtemp()}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        for name, page in pages.items():
            for view, size, dark in (("wide", WIDE, False), ("narrow", NARROW, True)):
                whole = name.startswith("cohort") and view == "wide"
                picture = _screenshot(browser, page, size, dark, whole)
                _save(picture, out / f"{name}-{view}.png")
    finally:
        browser.quit()


def _screenshot(browser: Any, page: Path, size: tuple[int, int], dark: bool, whole: bool) -> Image.Image:
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    _resize(browser, *size)
    browser.get(page.resolve().as_uri())
    end = time.monotonic() + 120
    while not browser.execute_script("return document.documentElement.dataset.ready"):
        if time.monotonic() > end:
            raise SystemExit(f"{page} never became ready")
        time.sleep(0.2)
    time.sleep(2)
    if whole:
        _resize(browser, size[0], min(6000, browser.execute_script("return document.body.scrollHeight")))
        time.sleep(1)
    elif size[0] < 500:
        _resize(browser, size[0], 1500)
        time.sleep(2)
    return Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")


def _resize(browser: Any, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def _save(picture: Image.Image, path: Path) -> None:
    """With a palette of even greys and a few colours, as small as keeps the file under MOST_BYTES."""
    pixels = np.asarray(picture)
    coloured = pixels[np.ptp(pixels, axis=2) > 12]
    for greys, colours in ((192, 64), (96, 32), (48, 16), (24, 8)):
        even = np.linspace(0, 255, greys).round().astype(np.uint8)
        entries = [int(v) for grey in even for v in (grey, grey, grey)]
        if len(coloured):
            row = Image.fromarray(coloured[None]).quantize(colours, kmeans=1)
            entries += (row.getpalette() or [])[: 3 * colours]
        palette = Image.new("P", (1, 1))
        palette.putpalette(entries)
        text = io.BytesIO()
        picture.quantize(palette=palette, dither=Image.Dither.NONE).save(text, "PNG", optimize=True)
        if text.tell() <= MOST_BYTES:
            break
    path.write_bytes(text.getvalue())
    print(f"{path}: {text.tell() // 1000} kB, {greys} greys", flush=True)


def main() -> None:
    """Make the pages, then their pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    arguments = parser.parse_args()
    shoot(make_pages(arguments.shared, arguments.work), arguments.out)


if __name__ == "__main__":
    main()
