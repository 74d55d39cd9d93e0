"""`mapdiff info`: what a scan is, before anything is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mapdiff.cli.options import InjectedActivity, InjectionTime, Series, Unit, Weight, becquerels

if TYPE_CHECKING:
    from mapdiff.volume import Volume


def info(
    file: Annotated[Path, typer.Argument(help="NIfTI file, or folder or .zip of a DICOM PET series.")],
    series: Series = None,
    unit: Unit = None,
    weight: Weight = None,
    injected_activity: InjectedActivity = None,
    injection_time: InjectionTime = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Tell what a scan is: format, grid, unit, tracer, SUV factor, scanner, and what is odd about it.

    Nothing that tells who the patient is gets printed.
    """
    from json import dumps

    from mapdiff.formats import read
    from mapdiff.inference.supplied import Supplied

    supplied = Supplied(weight, becquerels(injected_activity), injection_time)
    volume = supplied.applied(read(file, series=series, unit=unit), file)
    facts = _facts(volume)
    if json:
        print(dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if name == "warnings":
            for warning in value:
                print(f"warning: {warning}")
        elif value is not None:
            print(f"{name.replace('_', ' ')}: {_text(value)}")


def _facts(volume: Volume) -> dict[str, Any]:
    from mapdiff.formats.dicom_in import DicomSource

    facts = volume.acquisition
    activity, uptake = facts.injected_activity_bq, facts.uptake_s
    return {
        "format": "DICOM series" if isinstance(volume.source, DicomSource) else "NIfTI",
        "grid": list(volume.shape),
        "spacing_mm": [round(mm, 4) for mm in volume.spacing],
        "unit": volume.unit,
        "stored_as": facts.stored_as,
        "lowest": float(volume.array.min()),
        "highest": float(volume.array.max()),
        "tracer": facts.tracer,
        "nuclide": facts.nuclide,
        "half_life_s": facts.half_life_s,
        "injected_activity_MBq": None if activity is None else round(activity / 1e6, 3),
        "uptake_min": None if uptake is None else round(uptake / 60, 2),
        "weight_kg": facts.weight_kg,
        "SUV_per_Bq_per_mL": facts.suv_per_bqml,
        "seconds_per_bed": facts.frame_s,
        "scanner": " ".join(word for word in (facts.manufacturer, facts.model) if word) or None,
        "supplied_by_user": list(facts.supplied) or None,
        "warnings": list(volume.warnings),
    }


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " x ".join(f"{n:g}" if isinstance(n, int | float) else str(n) for n in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
