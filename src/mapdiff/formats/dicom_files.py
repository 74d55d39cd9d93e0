"""The DICOM files in a folder, nested folders or a zip archive, and the series they belong to."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import stat
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pydicom
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mapdiff.errors import InputError
from mapdiff.formats.identity import impersonal

#: Endings that promise DICOM; a file with one of them that is none is an error, any other is passed over.
ENDINGS = (".dcm", ".ima", ".dicom")
#: A zip archive is refused beyond these: a whole-body PET series is below 1 GB and does not shrink 200-fold.
MOST_BYTES = 16 * 2**30
MOST_RATIO = 200
MOST_ENTRIES = 100_000
ENHANCED = ("1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.128.1")
#: SOP classes of PET images. Modality PT has others: raw data, curves, screenshots.
PET_IMAGES = ("1.2.840.10008.5.1.4.1.1.128", *ENHANCED)


@dataclass(frozen=True)
class Entry:
    """A file in a folder or archive: its name there and how to open it."""

    name: str
    open: Callable[[], BinaryIO]


@dataclass
class Series:
    """The files of one series: headers without pixels, and where each came from."""

    headers: list[Dataset] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from warning and logging: its messages quote header values, names among them."""
    logger = logging.getLogger("pydicom")
    level, reading = logger.level, config.settings.reading_validation_mode
    logger.setLevel(logging.CRITICAL + 1)
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        config.settings.reading_validation_mode = reading


def copied(dataset: Dataset) -> Dataset:
    """A dataset with elements of its own, since pydicom changes an element in place on assignment."""
    other = Dataset()
    for element in dataset:
        other[element.tag] = copy.copy(element)
    return other


def holds_dicom(folder: Path) -> bool:
    """Whether a DICOM file, or one that is named so, lies directly in the folder."""
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.name.upper() == "DICOMDIR" or not entry.is_file():
            continue
        if entry.name.lower().endswith(ENDINGS):
            return True
        try:
            with entry.open("rb") as file:
                if _looks_dicom(file.read(132)):
                    return True
        except OSError:
            continue
    return False


@contextlib.contextmanager
def opened(path: Path) -> Iterator[list[Entry]]:
    """The files at a path: below a folder, inside a .zip archive, or the one file itself.

    Raises:
        InputError: the archive is broken, would unpack outside its folder, or is a zip bomb.
    """
    if path.is_dir():
        files = sorted(file for file in _below(path) if file.is_file())
        yield [_of_file(file, str(file.relative_to(path))) for file in files if not _hidden(file.name)]
    elif path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                yield [_of_zip(archive, info) for info in _checked(archive, path)]
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
            raise InputError("is a broken or encrypted zip archive", path) from error
    else:
        yield [_of_file(path, path.name)]


def leads_up(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _below(folder: Path) -> Iterator[Path]:
    """All files below a folder, through links to folders too, but not round in a circle."""
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        folders[:] = [name for name in folders if not leads_up(here / name)]
        yield from (here / name for name in names)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.upper() == "DICOMDIR"


def _of_file(file: Path, name: str) -> Entry:
    return Entry(name, lambda: file.open("rb"))


def _of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    return Entry(info.filename, lambda: io.BytesIO(archive.read(info)))


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The archive's files, after a look at its directory alone: nothing is unpacked for this."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    for info in infos:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise InputError("the archive holds a path that leaves its folder", path)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError("the archive holds a symbolic link", path)
    size = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if size > MOST_BYTES or len(infos) > MOST_ENTRIES or size > max(packed, 1) * MOST_RATIO + 2**24:
        raise InputError(
            f"the archive would unpack to {size / 2**20:.0f} MB in {len(infos)} files from "
            f"{packed / 2**20:.1f} MB: a zip bomb",
            path,
        )
    return sorted(
        (info for info in infos if not _hidden(PurePosixPath(info.filename).name)), key=lambda i: i.filename
    )


def _looks_dicom(head: bytes) -> bool:
    """Whether a file begins as DICOM does: with its preamble, or bare with an element of group 8 or 2."""
    if head[128:132] == b"DICM":
        return True
    return len(head) >= 8 and head[:2] in (b"\x08\x00", b"\x02\x00") and head[3] == 0


def where_is(entry: Entry, path: Path) -> Path:
    """The file as an error names it; in an archive, as if that were a folder."""
    return path if path.is_file() and path.suffix.lower() != ".zip" else path / entry.name


def load(entry: Entry, path: Path, pixels: bool) -> Dataset | None:
    """A file's header, with or without its pixels; None if it is not meant to be DICOM.

    Raises:
        InputError: it cannot be read, or promises DICOM and is none.
    """
    where = where_is(entry, path)
    meant = entry.name.lower().endswith(ENDINGS) or where == path
    try:
        with entry.open() as file:
            head = file.read(132)
            if not head and meant:
                raise InputError("is empty", where)
            if not _looks_dicom(head):
                if meant:
                    other = "" if entry.name.lower().endswith(ENDINGS) else ", nor .nii, .nii.gz or .zip"
                    raise InputError(f"is not a DICOM file{other}", where)
                return None
            file.seek(0)
            dataset = pydicom.dcmread(file, stop_before_pixels=not pixels, force=True)
    except PermissionError:
        raise InputError("no permission to read it", where) from None
    except (InputError, zipfile.BadZipFile):
        raise
    except Exception as error:  # pydicom raises many kinds on broken files
        raise InputError(f"is not readable as DICOM ({type(error).__name__})", where) from error
    if not pixels:
        _drop_unreadable(dataset)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _drop_unreadable(dataset: Dataset) -> None:
    """Leave out elements whose value cannot be parsed: they count as missing, where they are needed.

    pydicom parses an element when it is first used, so a broken one would strike anywhere later.
    """
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            for item in element.value if element.VR == "SQ" else ():
                _drop_unreadable(item)
        except Exception:  # pydicom raises many kinds
            del dataset[tag]


def pet_series(entries: list[Entry], path: Path, wanted: str | None) -> Series:
    """The series of PET images among the files, the wanted one if there are several.

    Args:
        entries: the files.
        path: what the user named, for errors.
        wanted: series number, UID or a part of the description.

    Raises:
        InputError: there is no PET series, or several and `wanted` does not name one of them.
    """
    found: dict[str, Series] = {}
    others: Counter[str] = Counter()
    for entry in entries:
        header = load(entry, path, pixels=False)
        if header is None or str(header.get("SOPClassUID", "")).startswith("1.2.840.10008.1.3"):
            continue  # not DICOM, or a directory of DICOM files
        kind, modality = str(header.get("SOPClassUID", "")), str(header.get("Modality", "")).upper()
        if not modality and (not kind or kind in PET_IMAGES):
            lacks = "no Modality (0008,0060)" if kind else "neither Modality (0008,0060) nor SOPClassUID"
            raise InputError(f"is truncated: it has {lacks}", where_is(entry, path))
        if modality != "PT":
            others[impersonal(header, modality) or "unknown"] += 1
            continue
        if kind and kind not in PET_IMAGES:
            others["PT that are no PET images"] += 1
            continue
        series = found.setdefault(str(header.get("SeriesInstanceUID", "")), Series())
        series.headers.append(header)
        series.entries.append(entry)
    if "" in found and len(found) > 1:
        cause = "has no SeriesInstanceUID (0020,000E), as the rest has: is it truncated?"
        raise InputError(cause, where_is(found[""].entries[0], path))
    if not found:
        if not others:
            raise InputError("holds no DICOM file" if path.is_dir() else "holds no DICOM image", path)
        modalities = ", ".join(f"{name} ({count} files)" for name, count in sorted(others.items()))
        raise InputError(f"is not PET: holds {modalities}", path)
    if wanted is not None:
        matches = {uid: one for uid, one in found.items() if _matches(wanted, uid, one.headers[0])}
        exact = {uid: one for uid, one in matches.items() if wanted == _number(one.headers[0])}
        matches = exact or matches
    else:
        matches = found
    if len(matches) != 1:
        told = {uid: _described(one) for uid, one in (matches or found).items()}
        heads = [text.rpartition(" (")[0] for text in told.values()]
        alike = len(set(heads)) < len(heads)  # then only the UID tells one from the other
        listed = "; ".join(f"{text}, UID {uid}" if alike else text for uid, text in told.items())
        if wanted is not None and not matches:
            raise InputError(f"holds no PET series '{wanted}'; it holds {listed}", path)
        raise InputError(f"holds {len(matches)} PET series, choose one with --series: {listed}", path)
    return matches.popitem()[1]


def _number(header: Dataset) -> str:
    return str(header.get("SeriesNumber", "") or "")


def _matches(wanted: str, uid: str, header: Dataset) -> bool:
    description = str(header.get("SeriesDescription", "") or "")
    return wanted in (uid, _number(header)) or wanted.lower() in description.lower()


def _described(series: Series) -> str:
    """A series in the words of its header, less any description that quotes the patient."""
    header = series.headers[0]
    description = impersonal(header, str(header.get("SeriesDescription", "") or ""))
    number = impersonal(header, _number(header)) or "none"
    name = f"number {number}" + (f" '{description}'" if description else "")
    return f"{name} ({len(series.headers)} files)"
