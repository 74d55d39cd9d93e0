"""The page of one denoised scan: from what the denoiser holds, or later from its files and manifest."""

from pathlib import Path
from typing import Any

from mapdiff.atomic import check_target
from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.formats.dicom_in import DicomSource
from mapdiff.inference.denoiser import Restoration
from mapdiff.inference.manifest import as_denoised, manifest_of, stage_paths, with_factor
from mapdiff.inference.run import beside, input_hash, manifest_path
from mapdiff.report.embed import Layer
from mapdiff.report.measured import DEVIATION, INPUT, REFERENCE, RESULT
from mapdiff.report.page import write_page
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
    reference: Volume | None = None,
    page: Path | None = None,
    keep_identity: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the page of a scan that has just been denoised, all its stages in it.

    Args:
        volume: the input.
        result: what the denoiser made of it.
        manifest: of the run.
        output: the main output.
        reference: what the result is judged by on the page, such as the full-dose scan.
        page: where the page goes; beside the output by default.
        keep_identity: show patient, ID and dates of a DICOM header, and keep the manifest's folders.
        overwrite: replace a page that is there.

    Returns:
        The page's path.

    Raises:
        InputError: the page is there already or cannot be written.
    """
    layers = [Layer(INPUT, "input", lambda: volume)]
    for label, stage in result.stages.items():
        layers.append(Layer(label, f"stage {label}", lambda stage=stage: stage))  # type: ignore[misc]
    layers.append(Layer(RESULT, "result", lambda: result.image))
    if reference is not None:
        layers.append(Layer(REFERENCE, "reference", lambda: reference))
    deviation = result.deviation
    if deviation is not None:
        layers.append(Layer(DEVIATION, "standard deviation", lambda: deviation))
    page = page or page_path(output)
    write_page(
        page,
        layers,
        manifest,
        title=output.name,
        identity=identity_of(volume) if keep_identity else None,
        keep_paths=keep_identity,
        overwrite=overwrite,
    )
    return page


def page_of_run(
    run: Path,
    page: Path | None = None,
    *,
    source: Path | None = None,
    reference: Path | None = None,
    keep_identity: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the page of a scan that was denoised before, from its files; two volumes in memory at a time.

    Args:
        run: the main output of `mapdiff denoise`, its manifest beside it.
        page: where the page goes; beside `run` by default.
        source: the input, where it is no longer where the manifest says.
        reference: what the result is judged by on the page, such as the full-dose scan.
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
    manifest = manifest_of(run)
    if page is not None and page.suffix.lower() not in (".html", ".htm"):  # not over a scan, nor a manifest
        raise InputError("give a name that ends in .html", page)
    page = page or page_path(run)
    check_target(page, overwrite)
    told = manifest["input"]["path"]
    if source is None and told is None:
        raise InputError("was de-identified, so its manifest does not tell of which scan: give --input", run)
    source = source or Path(told)
    if not source.exists():
        raise InputError("the scan that was denoised is not there; tell where it is with --input", source)
    scan = as_denoised(source, manifest)
    if input_hash(scan) != manifest["input"].get("sha256_of_voxels_and_affine"):
        raise InputError(f"is not the scan that {run.name} was made from: its voxels differ", source)
    identity = identity_of(scan) if keep_identity else None
    held = [scan]
    del scan

    def layer(key: str, label: str, path: Path) -> Layer:
        return Layer(key, label, lambda: with_factor(read(path), manifest))

    layers = [Layer(INPUT, "input", lambda: held.pop() if held else as_denoised(source, manifest))]
    for label, path in stage_paths(run, manifest).items():
        layers.append(layer(label, f"stage {label}", path))
    layers.append(layer(RESULT, "result", run))
    if reference is not None:
        layers.append(Layer(REFERENCE, "reference", lambda: read(reference)))
    deviation = beside(run, "deviation")
    if deviation.name in manifest["outputs"] and deviation.exists():
        layers.append(layer(DEVIATION, "standard deviation", deviation))
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


def identity_of(volume: Volume) -> dict[str, str]:
    """What a DICOM header tells of the patient, by heading; empty for other formats."""
    if not isinstance(volume.source, DicomSource):
        return {}
    header = volume.source.headers[0]
    return {name: str(header.get(word, "")) for name, word in IDENTITY.items() if header.get(word)}
