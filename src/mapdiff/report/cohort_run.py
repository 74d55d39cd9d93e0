"""From two folders to a cohort's page: pairs, figures, a page per subject, pictures of the best and worst."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from mapdiff.atomic import check_target, written_aside
from mapdiff.diffusion.calibration import Calibration
from mapdiff.errors import InputError
from mapdiff.evaluation.cohort import CohortResult, SubjectResult, evaluate_pairs
from mapdiff.evaluation.pairing import find_scans, pair
from mapdiff.evaluation.rows import Row, rows_of
from mapdiff.formats import read
from mapdiff.inference.denoiser import pretrained_path
from mapdiff.methods.model_file import file_hash, load_model
from mapdiff.report.cohort_page import (
    FIGURES,
    OURS,
    PAGE,
    SUBJECTS,
    CohortContent,
    SubjectLine,
    write_content,
)
from mapdiff.report.embed import Layer
from mapdiff.report.figure import stages_figure
from mapdiff.report.measured import DEVIATION, INPUT, REFERENCE, RESULT
from mapdiff.report.page import write_page
from mapdiff.report.scan_page import page_path
from mapdiff.volume import Volume

#: Colours in a picture that is embedded: greys and the marks need no more.
PICTURE_COLOURS = 256


@dataclass(frozen=True)
class Evaluation:
    """What came of two folders: the measurements, the rows over them, and the page where one was made."""

    result: CohortResult
    rows: list[Row]
    page: Path | None


def evaluate_folders(
    predictions: Path,
    references: Path,
    *,
    output: Path | None = None,
    inputs: Path | None = None,
    lesions: Path | None = None,
    subject_pages: bool = True,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Evaluate every prediction that has a reference; go on after one that fails.

    Args:
        predictions: folder of scans, such as `mapdiff denoise` writes.
        references: folder of scans, or a cohort.
        output: folder for the cohort's page, its figures and the subjects' pages; None: no page.
        inputs: folder of the low-dose scans, where the predictions' manifests do not lead to them.
        lesions: masks, as `evaluate_pairs` takes them.
        subject_pages: make a page of each subject; else link to those that lie beside the predictions.
        overwrite: replace a page that is there.
        say: takes a line of progress.

    Raises:
        InputError: a folder holds no scan, none of them pairs or can be measured, or the page is there.
    """
    if output is not None:
        check_target(output, overwrite, OURS)
    if lesions is not None and not lesions.exists():
        raise InputError("is not there", lesions)
    pairing = pair(find_scans(predictions), find_scans(references))
    if not pairing.pairs:
        raise InputError(f"no scan in it has a reference in {references}", predictions)
    low = () if inputs is None else find_scans(inputs)
    result = evaluate_pairs(pairing.pairs, cohort=references.name, inputs=low, lesions=lesions, say=say)
    result = replace(result, unmatched=pairing.unmatched, unused=pairing.unused)
    if not result.subjects:
        first, cause = result.failed[0]
        raise InputError(
            f"none of {len(result.failed)} scans could be evaluated; {first.name}: {cause}", predictions
        )
    rows = rows_of(one for subject in result.subjects for one in subject.figures)
    if output is None:
        return Evaluation(result, rows, None)
    with written_aside(output) as aside:
        (aside / FIGURES).mkdir(parents=True)
        links = _subject_pages(result.subjects, aside, output, subject_pages, say)
        content = CohortContent(
            title=f"{predictions.name} against {references.name}",
            rows=rows,
            subjects=[_line(subject, link) for subject, link in zip(result.subjects, links, strict=True)],
            regions=[one for subject in result.subjects for one in subject.regions],
            spreads=[subject.spread for subject in result.subjects if subject.spread is not None],
            calibration=_calibration(result.subjects),
            pictures=_pictures(result.subjects, aside / FIGURES, say),
            failed=[(path.name, cause) for path, cause in result.failed],
            unmatched=_without_partner(result),
        )
        write_content(content, aside)
    return Evaluation(result, rows, output / PAGE)


def _without_partner(result: CohortResult) -> list[tuple[str, str]]:
    named = [(path.name, cause) for path, cause in result.unmatched]
    return named + [(path.name, "a reference that no prediction belongs to") for path in result.unused]


def _line(subject: SubjectResult, link: str | None) -> SubjectLine:
    return SubjectLine(
        name=subject.name,
        subject=subject.figures[0].subject,
        cohort=subject.cohort,
        input_dose=subject.input_dose,
        page=link,
        level=subject.level,
        dose_found=subject.dose_found,
        warnings=subject.warnings,
    )


def _subject_pages(
    subjects: Sequence[SubjectResult], aside: Path, output: Path, make: bool, say: Callable[[str], None]
) -> list[str | None]:
    """Links to the subjects' pages, relative to the cohort's; the pages are made where `make`."""
    links: list[str | None] = []
    for subject in subjects:
        if not make:
            there = page_path(subject.images.prediction)
            links.append(os.path.relpath(there.resolve(), output.resolve()) if there.is_file() else None)
            continue
        say(f"page of {subject.name}")
        stem = re.sub(r"[^\w.-]+", "-", subject.name).strip("-.") or "scan"
        taken = sum(link is not None and link.startswith(f"{SUBJECTS}/{stem}.") for link in links)
        link = f"{SUBJECTS}/{stem}.html" if not taken else f"{SUBJECTS}/{stem}.{len(links) + 1}.html"
        write_page(aside / link, _layers(subject), subject.images.manifest, title=subject.name)
        links.append(link)
    return links


def _layers(subject: SubjectResult) -> list[Layer]:
    images = subject.images

    def layer(key: str, label: str, path: Path) -> Layer:
        return Layer(key, label, lambda: read(path))

    layers = [] if images.source is None else [Layer(INPUT, "input", lambda: cast(Volume, images.low()))]
    layers += [layer(label, f"stage {label}", path) for label, path in images.stages.items()]
    layers += [layer(RESULT, "result", images.prediction), layer(REFERENCE, "reference", images.reference)]
    if images.deviation is not None:
        layers.append(layer(DEVIATION, "standard deviation", images.deviation))
    return layers


def _calibration(subjects: Sequence[SubjectResult]) -> Calibration | None:
    """That of the model all were made with, where it ships with mapdiff."""
    hashes = {subject.images.manifest.get("model", {}).get("sha256") for subject in subjects}
    if len(hashes) != 1:
        return None
    path = pretrained_path()
    return load_model(path).calibration if file_hash(path) in hashes else None


def _pictures(
    subjects: Sequence[SubjectResult], figures: Path, say: Callable[[str], None]
) -> list[tuple[str, Path]]:
    """Pictures of the subjects with the highest and the lowest PSNR."""
    ranked = sorted((value, n) for n, s in enumerate(subjects) if (value := _psnr(s)) is not None)
    if not ranked:
        return []
    chosen = {"best": ranked[-1], "worst": ranked[0]} if len(ranked) > 1 else {"only": ranked[0]}
    made = []
    for word, (value, number) in chosen.items():
        subject = subjects[number]
        say(f"picture of the {word}")
        path = figures / f"{word}.png"
        stages_figure(_views(subject), path)
        _with_palette(path)
        heading = "The only one" if word == "only" else f"The {word} by PSNR"
        made.append((f"{heading}: {subject.name}, {value:.2f} dB", path))
    return made


def _psnr(subject: SubjectResult) -> float | None:
    for one in subject.figures:
        if (one.method, one.stage) == (subject.method, "full"):
            for figure in one.figures:
                if (figure.name, figure.protocol, figure.region) == ("psnr", "mapdiff", "volume"):
                    return figure.value
    return None


def _views(subject: SubjectResult) -> list[tuple[str, Volume]]:
    images = subject.images
    low = images.low()
    views = [] if low is None else [(f"input {subject.input_dose}".strip(), low)]
    return [*views, ("result", read(images.prediction)), ("reference", read(images.reference))]


def _with_palette(path: Path) -> None:
    """The same picture in fewer bytes."""
    from PIL import Image

    text = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(PICTURE_COLOURS, dither=Image.Dither.NONE).save(
            text, "PNG", optimize=True
        )
    path.write_bytes(text.getvalue())
