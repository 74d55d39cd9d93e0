"""How near the shipped model comes to Wiener's filter that knows the answer's spectra, region by region.

    python benchmarks/limit.py --shared ../shared/data --work runs/bench

In windows that lie wholly in one organ (or in a ball of the real scan) mean power spectra of the noise-free
image and of the twentieth's noise are taken. The filter that knows both leaves sum S N / (S + N) of sum N;
beside it stands what the network leaves in the same windows. A mark by which to see how much of an error is
what could hardly be known, and no bound: the windows are few voxels wide and tapered, so their spectra are
smeared, and with smeared spectra the formula, concave in both, gives more than the best linear filter leaves.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from shipped import DOSE, SIMULATED, simulated, sts001

from mapdiff.cohort.layout import doses_of, truth_path
from mapdiff.diffusion import dose_path
from mapdiff.formats import read
from mapdiff.inference import Denoiser
from mapdiff.simulate.phantom import ORGANS
from mapdiff.volume import Array

#: Edge of a window, voxels; how few windows are no measure, and how many are enough.
WINDOW, LEAST, MOST = 5, 8, 4000
NAMES = ("muscle", "liver", "visceral_fat", "lungs", "brain")


def windows(mask: Array, edge: int) -> Array:
    """First voxels (N, 3) of cubes that lie wholly in the mask, evenly over it, MOST at most."""
    for axis in range(3):
        mask = np.lib.stride_tricks.sliding_window_view(mask, edge, axis).all(axis=-1)
    starts = np.argwhere(mask)
    return starts[:: 1 + len(starts) // MOST]


def spectrum(image: Array, starts: Array, edge: int) -> Array:
    """Mean power spectrum in the windows, each less its weighted mean, under Hann's taper."""
    side = np.hanning(edge + 2)[1:-1]
    taper = side[:, None, None] * side[None, :, None] * side[None, None, :]
    total = np.zeros((edge,) * 3)
    for i, j, k in starts:
        part = image[i : i + edge, j : j + edge, k : k + edge].astype(np.float64)
        part = (part - (part * taper).sum() / taper.sum()) * taper
        total += np.abs(np.fft.fftn(part)) ** 2
    return total / len(starts)


def nmae_of(left: float) -> float:
    """Error against the full dose as a part of the input's, where an estimate leaves a part of the noise.

    Of nested counts: the full dose's own noise, which no estimate knows, is d of the variance.
    """
    d = float(DOSE)
    return float(np.sqrt(d + (1 - d) * left**2))


def limits(denoiser: Denoiser, subject: Path, masks: dict[str, Array]) -> dict[str, dict[str, float]]:
    """Of each region with enough windows: structure over noise, what Wiener and the network leave (rms)."""
    u = read(doses_of(subject)[DOSE])
    z = read(truth_path(subject, subject.name, "noisefree")).array
    restored = denoiser.denoise(u, keep_stages=False)
    z_hat = dose_path.noise_free(restored.image.array, u.array, restored.dose)
    found = {}
    for name, mask in masks.items():
        starts = windows(mask, WINDOW)
        if len(starts) < LEAST:
            continue
        structure, noise, error = (spectrum(a, starts, WINDOW) for a in (z, u.array - z, z_hat - z))
        wiener = float(np.sqrt((structure * noise / (structure + noise)).sum() / noise.sum()))
        network = float(np.sqrt(error.sum() / noise.sum()))
        found[name] = {
            "windows": len(starts),
            "structure over noise": float(np.sqrt(structure.sum() / noise.sum())),
            "wiener leaves": wiener,
            "network leaves": network,
            "nmae by wiener": nmae_of(wiener),
            "nmae by network": nmae_of(network),
        }
    return found


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="the folder of benchmarks/shipped.py")
    parser.add_argument("--model", default="map-diff")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/limit.json"))
    arguments = parser.parse_args()
    denoiser = Denoiser.from_pretrained(arguments.model)
    rows = {"real STS_001": limits(denoiser, *sts001(arguments.shared, arguments.work))}
    for name in SIMULATED:
        for subject in simulated(name, arguments.work):
            organs = read(truth_path(subject, subject.name, "organs"), unit="SUV").array
            masks = {organ: organs == ORGANS[organ] for organ in NAMES}
            rows[f"{name} {subject.name}"] = limits(denoiser, subject, masks)
    for scan, regions in rows.items():
        for region, row in regions.items():
            print(scan, region, {key: round(value, 3) for key, value in row.items()})
    arguments.json.write_text(json.dumps({"model_sha256": denoiser.hash, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
