"""The benchmark's detectability: lesions in simulated livers, seen by an observer before and after.

DETECTION/pairs-0123abcd/body-0001.npz               one body's scans with and without lesions, their places
DETECTION/pairs-0123abcd/ddpm-ddim-50/body-0001.json  the observer's outputs in what a method made of both
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.atomic import written_aside
from mapdiff.dose import dose_label
from mapdiff.errors import InputError
from mapdiff.evaluation.benchmark.detection import DIAMETER_MM, EDGE, Pair, simulate_pair
from mapdiff.evaluation.benchmark.plan import INPUT, MAIN_DOSE, DetectionSpec, Entry
from mapdiff.evaluation.benchmark.restore import Restorer
from mapdiff.evaluation.benchmark.subjects import TestSubject
from mapdiff.evaluation.observer import (
    Detectability,
    channel_outputs,
    detectability,
    difference,
    dog_channels,
)
from mapdiff.volume import Volume

FOLDER, AUC = "detection", "auc"
CONVENTION = f"channelised Hotelling, {DIAMETER_MM:g} mm"
Outputs = tuple[NDArray[np.float64], NDArray[np.float64]]
Say = Callable[[str], None]
Row = dict[str, Any]


def observe(
    spec: DetectionSpec, restorers: Mapping[Entry, Restorer], work: Path, say: Say
) -> tuple[list[Row], list[Row]]:
    """Simulate the pairs and restore them where that has not been done yet; the AUCs of all.

    Args:
        spec: which pairs.
        restorers: by entry, the input's among them.
        work: the benchmark's folder.
        say: takes a line of progress.

    Returns:
        A row for each entry, and one for each but the input: its AUC less the input's, of the same pairs.

    Raises:
        InputError: the bodies have no room for so many lesions, or a file is broken.
    """
    counts = dict(_bodies(spec, work, say))
    bodies = np.repeat(list(counts), list(counts.values()))[: spec.pairs]
    outputs: dict[Entry, Outputs] = {}
    for entry, restorer in restorers.items():
        parts = [_outputs(spec, restorer, number, work, say) for number in counts]
        outputs[entry] = (
            np.concatenate([p[0] for p in parts])[: spec.pairs],
            np.concatenate([p[1] for p in parts])[: spec.pairs],
        )
    before = next(found for entry, found in outputs.items() if entry.method == INPUT)
    rows = [_row(spec, entry, detectability(*found, bodies)) for entry, found in outputs.items()]
    paired = [
        {
            **_row(spec, entry, gain := difference(found, before, bodies)),
            "versus": {"method": INPUT, "sampler": ""},
            "clear_of_zero": gain.low > 0 or gain.high < 0,
        }
        for entry, found in outputs.items()
        if entry.method != INPUT
    ]
    return rows, paired


def _bodies(spec: DetectionSpec, work: Path, say: Say) -> Iterator[tuple[int, int]]:
    """Numbers of the bodies that hold the pairs, each simulated by now, and how many each holds."""
    pairs, tried = 0, 0
    while pairs < spec.pairs:
        if tried > 10 * spec.pairs:
            raise InputError(f"no room for {spec.pairs} lesions in {tried} livers on this grid")
        path = _pair_path(spec, work, tried)
        if not path.exists():
            pair = simulate_pair(
                spec.scanner, MAIN_DOSE, spec.contrast, spec.seed, tried, spec.spacing_mm, spec.slices
            )
            _save(path, pair)
            say(f"{FOLDER}: body {tried}, {0 if pair is None else len(pair.places)} pairs simulated")
        found = len(np.load(path)["places"])
        if found:
            yield tried, found
        pairs += found
        tried += 1


def _pair_path(spec: DetectionSpec, work: Path, number: int) -> Path:
    facts = json.dumps({k: v for k, v in asdict(spec).items() if k != "pairs"}, sort_keys=True)
    marked = hashlib.sha256(facts.encode()).hexdigest()[:8]
    return work / FOLDER / f"pairs-{marked}" / f"body-{number:04d}.npz"


def _save(path: Path, pair: Pair | None) -> None:
    with written_aside(path) as aside, aside.open("wb") as file:
        if pair is None:
            np.savez(file, places=np.zeros((0, 3), np.int64))
            return
        np.savez_compressed(
            file,
            places=np.asarray(pair.places),
            present=pair.present.array,
            absent=pair.absent.array,
            affine=pair.present.affine,
        )


def _outputs(spec: DetectionSpec, restorer: Restorer, number: int, work: Path, say: Say) -> Outputs:
    """Channel outputs of a body's pairs in what a method makes of its two scans."""
    source = _pair_path(spec, work, number)
    path = source.parent / restorer.entry.key / f"{source.stem}.json"
    fingerprint = restorer.fingerprint(MAIN_DOSE, spec.spacing_mm)
    if path.exists():
        known = json.loads(path.read_text())
        if known["fingerprint"] == fingerprint:
            return np.asarray(known["present"]), np.asarray(known["absent"])
    held = np.load(source)
    places = [tuple(int(c) for c in place) for place in held["places"]]
    channels = dog_channels((EDGE,) * 3, spec.spacing_mm)
    found = []
    for name in ("present", "absent"):
        volume = Volume(held[name], held["affine"], "Bq/mL")
        subject = TestSubject(source.stem, {MAIN_DOSE: volume}, volume, None, {}, None)
        image = restorer(subject, MAIN_DOSE).images["full"]
        found.append(channel_outputs([image], [places], channels, EDGE))  # type: ignore[list-item]
    with written_aside(path) as aside:
        facts = {"present": found[0].tolist(), "absent": found[1].tolist()}
        aside.write_text(json.dumps({"fingerprint": fingerprint, **facts}))
    say(f"{FOLDER}: body {number} {restorer.entry.key}")
    return found[0], found[1]


def _row(spec: DetectionSpec, entry: Entry, found: Detectability) -> Row:
    return {
        "cohort": FOLDER,
        "method": entry.method,
        "sampler": entry.sampling,
        "grid": " x ".join(f"{s:g}" for s in spec.spacing_mm) + " mm",
        "input_dose": dose_label(MAIN_DOSE),
        "reference": "truth",
        "stage": "full",
        "metric": AUC,
        "convention": CONVENTION,
        "unit": "",
        "protocol": "channelised Hotelling",
        "region": "liver",
        "n": found.pairs,
        "mean": found.auc,
        "ci_low": found.low,
        "ci_high": found.high,
        "subjects": {},
    }
