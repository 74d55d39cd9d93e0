"""The page of one scan: a single HTML file with its volumes inside, to open offline and to send by mail."""

import base64
import functools
import gzip
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from mapdiff import RESEARCH_USE
from mapdiff.atomic import check_target, written_aside
from mapdiff.body import body_mask
from mapdiff.errors import InputError
from mapdiff.evaluation.compare import common_factors
from mapdiff.report.embed import Layer, PageGrid, encode, plan_grid, reduced, step_for
from mapdiff.report.figure import window_top
from mapdiff.volume import UNKNOWN

#: The page's size at most, and what of it the volumes may take as text, bytes.
MOST_BYTES, MOST_VOLUME_BYTES = 25_000_000, 22_500_000
#: First guess at a voxel's size in the page, bytes of text; noise hardly compresses.
VOXEL_BYTES = 1.2
WINDOW_SUV = 7.0
#: Layers that are no stage of the slider.
DEVIATION = "deviation"
NIIVUE = "niivue-0.69.0"


@dataclass(frozen=True)
class Row:
    """What the table says of one image, measured on the scan as it is, in the page's unit.

    Attributes:
        label: the image.
        body_mean: mean inside the body.
        maximum: largest voxel.
        activity_mbq: activity in the field of view, MBq; None where the image is not in Bq/mL.
        activity: sum over all voxels, relative to the input's.
    """

    label: str
    body_mean: float
    maximum: float
    activity_mbq: float | None
    activity: float


def build_page(
    layers: Sequence[Layer],
    manifest: Mapping[str, Any],
    *,
    title: str = "",
    identity: Mapping[str, str] | None = None,
    keep_paths: bool = False,
    window: float | None = None,
) -> str:
    """The page as text: HTML with its style, its scripts and its volumes inside.

    Nothing of the images but their voxels and their grid goes into it, and of the manifest file names only,
    no folders.

    Args:
        layers: the images in the order of the slider: "input" first, the stages, "result"; "deviation" may
            come last. All of one grid and unit. Each is loaded twice at most, one at a time.
        manifest: what `mapdiff denoise` wrote beside its output.
        title: heads the page, such as the output's file name.
        identity: lines on the patient to show, by heading; none unless the user asks.
        keep_paths: keep the manifest's folders.
        window: upper end of the grey window at first; by default SUV 7, or where SUV is not known a high
            percentile of the result, in the image's unit.

    Raises:
        InputError: there is no image, or their grids or units differ.
    """
    stages = [layer for layer in layers if layer.key != DEVIATION]
    if not stages:
        raise InputError("a page needs one image or more")
    most = int(MOST_VOLUME_BYTES / VOXEL_BYTES / len(layers))
    while True:
        page = _build(layers, stages[-1], manifest, title, identity, keep_paths, window, most)
        if len(page.encode()) <= MOST_BYTES:
            return page
        most = int(most * 0.9 * MOST_BYTES / len(page.encode()))


def write_page(
    path: Path,
    layers: Sequence[Layer],
    manifest: Mapping[str, Any],
    *,
    title: str = "",
    identity: Mapping[str, str] | None = None,
    keep_paths: bool = False,
    window: float | None = None,
    overwrite: bool = False,
) -> None:
    """Build the page (see `build_page`) and write it to `path`, whole or not at all.

    Raises:
        InputError: as `build_page`; or the file is there already or cannot be written.
    """
    check_target(path, overwrite)
    page = build_page(layers, manifest, title=title, identity=identity, keep_paths=keep_paths, window=window)
    with written_aside(path) as aside:
        aside.write_text(page, encoding="utf-8")


def public_manifest(manifest: Any) -> Any:
    """The manifest with each path cut to its file name, wherever it stands, warnings included.

    >>> public_manifest({"path": "/home/jane/scan.nii.gz", "unit": "Bq/mL"})
    {'path': 'scan.nii.gz', 'unit': 'Bq/mL'}
    """
    if isinstance(manifest, Mapping):
        return {
            key: _file_name(value)
            if key in ("path", "file", "folder", "cohort") and isinstance(value, str)
            else public_manifest(value)
            for key, value in manifest.items()
        }
    if isinstance(manifest, list | tuple):
        return [public_manifest(value) for value in manifest]
    if isinstance(manifest, str):
        return _FOLDERS.sub("", manifest)
    return manifest


#: The folders of an absolute path within a line, up to its last separator; "1/10" and "Bq/mL" are none.
#: A path may hold spaces, so rather a word too many goes than a folder stays.
_FOLDERS = re.compile(r"(?<![^\s'\"(=])(?:~?/(?=[^\s/])|[A-Za-z]:[\\/]|\\\\)(?:[^'\",;:()\n]*[\\/])?")


def _file_name(path: str) -> str:
    return PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name


def _build(
    layers: Sequence[Layer],
    last: Layer,
    manifest: Mapping[str, Any],
    title: str,
    identity: Mapping[str, str] | None,
    keep_paths: bool,
    window: float | None,
    most_voxels: int,
) -> str:
    shown = manifest if keep_paths else public_manifest(manifest)
    result = last.load()
    grid = plan_grid(result, most_voxels)
    (factor,), unit, remark = common_factors([result])
    stored = result.unit
    top = window or (WINDOW_SUV if unit == "SUV" else _round_up(window_top(reduced(result, grid))))
    try:
        body = body_mask(result.array, result.spacing)
    except InputError:
        body = np.ones(result.shape, dtype=bool)
    del result
    scripts: list[str] = []
    rows: list[Row] = []
    entries: list[dict[str, Any]] = []
    total: float | None = None
    for layer in layers:
        volume = layer.load()
        if volume.unit != stored:
            raise InputError(f"the images of a page need one unit: '{layer.key}' is in {volume.unit}")
        values = reduced(volume, grid) * np.float32(factor)
        if layer.key == DEVIATION:
            top_here = _round_up(window_top(values))
        else:
            top_here = top
            sum_of_all = float(volume.array.sum(dtype=np.float64))
            total = sum_of_all if total is None else total
            rows.append(
                Row(
                    layer.label,
                    factor * float(volume.array.mean(where=body, dtype=np.float64)),
                    factor * float(volume.array.max()),
                    sum_of_all * float(np.prod(volume.spacing)) * 1e-9 if stored == "Bq/mL" else None,
                    sum_of_all / total if total else float("nan"),
                )
            )
        del volume
        step = step_for(top_here, float(np.abs(values).max()))
        name = f"volume-{len(entries)}"
        entries.append({"key": layer.key, "label": layer.label, "id": name, "step": step, "top": top_here})
        scripts.append(f'<script type="application/octet-stream" id="{name}">{encode(values, step)}</script>')
    facts = {
        "shape": grid.shape,
        "spacing": grid.spacing,
        "affine": [[round(float(v), 4) for v in line] for line in grid.affine],
        "unit": {UNKNOWN: "stored value"}.get(unit, unit),
        "top": top,
        "layers": entries,
    }
    return _fill(
        "page.html",
        {
            "title": html.escape(title or "scan"),
            "notice": RESEARCH_USE,
            "style": _asset("page.css"),
            "identity": _definitions(identity) if identity else "",
            "reduction": html.escape(_reduction(grid, remark)),
            "summary": _definitions(_summary(shown)),
            "rows": _table(rows, facts["unit"]),
            "warnings": _warnings(shown),
            "manifest": html.escape(json.dumps(shown, indent=1, ensure_ascii=False)),
            "licence": html.escape(_vendored(f"{NIIVUE}.LICENSE.txt")),
            "niivue_name": html.escape(NIIVUE.replace("-", " ")),
            "facts": json.dumps(facts).replace("<", "\\u003c"),
            "volumes": "\n".join(scripts),
            "niivue": _niivue(),
            "script": "\n".join(_asset(f"{name}.js") for name in ("decode", "slices", "niivue_view", "page")),
        },
    )


def _round_up(value: float) -> float:
    """To two significant digits, upwards."""
    if not value > 0:
        return 1.0
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(f"{np.ceil(value / unit) * unit:.2g}")


def _reduction(grid: PageGrid, remark: str) -> str:
    """One sentence or two on what the page holds of the scan."""
    size = " × ".join(map(str, grid.source_shape))
    step = " × ".join(f"{s:.2f}" for s in grid.source_spacing)
    small = " × ".join(map(str, grid.shape))
    if grid.factors == (1, 1, 1):
        how = f"the voxels here are the scan's own ({step} mm), cut to the body: {small} of {size}"
    else:
        blocks = " × ".join(map(str, grid.factors))
        coarse = " × ".join(f"{s:.2f}" for s in grid.spacing)
        how = (
            f"reduced for this page: each voxel here ({coarse} mm) is the mean of {blocks} voxels of the "
            f"scan ({size} of {step} mm), cut to the body: {small}; peaks read lower than in the scan"
        )
    return f"{how}. Values: {remark}. Measure on the output file, not here."


def _summary(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The manifest's main figures, those that it has."""
    level, model = manifest.get("noise_level", {}), manifest.get("model", {})
    found: dict[str, str] = {}
    if "value" in level:
        found["Noise level found"] = f"{100 * level['value']:.1f} % ({level.get('convention', '')})"
    if "dose_on_the_training_scanners" in level:
        dose = level["dose_on_the_training_scanners"]
        found["That is the dose"] = (
            f"{dose:.3g} of full, on the scanners the model learned from"
            if dose > 0
            else "below the lowest dose the model learned from"
        )
    if "method" in model:
        found["Model"] = f"{model['method']}, {model.get('file', '')}, SHA-256 {model.get('sha256', '')[:12]}"
    if "input" in manifest:
        shape = " × ".join(map(str, manifest["input"].get("shape", [])))
        found["Input"] = f"{manifest['input'].get('path', '')}, {shape}, {manifest['input'].get('unit', '')}"
    samples = manifest.get("parameters", {}).get("samples")
    if samples is not None:
        found["Samples"] = str(samples) if samples else "none: the deterministic result"
    if "seconds" in manifest:
        found["Time"] = f"{manifest['seconds']:.0f} s, {manifest.get('network_evaluations', '?')} evaluations"
    return found


def _definitions(pairs: Mapping[str, str]) -> str:
    lines = (f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in pairs.items())
    return f"<dl>{''.join(lines)}</dl>"


def _table(rows: Sequence[Row], unit: Any) -> str:
    unit = html.escape(str(unit))
    lines = []
    for row in rows:
        mbq = "–" if row.activity_mbq is None else f"{row.activity_mbq:.1f}"
        lines.append(
            f'<tr><th scope="row">{html.escape(row.label)}</th><td>{row.body_mean:.4g}</td>'
            f"<td>{row.maximum:.4g}</td><td>{mbq}</td><td>{100 * (row.activity - 1):+.2f} %</td></tr>"
        )
    return (
        f'<table><thead><tr><th scope="col">Image</th><th scope="col">Mean in the body, {unit}</th>'
        f'<th scope="col">Maximum, {unit}</th><th scope="col">Activity in the field of view, MBq</th>'
        f'<th scope="col">Activity against the input</th></tr></thead><tbody>{"".join(lines)}</tbody></table>'
    )


def _warnings(manifest: Mapping[str, Any]) -> str:
    lines = manifest.get("warnings", [])
    if not lines:
        return "<p>None.</p>"
    return f"<ul>{''.join(f'<li>{html.escape(str(line))}</li>' for line in lines)}</ul>"


def _asset(name: str) -> str:
    return (resources.files("mapdiff.report") / "assets" / name).read_text(encoding="utf-8")


def _vendored(name: str) -> str:
    return (resources.files("mapdiff.report") / "vendor" / name).read_text(encoding="utf-8")


@functools.cache
def _niivue() -> str:
    """The viewer's script, gzip and base64: a third of its size, and nothing in it ends a script element."""
    script = _vendored(f"{NIIVUE}.umd.js").encode()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode("ascii")


def _fill(name: str, values: Mapping[str, str]) -> str:
    """The template with each {{name}} replaced, in one pass: what is put in is not searched again.

    Raises:
        KeyError: the template asks for what is not given.
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found.group(1)], _asset(name))
