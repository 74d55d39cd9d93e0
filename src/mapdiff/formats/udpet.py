"""The UDPET challenge's data as it lies on disk: folder names that tell the dose, and the test set's table.

Two scanners, two ways to name a dose (the challenge's cohort; see docs/formats.md):

    Quadra      Subject_115-117/30122021_5_20211230_170836/   Full_dose, 1-2 dose, ... 1-100 dose
    uEXPLORER   uExplorerPART10/Anonymous_ANO_20220224_.../   2.886 x 600 WB NORMAL (or normal),
                                                              ... D2 to D100, or ... DRF_2 to DRF_100

The number is the dose reduction factor in both: D100, DRF_100 and "1-100 dose" are the lowest dose.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from mapdiff import suv
from mapdiff.decay import DAY_S, MOST_HALF_LIVES
from mapdiff.dose import FULL, LOWEST
from mapdiff.errors import InputError, UnitError
from mapdiff.formats.bids import parse_unit
from mapdiff.formats.checks import F18_HALF_LIFE_RANGE_S, FDG_NAMES
from mapdiff.volume import UNKNOWN, Acquisition, Volume

QUADRA, UEXPLORER = "quadra", "uexplorer"
#: How the folders are named; group 1 is the dose reduction factor, which the full dose has none of.
_NAMES = (
    (QUADRA, re.compile(r"full[ _-]?dose", re.IGNORECASE)),
    (QUADRA, re.compile(r"1[-_/](\d+)[ _-]?dose", re.IGNORECASE)),
    (UEXPLORER, re.compile(r"(?:.*\bWB[ _]+)?normal", re.IGNORECASE)),
    (UEXPLORER, re.compile(r"(?:.*\bWB[ _]+)?D(?:RF)?[ _-]?(\d+)", re.IGNORECASE)),
)
#: Names in a header that tell the form of the drug, not which it is.
_NO_TRACER = ("solution", "unknown", "other")
#: Columns of the table that must be there.
_FILE, _DRF, _UNIT = "NiftiFileName", "DoseReductionFactor", "ImageUnits"
_WEIGHT, _ACTIVITY = "PatientWeight_kg", "RadionuclideTotalDose_Bq"
_UPTAKE, _HALF_LIFE = "TimeFromInjectionToAcquisition_s", "RadionuclideHalfLife_s"
_COLUMNS = (_FILE, _DRF, _UNIT, _WEIGHT, _ACTIVITY, _UPTAKE, _HALF_LIFE)
_SPACING = ("PixelSpacing_x_mm", "PixelSpacing_y_mm", "SliceThickness_mm")


# The training trees ------------------------------------------------------------------------------------


def dose_of_folder(name: str) -> tuple[str, Fraction] | None:
    """The scanner ("quadra" or "uexplorer") and the dose that a folder's name tells, or None."""
    for scanner, pattern in _NAMES:
        found = pattern.fullmatch(name.strip())
        if found is None:
            continue
        drf = int(found.group(1)) if pattern.groups else 1
        return (scanner, Fraction(1, drf)) if 1 <= drf <= 1 / LOWEST else None
    return None


def folder_of_dose(scanner: str, dose: Fraction) -> str:
    """How a dose's folder is called in the training tree of a scanner."""
    drf = 1 / dose
    if drf.denominator != 1:
        raise InputError(f"dose {dose} has no folder name in this layout: give 1/2, 1/4, 1/10 and the like")
    if scanner == QUADRA:
        return "Full_dose" if dose == FULL else f"1-{drf} dose"
    if scanner == UEXPLORER:
        return "2.886 x 600 WB " + ("NORMAL" if dose == FULL else f"D{drf}")
    raise InputError(f"scanner '{scanner}' has no such layout; there are {QUADRA} and {UEXPLORER}")


@dataclass(frozen=True)
class SubjectFolder:
    """A folder with the doses of one subject.

    Attributes:
        path: the folder.
        scanner: "quadra" or "uexplorer", by the folders' names.
        doses: the folders of each dose, from the highest dose to the lowest; more than one is a fault.
        strange: how many other folders lie beside them.
    """

    path: Path
    scanner: str
    doses: dict[Fraction, tuple[Path, ...]]
    strange: int


def find_subjects(source: Path) -> list[SubjectFolder]:
    """The subjects' folders at or below a folder, sorted by path: those that hold a folder named as a dose.

    Raises:
        InputError: the folder is not there, cannot be listed, or holds none.
    """
    if not source.exists():
        raise InputError("is not there", source)
    if not source.is_dir():
        raise InputError("is not a folder", source)
    try:
        found = _subjects_below(source)
    except PermissionError as error:
        what = "it" if str(error.filename) == str(source) else "a folder in it"  # which may bear a name
        raise InputError(f"no permission to list {what}", source) from error
    if not found:
        raise InputError(
            "holds no subject of a UDPET training tree: no folder called Full_dose, 1-2 dose, ... or "
            "2.886 x 600 WB NORMAL, ... D2",
            source,
        )
    return found


def _subjects_below(folder: Path) -> list[SubjectFolder]:
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    named = {path: told for path in folders if (told := dose_of_folder(path.name)) is not None}
    if not named:
        return [subject for path in folders for subject in _subjects_below(path)]
    doses: dict[Fraction, tuple[Path, ...]] = {}
    for path, (_, dose) in named.items():
        doses[dose] = (*doses.get(dose, ()), path)
    scanner = next(iter(named.values()))[0]
    ordered = dict(sorted(doses.items(), reverse=True))
    return [SubjectFolder(folder, scanner, ordered, len(folders) - len(named))]


def other_tracer(acquisition: Acquisition) -> str | None:
    """Why a scan is not FDG's, in one line; None if nothing says so.

    The half-life and the nuclide count before the name: scans of Ga-68 have been labelled FDG.
    """
    half_life, nuclide, tracer = acquisition.half_life_s, acquisition.nuclide, acquisition.tracer
    lowest, highest = F18_HALF_LIFE_RANGE_S
    if half_life is not None and not lowest <= half_life <= highest:
        return f"another tracer: the half-life of {half_life:g} s is not that of F-18"
    if nuclide is not None and nuclide.upper() not in ("F18", "18F"):
        return f"another tracer: the nuclide is {nuclide}, not F-18"
    if tracer is None or tracer.lower() in _NO_TRACER:
        return None
    if not any(name in tracer.lower() for name in FDG_NAMES):
        return f"another tracer: {tracer}, not FDG"
    return None


# The test set's table ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TableRow:
    """What the table tells of one image of the test set.

    Attributes:
        dose: its dose fraction.
        unit: "Bq/mL", "SUV" or "unknown".
        acquisition: weight, activity, uptake time, half-life, tracer, scanner; absurd figures are None,
            with the reason in `missing`.
        spacing_mm: voxel size, where the table tells it.
    """

    dose: Fraction
    unit: str
    acquisition: Acquisition
    spacing_mm: tuple[float, float, float] | None


def read_csv(path: Path) -> dict[str, TableRow]:
    """Read the test set's table (PET_info.csv): a row per image, by the name of its NIfTI file.

    Raises:
        InputError: it is not there or no such table, a figure is no number, or a name stands there twice;
            the line names the row and the column.
    """
    if not path.is_file():
        raise InputError("is not there" if not path.exists() else "is not a file", path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            absent = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if absent:
                raise InputError(f"is not a table of the test set: it has no column {absent[0]}", path)
            rows: dict[str, TableRow] = {}
            for fields in reader:
                where = f"line {reader.line_num}"
                name = (fields[_FILE] or "").strip()
                if not name:
                    raise InputError(f"{where}: {_FILE} is empty", path)
                if name in rows:
                    raise InputError(f"{where}: its {_FILE} stands in it twice", path)
                rows[name] = _row(fields, where, path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("is not a readable CSV table", path) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path) from error
    if not rows:
        raise InputError("has no rows", path)
    return rows


def _row(fields: dict[str, Any], where: str, path: Path) -> TableRow:
    missing: dict[str, str] = {}

    def figure(column: str) -> float | None:
        text = (fields.get(column) or "").strip()
        if not text:
            return None
        try:
            return float(text)
        except ValueError:
            raise InputError(f"{where}: {column} is not a number", path) from None

    def fact(name: str, column: str, check: Callable[[float], float]) -> float | None:
        value = figure(column)
        if value is None:
            missing[name] = f"{column} is empty in the table"
            return None
        try:
            return check(value)
        except UnitError:
            missing[name] = f"{column} of {value:g} in the table is absurd"
            return None

    drf = figure(_DRF)
    if drf is None or not 1 <= drf <= 1 / LOWEST:
        raise InputError(f"{where}: {_DRF} is no dose reduction factor", path)
    half_life = fact("half_life_s", _HALF_LIFE, suv.check_half_life)

    def uptake(seconds: float) -> float:
        if not 0 <= seconds <= MOST_HALF_LIVES * (half_life or DAY_S):
            raise UnitError("absurd")
        return seconds

    unit = parse_unit(fields[_UNIT] or "")
    sizes = [figure(column) for column in _SPACING]
    spacing = None if None in sizes else (sizes[0] or 0.0, sizes[1] or 0.0, sizes[2] or 0.0)
    correction = (fields.get("DecayCorrection") or "START").strip().upper()
    seconds = fact("uptake_s", _UPTAKE, uptake)
    if correction == "ADMIN":
        seconds = 0.0
    elif correction != "START":
        missing["uptake_s"], seconds = f"DecayCorrection is {correction} in the table", None
    acquisition = Acquisition(
        tracer=fields.get("RadiopharmaceuticalName") or None,
        half_life_s=half_life,
        injected_activity_bq=fact("injected_activity_bq", _ACTIVITY, suv.activity_bq),
        uptake_s=seconds,
        weight_kg=fact("weight_kg", _WEIGHT, suv.check_weight),
        manufacturer=fields.get("Manufacturer") or None,
        model=fields.get("ManufacturerModelName") or None,
        missing=missing,
    )
    dose = Fraction(1) / Fraction(drf).limit_denominator(1000)
    # A factor other than 1 would change voxels, which the table must not.
    told = unit[0] if unit is not None and unit[1] == 1.0 else UNKNOWN
    return TableRow(dose, told, suv.completed(acquisition), spacing)


def with_table(volume: Volume, row: TableRow) -> Volume:
    """The scan with the facts of its row in the table; they stand in `supplied`, and no voxel changes.

    The row's facts replace the file's; its unit is taken where the file tells none.
    """
    facts = row.acquisition
    notes: list[str] = []
    if row.unit not in (UNKNOWN, volume.unit):
        if volume.unit != UNKNOWN:
            notes.append(f"the file says {volume.unit}, the table {row.unit}; took the file's")
        else:
            told = {k: text for k, text in volume.acquisition.missing.items() if k != "unit"}
            known = tuple(text for text in volume.warnings if not text.startswith("unknown unit"))
            acquisition = replace(volume.acquisition, missing=told)
            volume = replace(volume, unit=row.unit, warnings=known, acquisition=acquisition)
    if row.spacing_mm is not None:
        off = max(abs(a / b - 1) for a, b in zip(row.spacing_mm, volume.spacing, strict=True))
        if off > 0.01:
            sizes = [" x ".join(f"{s:.4g}" for s in spacing) for spacing in (row.spacing_mm, volume.spacing)]
            notes.append(f"the table says voxels of {sizes[0]} mm, the file {sizes[1]} mm; took the file's")
    notes += facts.missing.values()
    volume = suv.with_supplied(
        volume,
        weight_kg=facts.weight_kg,
        injected_activity_bq=facts.injected_activity_bq,
        uptake_s=facts.uptake_s,
        half_life_s=facts.half_life_s,
    )
    have = volume.acquisition
    named = replace(
        have,
        tracer=have.tracer or facts.tracer,
        manufacturer=have.manufacturer or facts.manufacturer,
        model=have.model or facts.model,
    )
    return replace(volume, acquisition=named, warnings=(*volume.warnings, *notes))
