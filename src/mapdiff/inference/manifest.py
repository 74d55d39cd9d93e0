"""What a run's manifest leads to, later: the scan as it was denoised, and the files that were written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.inference.run import beside, manifest_path
from mapdiff.volume import UNKNOWN, Volume


def manifest_of(run: Path) -> dict[str, Any]:
    """The manifest beside an output of `mapdiff denoise`.

    Raises:
        InputError: there is none, or it is something else.
    """
    path = manifest_path(run)
    if not path.is_file():
        raise InputError(
            f"has no manifest ({path.name}) beside it: is it an output of `mapdiff denoise`?", run
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        manifest["input"]["path"], manifest["outputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("is not a manifest of `mapdiff denoise`", path) from error
    return manifest


def stage_paths(run: Path, manifest: dict[str, Any]) -> dict[str, Path]:
    """The files of a run's stages, by dose label, those that were written and are there."""
    paths = {label: beside(run, f"dose-{label.replace('/', '-')}") for label in manifest.get("stages", {})}
    return {
        label: path for label, path in paths.items() if path.name in manifest["outputs"] and path.exists()
    }


def as_denoised(source: Path, manifest: dict[str, Any]) -> Volume:
    """The input, in the unit and with the SUV factor it was denoised with, told by flags or a table perhaps.

    Raises:
        InputError: the scan cannot be read.
    """
    asked = manifest.get("parameters", {})
    scan = read(source, series=asked.get("series"), unit=asked.get("unit"))
    unit = manifest["input"].get("unit", UNKNOWN)
    return with_factor(replace(scan, unit=unit) if scan.unit == UNKNOWN else scan, manifest)


def with_factor(volume: Volume, manifest: dict[str, Any]) -> Volume:
    """A scan of the run with the SUV factor that the run had."""
    factor = manifest.get("acquisition", {}).get("suv_per_bqml")
    if factor is None:
        return volume
    return replace(volume, acquisition=replace(volume.acquisition, suv_per_bqml=factor))
