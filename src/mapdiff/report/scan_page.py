"""The page of one denoised scan: from what the denoiser holds, or later from its files and manifest."""

import json
from pathlib import Path
from typing import Any

from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.formats.dicom_in import DicomSource
from mapdiff.inference.denoiser import Restoration
from mapdiff.inference.run import beside, input_hash, manifest_path
from mapdiff.report.embed import Layer
from mapdiff.report.page import DEVIATION, write_page
from mapdiff.volume import Volume

#: What of a DICOM header a page shows with `keep_identity`: heading and attribute.
IDENTITY = {
    "Patient": "PatientName",
    "Patient ID": "PatientID",
    "Born": "PatientBirthDate",
    "Study date": "StudyDate",
}


def page_path(output: Path) -> Path:
    """Where the page of an output goes: "scan.nii.gz" gives "scan_report.html"."""
    stem = manifest_path(output).name.removesuffix("_manifest.json")
    return output.with_name(f"{stem}_report.html")


def page_of_restoration(
    volume: Volume,
    result: Restoration,
    manifest: dict[str, Any],
    output: Path,
    *,
    keep_identity: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the page of a scan that has just been denoised, all its stages in it.

    Args:
        volume: the input.
        result: what the denoiser made of it.
        manifest: of the run.
        output: the main output; the page goes beside it.
        keep_identity: show patient, ID and dates of a DICOM header, and keep the manifest's folders.
        overwrite: replace a page that is there.

    Returns:
        The page's path.

    Raises:
        InputError: the page is there already or cannot be written.
    """
    layers = [Layer("input", "input", lambda: volume)]
    for label, stage in result.stages.items():
        layers.append(Layer(label, f"stage {label}", lambda stage=stage: stage))  # type: ignore[misc]
    layers.append(Layer("result", "result", lambda: result.image))
    deviation = result.deviation
    if deviation is not None:
        layers.append(Layer(DEVIATION, "standard deviation", lambda: deviation))
    path = page_path(output)
    write_page(
        path,
        layers,
        manifest,
        title=output.name,
        identity=identity_of(volume) if keep_identity else None,
        keep_paths=keep_identity,
        overwrite=overwrite,
    )
    return path


def page_of_run(
    run: Path,
    page: Path | None = None,
    *,
    source: Path | None = None,
    keep_identity: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the page of a scan that was denoised before, from its files; one volume in memory at a time.

    Args:
        run: the main output of `mapdiff denoise`, its manifest beside it.
        page: where the page goes; beside `run` by default.
        source: the input, where it is no longer where the manifest says.
        keep_identity: as in `page_of_restoration`.
        overwrite: replace a page that is there.

    Returns:
        The page's path.

    Raises:
        InputError: there is no manifest, a file is missing, the input is not the one that was denoised, or
            the page is there already or cannot be written.
    """
    if not run.exists():
        raise InputError("is not there", run)
    manifest = _manifest_of(run)
    source = source or Path(manifest["input"]["path"])
    if not source.exists():
        raise InputError("the scan that was denoised is not there; tell where it is with --input", source)
    unit = manifest["input"].get("unit")
    scan = read(source, unit=unit if unit in ("Bq/mL", "SUV") and source.is_file() else None)
    if input_hash(scan) != manifest["input"].get("sha256_of_voxels_and_affine"):
        raise InputError(f"is not the scan that {run.name} was made from: its voxels differ", source)
    identity = identity_of(scan) if keep_identity else None
    del scan

    def layer(key: str, label: str, path: Path) -> Layer:
        return Layer(key, label, lambda: read(path))

    layers = [layer("input", "input", source)]
    for label in manifest.get("stages", {}):
        path = beside(run, f"dose-{label.replace('/', '-')}")
        if path.name in manifest["outputs"] and path.exists():
            layers.append(layer(label, f"stage {label}", path))
    layers.append(layer("result", "result", run))
    deviation = beside(run, "deviation")
    if deviation.name in manifest["outputs"] and deviation.exists():
        layers.append(layer(DEVIATION, "standard deviation", deviation))
    page = page or page_path(run)
    write_page(
        page,
        layers,
        manifest,
        title=run.name,
        identity=identity,
        keep_paths=keep_identity,
        overwrite=overwrite,
    )
    return page


def _manifest_of(run: Path) -> dict[str, Any]:
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


def identity_of(volume: Volume) -> dict[str, str]:
    """What a DICOM header tells of the patient, by heading; empty for other formats."""
    if not isinstance(volume.source, DicomSource):
        return {}
    header = volume.source.headers[0]
    return {name: str(header.get(word, "")) for name, word in IDENTITY.items() if header.get(word)}
