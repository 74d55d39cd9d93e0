"""The files of one subject that is evaluated, and the scan that its prediction was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapdiff.errors import InputError
from mapdiff.evaluation.pairing import Pair, Scan
from mapdiff.formats import read
from mapdiff.inference.manifest import as_denoised, manifest_of, stage_paths
from mapdiff.inference.run import beside, input_hash, manifest_path
from mapdiff.volume import Volume


@dataclass(frozen=True)
class Images:
    """The files of one subject; None or empty where there is none; `note`: why an input was not taken."""

    prediction: Path
    reference: Path
    source: Path | None
    stages: dict[str, Path]
    deviation: Path | None
    manifest: dict[str, Any]
    note: str | None = None

    def low(self) -> Volume | None:
        """The source as it was denoised."""
        if self.source is None:
            return None
        return as_denoised(self.source, self.manifest) if self.manifest else read(self.source)


def images_of(pair: Pair, inputs: Sequence[Scan]) -> Images:
    """The files that belong to a prediction, by its manifest; the input by its name where that fails."""
    path = pair.prediction.path
    if manifest_path(path).is_file():
        manifest = manifest_of(path)
        stages = stage_paths(path, manifest)
        deviation = beside(path, "deviation")
        kept = deviation if deviation.name in manifest["outputs"] and deviation.exists() else None
        source, note = _source(manifest, inputs)
        return Images(path, pair.reference.path, source, stages, kept, manifest, note)
    same = [scan for scan in inputs if scan.place == pair.prediction.place]
    same = same or [scan for scan in inputs if scan.subject == pair.prediction.subject]
    return Images(path, pair.reference.path, same[0].path if len(same) == 1 else None, {}, None, {})


def _source(manifest: dict[str, Any], inputs: Sequence[Scan]) -> tuple[Path | None, str | None]:
    """The scan that was denoised, known by its voxels; or why the one of its name is not it."""
    told, wanted = manifest["input"]["path"], manifest["input"].get("sha256_of_voxels_and_affine")
    near = [scan.path for scan in inputs if told is None or scan.path.name == Path(told).name]
    note = None
    for source in (*([] if told is None else [Path(told)]), *near):
        try:
            if source.exists() and input_hash(as_denoised(source, manifest)) == wanted:
                return source, None
        except InputError as error:
            note = f"the input is left out: {error}"
    return None, note
