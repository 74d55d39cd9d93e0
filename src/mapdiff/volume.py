"""Volume: the one type that flows between the rooms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.errors import InputError

Array = NDArray[Any]

#: The unit of an image whose file does not say; only SUV figures need to know it.
UNKNOWN = "unknown"
UNITS = ("Bq/mL", "SUV", UNKNOWN)


@dataclass(frozen=True)
class Acquisition:
    """What the header tells of the scan; None where it does not. No patient identity is kept here.

    Attributes:
        tracer: the radiopharmaceutical as named in the header.
        half_life_s: the nuclide's half-life, seconds.
        injected_activity_bq: the activity injected, at the time of injection, Bq.
        uptake_s: seconds from injection to the time that the image is decay corrected to.
        weight_kg: body weight, kg.
        frame_s: seconds per bed position.
        manufacturer: the maker of the scanner.
        model: the scanner's model name.
        suv_per_bqml: factor from the image's Bq/mL to SUV (body weight), where it is known.
        nuclide: the radionuclide, such as "F18".
        height_m: body height, m.
        sex: "M", "F" or "O".
        reference_clock_s: time of day that the image is decay corrected to, seconds after midnight.
        scan_delay_s: seconds from that time to the start of the scan: 0 where the image is corrected to its
            start, the uptake time where it is corrected to the injection.
        stored_as: what the file's voxels are, such as "BQML" or "GML LBM" (DICOM's terms).
        supplied: the names of those fields that the user gave in place of the header's.
        missing: for each field that could not be had, the reason in one line.
    """

    tracer: str | None = None
    half_life_s: float | None = None
    injected_activity_bq: float | None = None
    uptake_s: float | None = None
    weight_kg: float | None = None
    frame_s: float | None = None
    manufacturer: str | None = None
    model: str | None = None
    suv_per_bqml: float | None = None
    nuclide: str | None = None
    height_m: float | None = None
    sex: str | None = None
    reference_clock_s: float | None = None
    scan_delay_s: float | None = 0.0
    stored_as: str | None = None
    supplied: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def corrected_to_injection(self) -> bool:
        """Whether the image is decay corrected to the injection (DICOM's ADMIN), not to its scan."""
        return self.uptake_s == 0 and self.scan_delay_s != 0


@dataclass(frozen=True)
class Volume:
    """A PET image with its place in the patient.

    Attributes:
        array: voxels as stored, shape (I, J, K); axes i, j, k.
        affine: 4 x 4, from voxel indices (i, j, k) to RAS+ millimetres.
        unit: "Bq/mL", "SUV" or "unknown".
        acquisition: what the header tells of the scan.
        warnings: what the reader found odd but readable, one line each.
        source: what the format's writer needs to write back in kind; opaque to everyone else.
    """

    array: Array
    affine: NDArray[np.float64]
    unit: str = UNKNOWN
    acquisition: Acquisition = field(default_factory=Acquisition)
    warnings: tuple[str, ...] = ()
    source: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the shape, the affine and the unit.

        Raises:
            InputError: the array is not 3D or empty, the affine is not an invertible 4 x 4, or the unit is
                none of UNITS.
        """
        if self.array.ndim != 3 or self.array.size == 0:
            raise InputError(f"a volume needs three axes with voxels, this one has shape {self.array.shape}")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise InputError("the affine is not a finite 4 x 4 matrix")
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise InputError("the affine is singular: the voxel size is zero in some direction")
        if self.unit not in UNITS:
            raise InputError(f"unit '{self.unit}' is none of {', '.join(UNITS)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k in millimetres."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)

    def with_array(self, array: Array) -> Volume:
        """The same scan with other voxels of the same shape."""
        if array.shape != self.array.shape:
            raise InputError(f"voxels of shape {array.shape} do not fit a volume of {self.array.shape}")
        return replace(self, array=array)

    def to(self, unit: str) -> Volume:
        """The image in another unit, float32.

        Raises:
            UnitError: the conversion needs a figure that the header does not tell; the text names it.
        """
        from mapdiff.suv import convert

        return convert(self, unit)
