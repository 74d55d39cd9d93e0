"""The page of one scan: a single HTML file with its volumes inside, to open offline and to send by mail."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from mapdiff import RESEARCH_USE
from mapdiff.atomic import check_target, written_aside
from mapdiff.report import fragments
from mapdiff.report.embed import Layer, PageGrid, coarser, encode, halved, step_for
from mapdiff.report.figure import WINDOW_PERCENTILE, window_top
from mapdiff.report.measured import DEVIATION, INPUT, RESULT, Measured, Row, measure
from mapdiff.volume import UNKNOWN

#: The page's size at most, and what of it the volumes may take as text, bytes.
MOST_BYTES, MOST_VOLUME_BYTES = 25_000_000, 23_500_000
#: First guess at a voxel's size in the page, bytes of text: 0.7 was measured on a real scan and its stages.
VOXEL_BYTES = 0.75
WINDOW_SUV = 7.0
#: Steps that the window is divided into: 0.005 in SUV 0 to 7; half as many where the page would be too large.
WINDOW_COUNTS = 1400
#: In this order: each uses what stands before it.
SCRIPTS = ("decode", "slices", "profile", "save", "niivue_view", "page")


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
        layers: the images in the order of the slider: "input", the stages, "result", "reference"; then
            "deviation". Any may be missing. All of one grid and, but for the reference, of one unit. Each is
            loaded once; two are in memory at a time where there is a reference, else one.
        manifest: what `mapdiff denoise` wrote beside its output.
        title: heads the page, such as the output's file name.
        identity: lines on the patient to show, by heading; none unless the user asks.
        keep_paths: keep the manifest's folders.
        window: upper end of the grey window at first; by default SUV 7, or where SUV is not known a high
            percentile of the result, in the image's unit.

    Raises:
        InputError: there is no image, or their grids or units differ.
    """
    measured = measure(layers, int(MOST_VOLUME_BYTES / VOXEL_BYTES / max(len(layers), 1)))
    shown = manifest if keep_paths else public_manifest(manifest)
    counts = WINDOW_COUNTS
    while True:
        page = _page(layers, measured, shown, title, identity, window, counts)
        if len(page.encode(errors="replace")) <= MOST_BYTES:
            return page
        if counts == WINDOW_COUNTS:
            counts //= 2  # noise hardly compresses: each bit of it weighs
            continue
        grid, axis = coarser(measured.grid)
        values = {key: halved(array, axis) for key, array in measured.values.items()}
        measured = replace(measured, grid=grid, values=values)


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
        aside.write_text(page, encoding="utf-8", errors="replace")


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


def _page(
    layers: Sequence[Layer],
    measured: Measured,
    manifest: Mapping[str, Any],
    title: str,
    identity: Mapping[str, str] | None,
    window: float | None,
    counts: int,
) -> str:
    unit = {UNKNOWN: "stored value"}.get(measured.unit, measured.unit)
    main = RESULT if RESULT in measured.values else list(measured.rows)[-1]
    known = measured.unit == "SUV"
    top = window or (WINDOW_SUV if known else _round_up(window_top(measured.values[main])))
    scripts: list[str] = []
    entries: list[dict[str, Any]] = []
    for number, layer in enumerate(layers):
        values = measured.values[layer.key]
        top_here = _round_up(window_top(values)) if layer.key == DEVIATION else top
        step = step_for(top_here / counts, float(np.abs(values).max()))
        name = f"volume-{number}"
        entries.append({"key": layer.key, "label": layer.label, "id": name, "step": step, "top": top_here})
        scripts.append(f'<script type="application/octet-stream" id="{name}">{encode(values, step)}</script>')
    grid = measured.grid
    facts = {
        "title": title or "scan",
        "shape": grid.shape,
        "spacing": grid.spacing,
        "affine": [[round(float(v), 4) for v in line] for line in grid.affine],
        "unit": unit,
        "top": top,
        "layers": entries,
    }
    return fragments.filled(
        "page.html",
        {
            "title": html.escape(title or "scan"),
            "notice": RESEARCH_USE,
            "style": fragments.asset("page.css"),
            "identity": fragments.definitions(identity) if identity else "",
            "unit_notice": "" if known else html.escape(_unit_notice(unit, top if window is None else None)),
            "tiles": fragments.tiles(_key_figures(manifest, measured)),
            "reduction": html.escape(_reduction(grid, measured.remark)),
            "summary": fragments.definitions(_summary(manifest)),
            "rows": _table(list(measured.rows.values()), unit),
            "measured": html.escape(_measured_how(measured, unit)),
            "warnings": fragments.lines([str(line) for line in manifest.get("warnings", [])]),
            "manifest": html.escape(json.dumps(manifest, indent=1, ensure_ascii=False)),
            "licence": html.escape(fragments.niivue_licence()),
            "niivue_name": html.escape(fragments.NIIVUE.replace("-", " ")),
            "facts": json.dumps(facts).replace("<", "\\u003c"),
            "volumes": "\n".join(scripts),
            "niivue": fragments.niivue_script(),
            "script": "\n".join(fragments.asset(f"{name}.js") for name in SCRIPTS),
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
            f"{dose:.3g} of full, on the scanner that the model is calibrated on"
            if dose > 0
            else "below the lowest dose the model learned from"
        )
    if "method" in model:
        found["Model"] = f"{model['method']}, {model.get('file', '')}, SHA-256 {model.get('sha256', '')[:12]}"
    if "input" in manifest:
        shape = " × ".join(map(str, manifest["input"].get("shape", [])))
        told = (manifest["input"].get("path"), shape, manifest["input"].get("unit"))
        found["Input"] = ", ".join(text for text in told if text)
    samples = manifest.get("parameters", {}).get("samples")
    if samples is not None:
        found["Samples"] = str(samples) if samples else "none: the deterministic result"
    if "seconds" in manifest:
        found["Time"] = f"{manifest['seconds']:.0f} s, {manifest.get('network_evaluations', '?')} evaluations"
    return found


def _unit_notice(unit: str, top: float | None) -> str:
    window = "" if top is None else f"; it ends at the {WINDOW_PERCENTILE:g}th percentile of the result"
    return (
        f"SUV is not known for this scan: values are in its own unit ({unit}), and so is the window{window}."
    )


def _key_figures(manifest: Mapping[str, Any], measured: Measured) -> list[tuple[str, str, str]]:
    """What a reader wants first: heading, value, what it is."""
    figures = []
    level = manifest.get("noise_level", {})
    if "value" in level:
        figures.append(("Noise found", f"{100 * level['value']:.1f} %", "in the body"))
    if "dose_on_the_training_scanners" in level:
        dose = level["dose_on_the_training_scanners"]
        value = "below the lowest" if not dose > 0 else "full" if dose > 0.995 else f"1/{1 / dose:.3g}"
        figures.append(("Dose found", value, "of full, on the calibrated scanner"))
    rows = measured.rows
    if INPUT in rows and RESULT in rows and rows[INPUT].total:
        change = 100 * (rows[RESULT].total / rows[INPUT].total - 1)
        figures.append(("Activity", f"{change:+.2f} %".replace("-", "−"), "against input"))
    result = rows.get(RESULT)
    if result is not None and result.quality is not None:
        before = rows[INPUT].quality if INPUT in rows else None
        for name, form in (("psnr", "{:.2f}"), ("nmae", "{:.4f}")):
            now = form.format(getattr(result.quality, name)) + (" dB" if name == "psnr" else "")
            then = "" if before is None else form.format(getattr(before, name)) + " → "
            figures.append((name.upper(), then + now, "against the reference" if then == "" else ""))
    count = len(manifest.get("warnings", []))
    figures.append(("Warnings", str(count) if count else "none", "listed below" if count else ""))
    return figures


def _measured_how(measured: Measured, unit: str) -> str:
    """One paragraph on what the table was measured on."""
    words = "Measured on the full scan, not on the voxels in this page. The body is found in the result."
    if measured.peak is None:
        return words
    words += (
        f" Against the reference: whole volume, no mask, unclipped; PSNR's peak is the reference's maximum, "
        f"{measured.peak:.4g} {unit}; NMAE is sum |x - y| / sum y; SSIM with a 3D Gaussian window of sigma "
        f"1.5 voxels, data range as the peak."
    )
    if all(row.quality is None or row.quality.ssim is None for row in measured.rows.values()):
        words += " SSIM was left out: it takes minutes on a scan of this size; see `mapdiff evaluate`."
    return words


def _table(rows: Sequence[Row], unit: str) -> str:
    first = rows[0]
    judged = any(row.quality for row in rows)
    against = "the input" if first.key == INPUT else first.label
    headings = [
        "Image",
        f"Mean in the body, {unit}",
        f"Maximum, {unit}",
        "Activity in the field of view, MBq",
        f"Activity against {against}, %",
    ]
    made = []
    for row in rows:
        cells = [row.label, f"{row.body_mean:.4g}", f"{row.maximum:.4g}"]
        cells.append("–" if row.activity_mbq is None else f"{row.activity_mbq:.1f}")
        cells.append(f"{100 * (row.total / first.total - 1):+.2f}" if first.total else "–")
        if judged and row.quality is None:
            cells += ["–"] * 3
        elif row.quality is not None:
            similar = "–" if row.quality.ssim is None else f"{row.quality.ssim:.4f}"
            cells += [f"{row.quality.psnr:.2f}", similar, f"{row.quality.nmae:.4f}"]
        made.append(cells)
    if judged:
        headings += ["PSNR, dB", "SSIM", "NMAE"]
    return fragments.table(headings, made, "figures")
