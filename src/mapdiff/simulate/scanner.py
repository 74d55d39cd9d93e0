"""The scanners that are simulated: one set of physical parameters each, every figure with its source.

The model is a slice-by-slice (2D) one of a 3D time-of-flight scanner. `sensitivity_cps_per_bq` is the whole
system's, so that the counts of a slice are those that the 3D acquisition collects from it. What the model
leaves out (time of flight's gain in statistics, dead time, detector gaps, the limits that reconstructions set
to oblique rays) is in one figure per scanner, `effective_gain`, which grows with the body's width as the gain
of time of flight does. It is fitted, so that the noise of the images is that of the real scanner (the noise
figures of 1,323 acquisitions, KUL-recon-lab/2025_ud_pet_kul).
"""

from dataclasses import dataclass, replace

import numpy as np

from mapdiff.errors import InputError


@dataclass(frozen=True)
class Scanner:
    """A PET scanner and the reconstruction that its users run.

    Attributes:
        name: what `--scanner` takes.
        manufacturer: as its DICOM header writes it.
        model: as its DICOM header writes it.
        spacing_mm: voxel size of the clinical reconstruction along i, j, k.
        matrix: voxels of the clinical reconstruction along i, j, k.
        sensitivity_cps_per_bq: trues per second and Bq in the field of view, without attenuation.
        effective_gain: effective counts per recorded count; fitted to the scanner's noise figures.
        resolution_mm: FWHM of the detector response, in plane and axially.
        scatter_fraction: scatter / (trues + scatter).
        randoms_ratio: randoms / trues (prompt window, FDG whole-body activities).
        angles: projection angles of the simulated acquisition.
        iterations: OSEM iterations.
        subsets: OSEM subsets.
        psf_mm: FWHM of the resolution model inside the reconstruction; 0 is none.
        filter_mm: FWHM of the Gaussian filter after reconstruction; 0 is none.
        tof_reference_mm: diameter of the body at which `effective_gain` holds; it grows in proportion to the
            diameter, as the gain of time of flight does. 0: it is the same everywhere.
        coarse_iterations: OSEM iterations on squares of pixels before those on the pixels. Time of flight
            brings broad regions to their level within the iterations that clinics run; without it few
            subsets do not get there. As many subsets as angles do, and need no such start.
    """

    name: str
    manufacturer: str
    model: str
    spacing_mm: tuple[float, float, float]
    matrix: tuple[int, int, int]
    sensitivity_cps_per_bq: float
    effective_gain: float
    resolution_mm: float
    scatter_fraction: float
    randoms_ratio: float
    angles: int
    iterations: int
    subsets: int
    psf_mm: float
    filter_mm: float
    tof_reference_mm: float = 0.0
    coarse_iterations: int = 0

    @property
    def fov_mm(self) -> float:
        """Diameter of the field of view."""
        return self.matrix[0] * self.spacing_mm[0]


#: Siemens Biograph Vision Quadra. Sensitivity 83.4 cps/kBq at a maximum ring difference of 85,
#: scatter fraction 36 %, 3.3 to 3.8 mm: Prenosil et al., J Nucl Med 63 (2022) 476. Grid: the UDPET cohort's.
QUADRA = Scanner(
    name="quadra",
    manufacturer="SIEMENS",
    model="Biograph128_Vision Quadra Edge",
    spacing_mm=(1.65, 1.65, 1.65),
    matrix=(440, 440, 644),
    sensitivity_cps_per_bq=0.0834,
    effective_gain=22.0,
    resolution_mm=3.6,
    scatter_fraction=0.36,
    randoms_ratio=0.6,
    angles=120,
    iterations=1,
    subsets=120,
    psf_mm=0.0,
    filter_mm=2.5,
    tof_reference_mm=250.0,
)

#: United Imaging uEXPLORER. Sensitivity 174 cps/kBq, scatter fraction 36 %, 3.0 mm: Spencer et al.,
#: J Nucl Med 62 (2021) 861. Grid: the UDPET cohort's.
UEXPLORER = Scanner(
    name="uexplorer",
    manufacturer="UIH",
    model="uEXPLORER",
    spacing_mm=(1.6667, 1.6667, 2.886),
    matrix=(360, 360, 673),
    sensitivity_cps_per_bq=0.174,
    effective_gain=8.05,
    resolution_mm=3.2,
    scatter_fraction=0.36,
    randoms_ratio=0.9,
    angles=156,
    iterations=1,
    subsets=156,
    psf_mm=0.0,
    filter_mm=2.75,
    tof_reference_mm=250.0,
)

#: The two with a resolution model in the reconstruction, as the clinics' "PSF" images have it. Their noise is
#: that of the real scanners too, but organs beside brighter tissue are up to 9 % off at full dose
#: (docs/experiments.md). Tables of before 2026-11-28 were made with these.
QUADRA_PSF = replace(
    QUADRA, effective_gain=5.0, iterations=3, subsets=20, psf_mm=3.6, filter_mm=0.0, coarse_iterations=6
)
UEXPLORER_PSF = replace(
    UEXPLORER,
    effective_gain=1.03,
    angles=120,
    iterations=2,
    subsets=20,
    psf_mm=3.2,
    filter_mm=1.5,
    coarse_iterations=6,
)

#: The scanners whose noise and physics are measured (benchmarks/noise.py, benchmarks/physics.py).
PRESETS = {scanner.name: scanner for scanner in (QUADRA, UEXPLORER)}
#: Everything that `--scanner` takes but "varied"; `Scanner.name` tells whose cohort and grid it is.
NAMED = {**PRESETS, "quadra-psf": QUADRA_PSF, "uexplorer-psf": UEXPLORER_PSF}
#: Besides the presets: a different scanner for every subject, for training (see `draw_scanner`).
VARIED = "varied"


def scanner_named(name: str) -> Scanner:
    """The scanner of that name.

    Raises:
        InputError: there is none.
    """
    if name not in NAMED:
        raise InputError(f"scanner '{name}' is unknown; there are {', '.join([*NAMED, VARIED])}")
    return NAMED[name]


#: Noise that the scans of drawn scanners are given at 1/20 of the dose (NMAE inside the body), about: from a
#: quiet brain scan on a coarse grid to a heavy patient on a small ring.
VARIED_NOISE = (0.12, 0.6)
#: Part of the drawn scanners that reconstruct as the presets do, one view per subset; the others do as the
#: -psf ones, with few subsets. Their noise differs: its grain is half as large where a subset is one view.
ONE_VIEW = 0.6


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner that no preset is, for a model that must serve scanners it never saw.

    Varies round the Quadra what differs between scanners and between the protocols of one: resolution 3 to
    6.5 mm, how the reconstruction runs and how far it has converged, a filter, time of flight or none, and
    the counts: as many as give the noise drawn from `VARIED_NOISE`, for a filter that wide and a
    reconstruction that far. Drawn apart from these, half of the scans come out nearly without noise at 1/20.
    """
    drawn = replace(
        QUADRA,
        name=VARIED,
        manufacturer="",
        model="",
        effective_gain=3.6,
        resolution_mm=float(rng.uniform(3.0, 6.5)),
        scatter_fraction=float(rng.uniform(0.3, 0.42)),
        randoms_ratio=float(rng.uniform(0.2, 1.2)),
        tof_reference_mm=QUADRA.tof_reference_mm if rng.random() < 0.6 else 0.0,
    )
    drawn = _with_one_view(drawn, rng) if rng.random() < ONE_VIEW else _with_few_subsets(drawn, rng)
    low, high = VARIED_NOISE
    noise = low * (high / low) ** rng.random()
    counts = (_noise_at_quadra_sensitivity(drawn) / noise) ** (1 / 0.53)
    return replace(drawn, sensitivity_cps_per_bq=QUADRA.sensitivity_cps_per_bq * float(counts))


def _with_one_view(scanner: Scanner, rng: np.random.Generator) -> Scanner:
    """One view per subset, one iteration or two, a filter of up to 6 mm, no resolution model."""
    angles = int(rng.integers(90, 181))
    return replace(
        scanner,
        angles=angles,
        subsets=angles,
        iterations=1 if rng.random() < 0.75 else 2,
        filter_mm=float(rng.uniform(0.0, 6.0)),
    )


def _with_few_subsets(scanner: Scanner, rng: np.random.Generator) -> Scanner:
    """Few subsets, 16 to 80 updates, a resolution model in 6 of 10, a filter of up to 6 mm in every other."""
    return replace(
        scanner,
        subsets=int(rng.choice([8, 20])),
        iterations=int(rng.integers(2, 5)),
        psf_mm=float(scanner.resolution_mm * rng.uniform(0.7, 1.0)) if rng.random() < 0.6 else 0.0,
        filter_mm=float(rng.uniform(0.0, 6.0)) if rng.random() < 0.5 else 0.0,
        coarse_iterations=QUADRA_PSF.coarse_iterations if scanner.tof_reference_mm else 0,
    )


def _noise_at_quadra_sensitivity(scanner: Scanner) -> float:
    """Noise at 1/20 with the Quadra's sensitivity and a gain of 3.6, roughly.

    Fits of log noise to 107 scans of drawn scanners with few subsets and to 60 with one view in each, at 1.6
    to 5.5 mm, whose residuals have a deviation of 0.36 and 0.42: body, activity and voxel size are left out.
    Noise fell as the counts to the power 0.53.
    """
    width = 1 + (scanner.filter_mm**2 + scanner.psf_mm**2) / scanner.resolution_mm**2
    if scanner.subsets == scanner.angles:
        return float(
            np.exp(0.78 + 0.26 * (scanner.iterations == 2)) * scanner.resolution_mm**-0.96 * width**-1.10
        )
    return float(
        np.exp(-1.56 + 0.70 * (scanner.subsets == 20) + 0.21 * (scanner.psf_mm > 0))
        * scanner.resolution_mm**-0.87
        * width**-1.06
        * scanner.iterations**0.69
    )
