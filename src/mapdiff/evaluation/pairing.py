"""Which prediction belongs to which reference: by subject and dose, as the names on disk tell them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mapdiff.cohort.layout import COHORT_FILE, doses_of, subjects
from mapdiff.dose import FULL, dose_of_rec
from mapdiff.errors import InputError
from mapdiff.formats import discover
from mapdiff.formats.udpet import dose_of_folder
from mapdiff.inference.run import manifest_path

_BIDS = re.compile(r"(sub-[A-Za-z0-9]+(?:_(?!rec-|desc-)[A-Za-z0-9]+-[A-Za-z0-9]+)*)_(.*_)?(?:pet|petmr)$")
_REC = re.compile(r"(?:^|_)rec-([A-Za-z0-9]+)(?:_|$)")
#: "Anonymous-01_DRF-10", and the full dose beside it: "Anonymous-01_Full_dose", "Anonymous-01_NORMAL".
_UDPET = re.compile(r"(.+?)[_ -](?:DRF[-_]?(\d+)|(full(?:[_ -]?dose)?|normal))$", re.IGNORECASE)


@dataclass(frozen=True)
class Scan:
    """A scan on disk and what its name tells.

    Attributes:
        path: the file, or the folder of a DICOM series.
        place: the path within the folder that was searched, without its ending: names the scan.
        subject: who was scanned; scans of one subject share it.
        dose: the dose fraction, where the name tells one.
    """

    path: Path
    place: str
    subject: str
    dose: Fraction | None


@dataclass(frozen=True)
class Pair:
    """A prediction, what it is judged by, and all doses of that subject among the references."""

    prediction: Scan
    reference: Scan
    doses: dict[Fraction, Path]


@dataclass(frozen=True)
class Pairing:
    """Pairs in the order of the predictions' names, and what is left: the scan and why, in one line."""

    pairs: tuple[Pair, ...]
    unmatched: tuple[tuple[Path, str], ...]
    unused: tuple[Path, ...]


def identify(path: Path, root: Path) -> Scan:
    """Tell subject and dose by a scan's name: BIDS entities, UDPET names, or else the name as it is.

    >>> identify(Path("c/sub-01/pet/sub-01_rec-drf20_pet.nii.gz"), Path("c")).subject
    'sub-01'
    """
    name = re.sub(r"\.(nii|nii\.gz|zip)$", "", path.name, flags=re.IGNORECASE)
    inside = path.relative_to(root) if path.is_relative_to(root) and path != root else Path(path.name)
    place = str(inside.with_name(name)) if inside.name else name
    if bids := _BIDS.match(name):
        rec = _REC.search(name)
        return Scan(path, place, bids.group(1), _dose(rec.group(1)) if rec else None)
    if (folder := dose_of_folder(name)) and inside.parent != Path():
        return Scan(path, place, str(inside.parent), folder[1])
    if udpet := _UDPET.match(name):
        drf = udpet.group(2)
        dose = FULL if drf is None else Fraction(1, int(drf)) if int(drf) > 0 else None
        return Scan(path, place, str(inside.with_name(udpet.group(1))), dose)
    return Scan(path, place, place, None)


def _dose(label: str) -> Fraction | None:
    try:
        return dose_of_rec(label)
    except InputError:
        return None


def find_scans(folder: Path) -> list[Scan]:
    """The scans in a folder, without the companions (stages, deviation) of those that a manifest names.

    Of a cohort of mapdiff only the scans themselves, not the truth.

    Raises:
        InputError: there is nothing there, or no scan in it.
    """
    if (folder / COHORT_FILE).is_file():
        paths = [path for subject in subjects(folder) for path in doses_of(subject).values()]
    else:
        paths = discover(folder)
    companions = {path.parent / name for path in paths for name in _companions(path)}
    found = [identify(path, folder) for path in paths if path not in companions]
    if not found:
        raise InputError("holds no NIfTI file and no DICOM series", folder)
    return found


def _companions(path: Path) -> Sequence[str]:
    manifest = manifest_path(path)
    if not manifest.is_file():
        return ()
    try:
        outputs = json.loads(manifest.read_text())["outputs"]
        return [str(name) for name in outputs if name != path.name]
    except (ValueError, KeyError, TypeError):
        return ()


def pair(predictions: Sequence[Scan], references: Sequence[Scan]) -> Pairing:
    """Give every prediction its reference.

    A subject's reference is its full dose where a name tells one, whatever dose the prediction was made
    from; else the scan of the same name, where that name does not tell a lower dose; else the subject's only
    one.
    """
    by_subject: dict[str, list[Scan]] = {}
    for scan in references:
        by_subject.setdefault(scan.subject, []).append(scan)
    by_place = {scan.place: scan for scan in references}
    pairs, unmatched, used = [], [], set()
    for prediction in sorted(predictions, key=lambda scan: scan.place):
        same = by_subject.get(prediction.subject, [])
        found = _reference(same, by_place.get(prediction.place))
        if not isinstance(found, str) and found.path.resolve() == prediction.path.resolve():
            found = "is the reference itself"
        if isinstance(found, str):
            unmatched.append((prediction.path, found))
            continue
        doses = {scan.dose: scan.path for scan in same if scan.dose is not None}
        pairs.append(Pair(prediction, found, doses))
        used |= {scan.path for scan in same} | {found.path}
    unused = tuple(scan.path for scan in references if scan.path not in used)
    return Pairing(tuple(pairs), tuple(unmatched), unused)


def _reference(same: Sequence[Scan], twin: Scan | None) -> Scan | str:
    """The reference, or why there is none."""
    full = [scan for scan in same if scan.dose == FULL]
    if len(full) == 1:
        return full[0]
    if len(full) > 1:
        return f"{len(full)} references of this subject are named as the full dose"
    if twin is not None and twin.dose is None:
        return twin
    bare = [scan for scan in same if scan.dose is None]
    if len(bare) == 1:
        return bare[0]
    if bare:
        return f"{len(bare)} references could be meant: {', '.join(scan.path.name for scan in bare)}"
    if same:
        return "the references hold lower doses of this subject, but not the full one"
    return "no reference of this name"


def mask_of(subject: str, folder: Path, subjects: Collection[str]) -> Path | None:
    """The folder's mask of a subject: of its very name, or one that begins with it ("sub-01_lesions").

    One that begins with a longer name of the cohort ("sub-01_followup") is that subject's.
    """
    longer = [other for other in subjects if other.startswith(f"{subject}_")]
    begins = []
    for file in sorted(folder.rglob("*.nii*")):
        stem = file.name.split(".")[0]
        # By `identify` too, which knows sessions: the mask of another is not that of one that names its own.
        if subject in (stem, identify(file, folder).subject):
            return file
        if stem.startswith(f"{subject}_") and not any(_begins(stem, other) for other in longer):
            begins.append(file)
    return begins[0] if begins else None


def _begins(stem: str, subject: str) -> bool:
    return stem == subject or stem.startswith(f"{subject}_")
