"""BIDS-PET sidecars: the JSON file beside a NIfTI image (BIDS 1.10, "Positron Emission Tomography")."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mapdiff import decay, suv
from mapdiff.atomic import written_aside
from mapdiff.errors import InputError, UnitError
from mapdiff.formats.identity import impersonal
from mapdiff.volume import UNKNOWN, Acquisition, Volume

#: Spellings of units that files use, lower case without blanks, and the factor to the unit named.
_UNITS = {
    "bq/ml": ("Bq/mL", 1.0),
    "bqml": ("Bq/mL", 1.0),
    "bq/cc": ("Bq/mL", 1.0),
    "becquerel/ml": ("Bq/mL", 1.0),
    "kbq/ml": ("Bq/mL", 1e3),
    "mbq/ml": ("Bq/mL", 1e6),
    "suv": ("SUV", 1.0),
    "suvbw": ("SUV", 1.0),
    "g/ml": ("SUV", 1.0),
    "gml": ("SUV", 1.0),
    "g/ml{suvbw}": ("SUV", 1.0),
}
#: What makes a folder a BIDS dataset.
DATASET_FILE = "dataset_description.json"
#: Fields that tell from where times count, and all that count from there.
_ORIGINS = ("TimeZero", "InjectionStart", "ScanStart", "FrameTimesStart")
_TIMES = (
    *_ORIGINS,
    "InjectionEnd",
    "InfusionStart",
    "FrameDuration",
    "ImageDecayCorrected",
    "ImageDecayCorrectionTime",
)
_ACTIVITY = {"bq": 1.0, "kbq": 1e3, "mbq": 1e6, "gbq": 1e9, "mci": 3.7e7, "uci": 3.7e4}
#: Fields of BIDS-PET and of dcm2niix that tell how a scan was made, and not of whom; `deidentify` keeps them.
_IMPERSONAL = frozenset(
    [
        "Modality",
        "Units",
        "Manufacturer",
        "ManufacturersModelName",
        "SoftwareVersions",
        "ImagingFrequency",
        "BodyPart",
        "TracerName",
        "TracerRadionuclide",
        "TracerMolecularWeight",
        "TracerMolecularWeightUnits",
        "InjectedRadioactivity",
        "InjectedRadioactivityUnits",
        "InjectedMass",
        "InjectedMassUnits",
        "SpecificRadioactivity",
        "SpecificRadioactivityUnits",
        "MolarActivity",
        "MolarActivityUnits",
        "ModeOfAdministration",
        "InfusionRadioactivity",
        "InfusionStart",
        "InfusionSpeed",
        "InfusionSpeedUnits",
        "InjectedVolume",
        "Purity",
        "AcquisitionMode",
        "ScanStart",
        "InjectionStart",
        "InjectionEnd",
        "TimeZero",
        "FrameTimesStart",
        "FrameDuration",
        "ScanDuration",
        "ImageDecayCorrected",
        "ImageDecayCorrectionTime",
        "DecayCorrectionFactor",
        "ReconMethodName",
        "ReconMethodParameterLabels",
        "ReconMethodParameterUnits",
        "ReconMethodParameterValues",
        "ReconFilterType",
        "ReconFilterSize",
        "AttenuationCorrection",
        "AttenuationCorrectionMethodReference",
        "ReconMethodImplementationVersion",
        "ScatterFraction",
        "DoseCalibrationFactor",
        "PromptRate",
        "RandomRate",
        "SinglesRate",
        "DecayCorrection",
        "DecayFactor",
        "FrameReferenceTime",
        "SliceThickness",
        "RadionuclideHalfLife",
        "RadionuclidePositronFraction",
        "RadionuclideTotalDose",
        "Radiopharmaceutical",
        "ConvolutionKernel",
        "ReconstructionMethod",
        "AttenuationCorrectionMethod",
        "ScatterCorrectionMethod",
        "RandomsCorrectionMethod",
        "PatientWeight",
        "PatientSize",
        "PatientSex",
        "SUVbwPerBqPerML",
        "SuppliedByUser",
        "GeneratedBy",
        "DoseReductionFactor",
        "SimulatedEffectiveCounts",
        "SimulatedPrompts",  # its name until 2026-11-28
        "ConversionSoftware",
        "ConversionSoftwareVersion",
    ]
)


def parse_unit(text: str) -> tuple[str, float] | None:
    """The unit that a text names and the factor to it ("kBq/mL" is 1000 Bq/mL); None if it names none."""
    return _UNITS.get("".join(text.split()).lower())


def asked_unit(text: str) -> tuple[str, float]:
    """The same of a unit that the user gives.

    Raises:
        InputError: it names none.
    """
    named = parse_unit(text)
    if named is None:
        raise InputError(f"--unit {text}: give Bq/mL, kBq/mL or SUV")
    return named


def sidecar_path(image: Path) -> Path:
    """Where an image's sidecar lies: the same name with .json in place of .nii or .nii.gz."""
    name = image.name
    for ending in (".nii.gz", ".nii"):
        if name.lower().endswith(ending):
            return image.with_name(name[: -len(ending)] + ".json")
    return image.with_name(name + ".json")


def derivative_name(image: Path, desc: str) -> str:
    """The BIDS name of what is made from an image: `sub-1_pet.nii.gz` to `sub-1_desc-denoised_pet.nii.gz`."""
    name = image.name
    ending = next((ending for ending in (".nii.gz", ".nii") if name.lower().endswith(ending)), "")
    stem = name[: len(name) - len(ending)]
    parts = [part for part in stem.split("_") if not part.startswith("desc-")]
    suffix = [parts.pop()] if len(parts) > 1 and "-" not in parts[-1] else []
    return "_".join([*parts, f"desc-{desc}", *suffix]) + ending


def is_bids_pet(image: Path) -> bool:
    """Whether a file is called as BIDS calls a PET image: `sub-<label>[_...]_pet.nii.gz`."""
    return re.fullmatch(r"sub-[0-9A-Za-z]+(_[^_]+)*_pet\.nii(\.gz)?", image.name) is not None


def write_dataset_description(source: Path, output: Path) -> None:
    """Make `output` a BIDS derivative dataset, where `source` is a BIDS dataset and `output` is none yet."""
    target = output / DATASET_FILE
    if not (source / DATASET_FILE).is_file() or target.exists():
        return
    from mapdiff import RESEARCH_USE, __version__

    description = {
        "Name": "mapdiff: full-dose estimates of PET scans",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "mapdiff", "Version": __version__, "Description": RESEARCH_USE}],
    }
    with written_aside(target) as aside:
        aside.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_sidecar(image: Path) -> dict[str, Any] | None:
    """The sidecar beside an image, or None.

    Raises:
        InputError: there is one and it is no JSON object.
    """
    path = sidecar_path(image)
    if not path.is_file():
        return None
    try:
        # NaN and Infinity, which JSON has not, count as null
        loaded = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=lambda word: None)
    except (ValueError, OSError) as error:
        raise InputError(f"the sidecar is not readable JSON: {error}", path) from error
    if not isinstance(loaded, dict):
        raise InputError("the sidecar is not a JSON object", path)
    return loaded


def sidecar(volume: Volume) -> dict[str, Any]:
    """BIDS-PET fields for a volume: what its acquisition tells, no identity.

    Times are seconds from TimeZero, which is the injection. Body weight and half-life have no field in BIDS;
    they go by the names that dcm2niix gives them (PatientWeight in kg, RadionuclideHalfLife in s).
    """
    facts = volume.acquisition
    fields: dict[str, Any] = {"Modality": "PT"}
    if volume.unit != UNKNOWN:
        fields["Units"] = volume.unit
    optional = {
        "Manufacturer": facts.manufacturer,
        "ManufacturersModelName": facts.model,
        "TracerName": facts.tracer,
        "TracerRadionuclide": facts.nuclide,
        "RadionuclideHalfLife": facts.half_life_s,
        "PatientWeight": facts.weight_kg,
        "PatientSize": facts.height_m,
        "PatientSex": facts.sex,
        "SUVbwPerBqPerML": facts.suv_per_bqml,
    }
    fields |= {name: value for name, value in optional.items() if value is not None}
    if facts.injected_activity_bq is not None:
        fields |= {
            "InjectedRadioactivity": facts.injected_activity_bq / 1e6,
            "InjectedRadioactivityUnits": "MBq",
        }
    if facts.uptake_s is not None:
        fields |= {
            "InjectionStart": 0,
            "ImageDecayCorrected": True,
            "ImageDecayCorrectionTime": facts.uptake_s,
        }
        if facts.scan_delay_s is not None:
            fields["ScanStart"] = facts.uptake_s + facts.scan_delay_s
        if facts.reference_clock_s is not None:
            injected = round(facts.reference_clock_s - facts.uptake_s) % 86400
            fields["TimeZero"] = f"{injected // 3600:02d}:{injected // 60 % 60:02d}:{injected % 60:02d}"
    if facts.frame_s is not None:
        # From the injection where that is known, else from the scan's own start.
        fields |= {"FrameDuration": [facts.frame_s], "FrameTimesStart": [fields.get("ScanStart", 0)]}
    if facts.supplied:
        fields["SuppliedByUser"] = list(facts.supplied)
    return fields


def merged(had: dict[str, Any], fields: dict[str, Any], supplied: Sequence[str]) -> dict[str, Any]:
    """A source's sidecar with the fields of `sidecar` in it.

    Denoising changes no time, so those that the source tells stay as they are, from whatever zero. A time of
    injection that the user supplied replaces them all, and a factor to SUV does not outlive any supplied
    figure that it may have been made with.
    """
    if supplied:
        had = {name: value for name, value in had.items() if name != "SUVbwPerBqPerML"}
    if "uptake_s" in supplied:
        return {name: value for name, value in had.items() if name not in _TIMES} | fields
    if any(name in had for name in _ORIGINS):
        fields = {name: value for name, value in fields.items() if name not in _TIMES}
    return had | fields


def acquisition_from_sidecar(fields: dict[str, Any]) -> Acquisition:
    """The acquisition facts in a BIDS-PET sidecar (or dcm2niix's); the inverse of `sidecar`.

    What is absurd or of the wrong type is left out, with the reason in `missing`.
    """
    missing: dict[str, str] = {}

    def figure(name: str) -> float | None:
        value = fields.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def above_zero(name: str) -> float | None:
        value = figure(name)
        return value if value is not None and value > 0 else None

    def checked(name: str, key: str, check: Any, value: float | None) -> float | None:
        if value is None:
            return None
        try:
            return float(check(value))
        except UnitError as error:
            missing[name] = f"{error.cause.split(' of ')[-1]} ({key} in the sidecar)"
            return None

    activity = figure("InjectedRadioactivity")
    units = str(fields.get("InjectedRadioactivityUnits", "MBq")).lower()
    if activity is not None:
        activity = activity * _ACTIVITY[units] if units in _ACTIVITY else None
    else:
        activity = figure("RadionuclideTotalDose")
    half_life = figure("RadionuclideHalfLife")
    uptake = None
    corrected_to, injected = figure("ImageDecayCorrectionTime"), figure("InjectionStart")
    if fields.get("ImageDecayCorrected", True) and corrected_to is not None and injected is not None:
        uptake = corrected_to - injected
        if uptake < 0:
            missing["uptake_s"] = "the injection is later than the image's decay correction time (sidecar)"
            uptake = None
    began = figure("ScanStart")
    delay: float | None = 0.0  # no time told: corrected to the scan's start, as is usual
    if corrected_to is not None and began is not None:
        delay = began - corrected_to
        if half_life and abs(delay) > decay.MOST_HALF_LIVES * half_life:
            delay = None
    elif uptake == 0:
        delay = None
    given = fields.get("SuppliedByUser")
    clock = None
    zero = fields.get("TimeZero")
    if isinstance(zero, str) and corrected_to is not None:
        parts = zero.split(":")
        if len(parts) in (2, 3) and all(part.replace(".", "").isdigit() for part in parts):
            hours, minutes, seconds = (float(part) for part in [*parts, "0"][:3])
            clock = (hours * 3600 + minutes * 60 + seconds + corrected_to) % 86400

    def text(*names: str) -> str | None:
        found = next((fields[name] for name in names if isinstance(fields.get(name), str)), None)
        return impersonal(fields, found) or None

    facts = Acquisition(
        tracer=text("TracerName", "Radiopharmaceutical"),
        nuclide=text("TracerRadionuclide"),
        half_life_s=checked("half_life_s", "RadionuclideHalfLife", suv.check_half_life, half_life),
        injected_activity_bq=checked(
            "injected_activity_bq", "InjectedRadioactivity", suv.activity_bq, activity
        ),
        uptake_s=uptake,
        weight_kg=checked("weight_kg", "PatientWeight", suv.check_weight, figure("PatientWeight")),
        height_m=checked("height_m", "PatientSize", suv.check_height, figure("PatientSize")),
        sex=text("PatientSex"),
        frame_s=above_zero("FrameDuration"),
        manufacturer=text("Manufacturer"),
        model=text("ManufacturersModelName"),
        suv_per_bqml=above_zero("SUVbwPerBqPerML"),
        reference_clock_s=clock,
        scan_delay_s=delay,
        supplied=tuple(str(name) for name in given) if isinstance(given, list) else (),
        missing=missing,
    )
    return suv.completed(facts)


def without_identity(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are known to tell of the scan alone, unless their text quotes the patient."""
    return {
        name: value
        for name, value in fields.items()
        if name in _IMPERSONAL and impersonal(fields, json.dumps(value, ensure_ascii=False)) is not None
    }
