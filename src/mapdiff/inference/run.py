"""From files to files: one scan, or a folder of many, with a manifest beside each output."""

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapdiff import RESEARCH_USE, __version__
from mapdiff.atomic import check_target, put_by, remove, written_aside
from mapdiff.dose import ANCHORS, dose_label
from mapdiff.errors import InputError
from mapdiff.formats import read, write
from mapdiff.formats.bids import derivative_name, is_bids_pet, sidecar_path
from mapdiff.formats.dicom_out import SERIES_FILES
from mapdiff.formats.nifti import is_nifti
from mapdiff.inference.denoiser import EVALUATIONS, FAST_EVALUATIONS, Denoiser, Progress, Restoration
from mapdiff.inference.scans import OURS
from mapdiff.inference.supplied import Supplied, facts_of
from mapdiff.scratch import slabs
from mapdiff.volume import Volume

#: Endings of files that a NIfTI scan's result cannot be; any other name without a NIfTI ending is a folder's.
OTHER_FILES = (
    *(".png", ".jpg", ".jpeg", ".html", ".pdf", ".txt", ".csv", ".json", ".npy", ".h5", ".mat"),
    *(".dcm", ".ima", ".zip", ".gz", ".mha", ".mhd", ".nrrd", ".hdr", ".img"),
)
#: What is done with a denoised scan: takes the input, the result, the manifest and the output's path.
After = Callable[[Volume, Restoration, dict[str, Any], Path], object]


@dataclass(frozen=True)
class DenoiseOptions:
    """What the user asked for.

    Attributes:
        save_stages: write the estimates at 1/10, 1/4 and 1/2 too.
        samples: stochastic paths; 0 is the deterministic path.
        seed: of the stochastic paths.
        overwrite: replace outputs that are there.
        deidentify: drop the patient's identity from the outputs (DICOM headers, NIfTI headers and sidecars).
        series: which DICOM series.
        unit: of a NIfTI that does not say.
        supplied: facts that the user gives in place of the header's.
        fast: ask the network once only, for a little quality.
        keep_stages: hand the stages on to `after`, also where they are not written.
    """

    save_stages: bool = False
    samples: int = 0
    seed: int = 0
    overwrite: bool = False
    deidentify: bool = False
    series: str | None = None
    unit: str | None = None
    supplied: Supplied = field(default_factory=Supplied)
    fast: bool = False
    keep_stages: bool = False

    @property
    def evaluations(self) -> int:
        """How often the network is asked at most."""
        return FAST_EVALUATIONS if self.fast else EVALUATIONS


def output_path(source: Path, output: Path) -> Path:
    """Where the result of `source` goes: `output` itself, or a file in it, where that is to be a folder.

    Raises:
        InputError: a NIfTI file's result is to have a file's name that is not NIfTI's, or a series' folder
            has no name of its own.
    """
    if source.is_file() and is_nifti(source) and not is_nifti(output):
        if output.suffix.lower() in OTHER_FILES and not output.is_dir():
            raise InputError(
                "give a name that ends in .nii or .nii.gz, or a folder, for a NIfTI scan", output
            )
        return output / result_name(source)
    if output.name in ("", ".."):  # the folder would be replaced, and its companions lie beside it
        raise InputError("give the folder that the series goes to a name", output)
    return output


def result_name(source: Path) -> str:
    """What the result of a scan is called where the user names only a folder: as the scan, or by BIDS.

    "scan.nii.gz" stays; "sub-1_pet.nii.gz" gives "sub-1_desc-denoised_pet.nii.gz".
    """
    return derivative_name(source, "denoised") if is_bids_pet(source) else source.name


def batch_target(scan: Path, folder: Path, output: Path) -> Path:
    """Where the result of one of a folder's scans goes: the folder's structure is kept."""
    target = output / scan.relative_to(folder).parent / result_name(scan)
    return target.with_suffix(".zip") if scan.is_file() and scan.suffix == ".zip" else target


def _stem_and_ending(path: Path) -> tuple[str, str]:
    for ending in (".nii.gz", ".nii", ".zip"):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)], path.name[-len(ending) :]
    return path.name, ""


def beside(output: Path, word: str) -> Path:
    """The name of a companion of the output: "scan.nii.gz" and "dose-1-10" give "scan_dose-1-10.nii.gz".

    By BIDS, "sub-1_desc-denoised_pet.nii.gz" and "dose-1-10" give "sub-1_desc-drf10_pet.nii.gz".
    """
    if is_bids_pet(output):
        return output.with_name(derivative_name(output, word.replace("dose-1-", "drf")))
    stem, ending = _stem_and_ending(output)
    return output.with_name(f"{stem}_{word}{ending}")


def manifest_path(output: Path) -> Path:
    """The manifest beside an output."""
    return output.with_name(f"{_stem_and_ending(output)[0]}_manifest.json")


def input_hash(volume: Volume) -> str:
    """SHA-256 over the voxels (float32, C order) and the affine: the image's, not its header's."""
    digest = hashlib.sha256()
    for start, stop in slabs(volume.shape[0], 16):
        digest.update(np.ascontiguousarray(volume.array[start:stop], np.float32).data)
    digest.update(np.ascontiguousarray(volume.affine, np.float64).tobytes())
    return digest.hexdigest()


def denoise_file(
    denoiser: Denoiser,
    source: Path,
    output: Path,
    options: DenoiseOptions,
    progress: Progress = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
    after: After = lambda volume, result, manifest, output: None,
) -> dict[str, Any]:
    """Denoise one scan and write the result in kind, its companions and the manifest.

    Args:
        denoiser: a loaded model.
        source: a NIfTI file, or a folder or zip of a DICOM series.
        output: a name in kind: .nii or .nii.gz, a folder, or .zip.
        options: what was asked for.
        progress: called with (tiles done, tiles in all).
        say: takes warnings, a line each.
        after: called with input, result, manifest and output path once the outputs are written, before the
            manifest is: what it makes is there when the manifest is.

    Returns:
        The manifest.

    Raises:
        InputError: the scan cannot be read or the output cannot be written; nothing is left behind.
    """
    output = output_path(source, output)
    if source.resolve().is_relative_to(output.resolve()):
        raise InputError(
            f"is the input or holds it ({source.name}); give another place for the result", output
        )
    if output.resolve().is_relative_to(source.resolve()):
        raise InputError(f"lies in the input's folder ({source.name}), which would hold two scans", output)
    if is_nifti(source) and is_nifti(output) and _same_sidecar(source, output):
        raise InputError(f"would take the input's sidecar ({sidecar_path(source).name})", output)
    names = names_of(output, options)
    for name in names:
        check_target(name, options.overwrite, SERIES_FILES)
    volume = read(source, series=options.series, unit=options.unit)
    try:
        volume = options.supplied.applied(volume, source)
        result = denoiser.denoise(
            volume,
            samples=options.samples,
            seed=options.seed,
            evaluations=options.evaluations,
            keep_stages=options.save_stages or options.keep_stages,
            progress=progress,
        )
    except InputError as error:
        raise InputError(error.cause, source) from error
    for warning in result.warnings:
        say(f"warning: {source.name}: {warning}")
    outputs = _companions(result, output, options)
    model = f"{denoiser.model.method} {denoiser.hash[:12]}"
    names.remove(manifest_path(output))
    before = _stamps(names)
    # No manifest of before may speak for what is half replaced.
    with put_by(manifest_path(output), lambda: _stamps(names) == before):
        # The main output comes last: where it is, all of them are.
        try:
            for number, (path, (image, words)) in reversed(list(enumerate(outputs.items(), 1000))):
                write(
                    image,
                    path,
                    description=f"{OURS}{words}",
                    model=model,
                    deidentify=options.deidentify,
                    overwrite=options.overwrite,
                    number=number,
                )
            manifest = _manifest(denoiser, volume, result, source, list(outputs), options)
            after(volume, result, manifest, output)
        except BaseException:
            for name in set(names) - set(before):  # what this call has made, and nobody asked for alone
                remove(name)
            raise
        with written_aside(manifest_path(output)) as aside:
            aside.write_text(json.dumps(manifest, indent=1))
    return manifest


def _stamps(paths: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Of each path that is there, what changes when it is replaced."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths if path.exists()}


def _companions(result: Restoration, output: Path, options: DenoiseOptions) -> dict[Path, tuple[Volume, str]]:
    images = {output: (result.image, "full-dose estimate")}
    if options.save_stages:
        for label, image in result.stages.items():
            images[beside(output, f"dose-{label.replace('/', '-')}")] = (image, f"estimate at dose {label}")
    if result.deviation is not None:
        images[beside(output, "deviation")] = (result.deviation, "standard deviation over samples")
    return images


def _manifest(
    denoiser: Denoiser,
    volume: Volume,
    result: Restoration,
    source: Path,
    outputs: list[Path],
    options: DenoiseOptions,
) -> dict[str, Any]:
    return {
        "note": RESEARCH_USE,
        "versions": {
            "mapdiff": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "model": {
            "file": denoiser.path.name,
            "sha256": denoiser.hash,
            "method": denoiser.model.method,
            "training": denoiser.model.training,
        },
        "input": {
            # A folder is often called as the patient is.
            "path": None if options.deidentify else str(source),
            "sha256_of_voxels_and_affine": input_hash(volume),
            "shape": list(volume.shape),
            "spacing_mm": [round(s, 4) for s in volume.spacing],
            "unit": volume.unit,
        },
        "acquisition": facts_of(volume),
        "outputs": [path.name for path in outputs],
        "parameters": parameters_of(denoiser, options),
        "noise_level": {
            "value": round(result.level, 5),
            "convention": "NMAE against the noise-free image, inside the body",
            "dose_on_the_training_scanners": round(result.dose, 5),
        },
        "stages": {label: label for label in result.labels},
        "network_evaluations": result.evaluations * max(options.samples, 1),
        "seconds": round(result.seconds, 2),
        "peak_memory_mb": round(result.peak_memory_mb),
        "warnings": list(result.warnings),
    }


def names_of(output: Path, options: DenoiseOptions | None = None) -> list[Path]:
    """All that a scan's run may write, with any options or with these."""
    stages = [f"dose-{dose_label(dose).replace('/', '-')}" for dose in ANCHORS]
    words = [
        *(stages if options is None or options.save_stages else ()),
        *(["deviation"] if options is None or options.samples else ()),
    ]
    images = [output, *(beside(output, word) for word in words)]
    return [manifest_path(output), *images, *(sidecar_path(image) for image in images if is_nifti(image))]


def _same_sidecar(source: Path, output: Path) -> bool:
    return sidecar_path(output).resolve() == sidecar_path(source).resolve()


def parameters_of(denoiser: Denoiser, options: DenoiseOptions) -> dict[str, Any]:
    """What a manifest tells of how a result was asked for."""
    return {
        "samples": options.samples,
        "seed": options.seed,
        "save_stages": options.save_stages,
        "deidentify": options.deidentify,
        "fast": options.fast,
        "series": None if options.deidentify else options.series,
        "unit": options.unit,
        "supplied": options.supplied.figures,
        "device": str(denoiser.device),
        "precision": denoiser.precision,
    }
