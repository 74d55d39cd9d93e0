"""The scans of a folder, one after the other, and what became of each."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mapdiff.atomic import remove_asides
from mapdiff.errors import InputError, MapdiffError
from mapdiff.formats import read
from mapdiff.formats.bids import write_dataset_description
from mapdiff.formats.dicom_files import load, opened
from mapdiff.formats.nifti import is_nifti
from mapdiff.inference.denoiser import Denoiser, Progress
from mapdiff.inference.run import (
    After,
    DenoiseOptions,
    batch_target,
    denoise_file,
    input_hash,
    manifest_path,
    names_of,
    parameters_of,
)
from mapdiff.inference.scans import is_result
from mapdiff.inference.share import ALL, Share


@dataclass(frozen=True)
class BatchResult:
    """What became of each scan of a batch: done now, done before, or failed with its error's text.

    `otherwise` are those of the skipped that were done by another model or with other options.
    """

    done: tuple[Path, ...]
    skipped: tuple[Path, ...]
    otherwise: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]


def denoise_many(
    denoiser: Denoiser,
    folder: Path,
    scans: list[Path],
    output: Path,
    options: DenoiseOptions,
    progress: Callable[[str], Progress],
    say: Callable[[str], None],
    after: After = lambda volume, result, manifest, output: None,
    share: Share = ALL,
) -> BatchResult:
    """Denoise each scan of a folder into `output`, the folder's structure kept; go on after a bad one.

    A scan whose manifest is there is done and skipped, unless `options.overwrite`; where the manifest tells
    of other voxels it fails, and the result that is there stays. Where the folder is a BIDS dataset, the
    output is a derivative one. Where several processes work on the folder, each takes its `share`; all must
    be given the same `scans`.
    """
    done, skipped, otherwise, failed = [], [], [], []
    write_dataset_description(folder, output)
    taken: dict[Path, Path] = {}
    for number, scan in enumerate(scans):
        target = batch_target(scan, folder, output)
        other = next((taken[name] for name in names_of(target, options) if name in taken), scan)
        taken |= dict.fromkeys(names_of(target, options), other)
        if not share.mine(number):
            continue
        if other != scan:
            cause = f"{scan}: its results would bear the names of those of {other.name}; denoise it by itself"
            failed.append((scan, cause))
            say(f"failed: {cause}")
            continue
        told = None if options.overwrite else _whole(manifest_path(target))
        try:
            if told is not None:
                if not _is_of(told, manifest_path(target), scan, options):
                    cause = "its result there was made from other voxels: give another place, or --overwrite"
                    raise InputError(cause, scan)
                skipped.append(scan)
                if not _made_so(told, denoiser, options):
                    otherwise.append(scan)
                continue
            # What a stopped run left without its manifest is made again; what it left half written goes.
            for name in names_of(target):
                remove_asides(name)
            for name in names_of(target, options):
                if name.exists() and not options.overwrite and not _is_ours(name):
                    raise InputError("exists already and is not mapdiff's; give another place", name)
            again = replace(options, overwrite=True)
            denoise_file(denoiser, scan, target, again, progress(scan.name), say, after)
            done.append(scan)
        except MapdiffError as error:
            failed.append((scan, str(error)))
            say(f"failed: {error}")
        except Exception as error:  # the other scans shall not suffer; its text may quote a header
            failed.append((scan, f"{scan}: {type(error).__name__}, not foreseen by mapdiff"))
            say(f"failed: {failed[-1][1]}")
    return BatchResult(tuple(done), tuple(skipped), tuple(otherwise), tuple(failed))


def _whole(manifest: Path) -> dict[str, Any] | None:
    """What a manifest says, if it is there with all the outputs that it names."""
    try:
        told: dict[str, Any] = json.loads(manifest.read_text())
        return told if all((manifest.parent / name).exists() for name in told["outputs"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_of(told: dict[str, Any], manifest: Path, scan: Path, options: DenoiseOptions) -> bool:
    """Whether a result is of this scan as it is now; the scan is read only where path or time leave doubt."""
    source = dict(told.get("input") or {})
    path = source.get("path")
    if path is not None and Path(path).resolve() == scan.resolve():
        files = [scan] if scan.is_file() else scan.rglob("*")
        if all(file.stat().st_mtime <= manifest.stat().st_mtime for file in files):
            return True
    volume = read(scan, series=options.series, unit=options.unit)
    return bool(input_hash(volume) == source.get("sha256_of_voxels_and_affine"))


def _is_ours(path: Path) -> bool:
    """Whether a file or folder where a result goes was written by mapdiff."""
    if path.name.endswith("_manifest.json"):
        return True
    try:
        if is_nifti(path):
            return is_result(path)
        if path.suffix == ".json":
            return any(made.get("Name") == "mapdiff" for made in json.loads(path.read_text())["GeneratedBy"])
        with opened(path) as entries:
            first: Any = load(entries[0], path, pixels=False)
        return bool(first.ContributingEquipmentSequence[-1].Manufacturer == "mapdiff")
    except Exception:  # whatever it is, it is not one of ours
        return path.is_dir() and not any(path.iterdir())


def _made_so(told: dict[str, Any], denoiser: Denoiser, options: DenoiseOptions) -> bool:
    """Whether a result was made by this model and with these options, by its manifest."""
    try:
        parameters, model = dict(told["parameters"]), told["model"]["sha256"]
    except (ValueError, KeyError, TypeError):
        return False
    wanted = parameters_of(denoiser, options)
    no_matter = {"device", "precision", *(() if options.samples else ("seed",))}
    same = all(parameters.get(name) == value for name, value in wanted.items() if name not in no_matter)
    return bool(same and model == denoiser.hash)
