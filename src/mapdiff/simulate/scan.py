"""From an activity to the reconstructions of its scan at every dose, in chunks of slices."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter1d

from mapdiff.simulate.counts import draw_nested, expect
from mapdiff.simulate.projector import Float, Projector
from mapdiff.simulate.reconstruction import Reconstruction
from mapdiff.simulate.scanner import Scanner

#: Air round the body that is reconstructed too, mm; beyond it the images are exactly 0, as in real exports.
MARGIN_MM = 30.0
#: The same beyond the body's ends along the slices.
END_MARGIN_MM = 6.0
#: Slices that are simulated at a time, about, besides those at a chunk's ends that its neighbours have too.
CHUNK = 48
#: Chunks that are simulated at the same time.
WORKERS = 2

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


class Placed(Mapping[Fraction, Float]):
    """Images by dose, kept as the box of the plane that is not 0 and given out on the whole grid."""

    def __init__(self, shape: tuple[int, int, int], box: Box, images: Mapping[Fraction, Float]) -> None:
        """Keep the images (box's rows, box's columns, K) of a grid of that shape."""
        self._shape, self._box, self._images = shape, box, images

    def __getitem__(self, dose: Fraction) -> Float:
        """The image (I, J, K) of a dose; a new array each time."""
        whole = np.zeros(self._shape, np.float32)
        whole[self._box] = self._images[dose]
        return whole

    def __iter__(self) -> Iterator[Fraction]:
        """The doses."""
        return iter(self._images)

    def __len__(self) -> int:
        """How many doses."""
        return len(self._images)


@dataclass(frozen=True)
class MultiDoseScan:
    """The scans of one body.

    Attributes:
        doses: the reconstruction (I, J, K) in Bq/mL of each dose.
        noise_free: the reconstruction of the expected counts, same grid and unit.
        effective_counts: coincidences at each dose, times the scanner's effective gain.
    """

    doses: Mapping[Fraction, Float]
    noise_free: Float
    effective_counts: dict[Fraction, int]


def reconstructed(body: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """The voxels that are reconstructed: the body and MARGIN_MM of air in its plane, (I, J, K)."""
    ends = 2 * math.ceil(END_MARGIN_MM / spacing_mm[2]) + 1
    near = maximum_filter1d(body.view(np.uint8), ends, axis=2, mode="constant")
    mask = np.zeros(body.shape, bool)
    for k in np.flatnonzero(near.any(axis=(0, 1))):
        mask[:, :, k] = distance_transform_edt(near[:, :, k] == 0, sampling=spacing_mm[:2]) <= MARGIN_MM
    return mask


def box_of(shadow: Mask, spacing_mm: tuple[float, float, float]) -> Box:
    """The part of the plane that holds the reconstructed pixels of a body with that shadow (I, J)."""
    sides = []
    for axis in range(2):
        hit = np.flatnonzero(shadow.any(axis=1 - axis))
        reach = math.ceil(MARGIN_MM / spacing_mm[axis]) + 1
        low, high = (0, 0) if hit.size == 0 else (int(hit[0]) - reach, int(hit[-1]) + 1 + reach)
        sides.append(slice(max(low, 0), min(high, shadow.shape[axis])))
    return sides[0], sides[1]


def bin_width(spacing_mm: tuple[float, float, float], resolution_mm: float) -> float:
    """Width of the projection bins: fine enough for the pixels and the resolution, and no finer."""
    return float(max(min(max(spacing_mm[:2]), resolution_mm), 1.8))


@dataclass(frozen=True)
class _Scan:
    """What all chunks of a scan share."""

    activity: Float
    mu: Float
    body: Mask
    spacing_mm: tuple[float, float, float]
    scanner: Scanner
    seconds: float
    doses: Sequence[Fraction]
    seed: int
    reach_mm: float
    targets: Mapping[Fraction | None, Float]

    def run(self, chunk: slice) -> dict[Fraction, int]:
        """Simulate the slices of a chunk into the targets; return its prompts."""
        scanner, slices = self.scanner, self.body.shape[2]
        # The resolution model, the filter and the detector's blur bring in what lies beside the chunk.
        reach = 2.5 * scanner.psf_mm + 1.5 * scanner.filter_mm
        halo = math.ceil(reach / self.spacing_mm[2])
        blur = math.ceil(1.5 * scanner.resolution_mm / self.spacing_mm[2]) + 1
        wide = slice(max(chunk.start - halo, 0), min(chunk.stop + halo, slices))
        all_of = slice(max(wide.start - blur, 0), min(wide.stop + blur, slices))
        ends = slice(max(all_of.start - blur, 0), min(all_of.stop + blur, slices))
        mask = reconstructed(self.body[:, :, ends], self.spacing_mm)[
            :, :, all_of.start - ends.start : all_of.stop - ends.start
        ]
        prompts = dict.fromkeys(self.doses, 0)
        if not mask.any():
            return prompts
        projector = Projector(
            support=np.asarray(mask.any(axis=2)),
            spacing_mm=self.spacing_mm,
            angles=scanner.angles,
            subsets=scanner.subsets,
            bin_mm=bin_width(self.spacing_mm, scanner.resolution_mm),
            reach_mm=self.reach_mm,
        )
        expectation = expect(
            projector, scanner, self.activity[:, :, all_of], self.mu[:, :, all_of], self.seconds
        ).slices(slice(wide.start - all_of.start, wide.stop - all_of.start))
        counts = draw_nested(expectation, self.doses, self.seed, wide.start)
        mask = mask[:, :, wide.start - all_of.start : wide.stop - all_of.start]
        inner = slice(chunk.start - wide.start, chunk.stop - wide.start)
        scans = [
            (expectation.prompts, 1.0) if dose is None else (counts[dose], float(dose))
            for dose in self.targets
        ]
        images = Reconstruction(projector, scanner, expectation).osem(scans, mask)
        for target, image in zip(self.targets.values(), images, strict=True):
            target[:, :, chunk] = image[:, :, inner]
        for dose in self.doses:
            prompts[dose] = sum(int(views[:, :, inner].sum(dtype=np.int64)) for views in counts[dose])
        return prompts


def simulate_scan(
    activity: Float,
    mu: Float,
    spacing_mm: tuple[float, float, float],
    scanner: Scanner,
    seconds: float,
    doses: Sequence[Fraction],
    rng: np.random.Generator,
    on_slices: Callable[[int, int], None] = lambda done, of: None,
) -> MultiDoseScan:
    """Project, count, thin and reconstruct.

    Args:
        activity: (I, J, K), Bq/mL at the start of the scan, not negative.
        mu: (I, J, K), linear attenuation at 511 keV, 1/mm.
        spacing_mm: voxel size along i, j, k.
        scanner: the scanner and its reconstruction.
        seconds: length of the scan at full dose.
        doses: from the highest to the lowest.
        rng: the source of randomness; the same state gives the same counts.
        on_slices: called as each chunk of slices is done, with how many are done and how many there are.

    Returns:
        The reconstructions, on the grid of `activity`.
    """
    seed = int(rng.integers(2**63))
    shape = (activity.shape[0], activity.shape[1], activity.shape[2])
    body = (mu > 1e-4) | (activity > 0)
    shadow = np.asarray(body.any(axis=2))
    box = box_of(shadow, spacing_mm)
    i, j = np.nonzero(shadow[box])
    centre = [(side.stop - side.start - 1) / 2 for side in box]
    radii = np.hypot((i - centre[0]) * spacing_mm[0], (j - centre[1]) * spacing_mm[1])
    size = (box[0].stop - box[0].start, box[1].stop - box[1].start, shape[2])
    targets: dict[Fraction | None, Float] = {dose: np.zeros(size, np.float32) for dose in (None, *doses)}
    reach = float(radii.max(initial=0.0)) + MARGIN_MM
    scan = _Scan(activity[box], mu[box], body[box], spacing_mm, scanner, seconds, doses, seed, reach, targets)
    count = math.ceil(shape[2] / CHUNK)
    if not scanner.psf_mm:
        # As many chunks for one thread as for the other. A resolution model reaches further at every update
        # than a chunk's ends do, so there the images keep the chunks that their cohorts were made with.
        count = WORKERS * max(count // WORKERS, 1)
    edges = [shape[2] * n // count for n in range(count + 1)]
    chunks = [slice(edges[n], edges[n + 1]) for n in range(count)]
    prompts = dict.fromkeys(doses, 0)
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:  # the sparse products release the GIL
        for n, found in enumerate(pool.map(scan.run, chunks), 1):
            for dose in doses:
                prompts[dose] += found[dose]
            on_slices(edges[n], shape[2])
    noise_free = np.zeros(shape, np.float32)
    noise_free[box] = targets.pop(None)
    return MultiDoseScan(Placed(shape, box, {dose: targets[dose] for dose in doses}), noise_free, prompts)
