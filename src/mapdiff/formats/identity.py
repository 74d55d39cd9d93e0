"""Free text of a header is shown only where it does not quote the patient.

Scanners' free text (a series' description, the radiopharmaceutical, the name of a contour) is typed by
people, and some type the patient's name; a damaged header may hold it anywhere. Logs, manifests and pages
are passed on.
"""

from __future__ import annotations

import calendar
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import permutations

from pydicom.dataset import Dataset

from mapdiff.formats.dicom_elements import parse_date, text

#: DICOM attributes, and fields of a sidecar, that tell who the patient is.
_TELLING = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "OtherPatientIDs",
    "OtherPatientNames",
    "AccessionNumber",
)
#: Words of names that tell nobody: those of phantoms, and of scans that are without a name already.
_HARMLESS = frozenset({"pet", "fdg", "suv", "phantom", "test", "anonymous", "anon", "unknown", "none", "dro"})
#: Letters that are typed as two where a keyboard or a scanner lacks them.
_TWO_LETTERS = str.maketrans({
    "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "å": "aa", "ø": "oe", "æ": "ae",
    "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "Å": "Aa", "Ø": "Oe", "Æ": "Ae",
})  # fmt: skip


def impersonal(
    header: Dataset | Mapping[str, object], told: str | None, further: Sequence[str] = ()
) -> str | None:
    """The text; None if the patient's name, a number, birth date or address is in it, or a word of them.

    Args:
        header: DICOM header, or the fields of a sidecar.
        told: text from it.
        further: attributes that must not be quoted either.
    """
    if told is None:
        return None
    names = (*_TELLING, *further)
    values = [text(header, name) if isinstance(header, Dataset) else header.get(name) for name in names]
    known = [str(value) for value in values if isinstance(value, str | int)]
    born = values[names.index("PatientBirthDate")]
    if isinstance(born, str) and (day := parse_date(re.sub(r"\D", "", born))) and tells_date(told, day):
        return None
    spelled = {spelling for value in known for spelling in _spellings(value)}
    quoted = any(_quotes(line, value) for line in _spellings(told) for value in spelled)
    return None if quoted else told


def _quotes(told: str, value: str) -> bool:
    """Whether a text holds a word of a value, or a number of it."""
    spoken, whole = _words(told), told.lower()
    mine, run_together = set(spoken), "".join(spoken)
    words = _words(value)
    names = {word for word in words if len(word) > 2} - _HARMLESS
    # A short word may be part of another ("Ann" in "scanner"); a longer one, and one in ideographs,
    # which nothing sets apart, is the name wherever it stands.
    if any(word in mine or (len(word) > 3 and word in whole) for word in names):
        return True
    if any(not word.isascii() and word in whole for word in words):
        return True
    # "Li Na", two words that are too short to be told from others alone; "12-34-56", a number in parts.
    short = {word for word in words if len(word) == 2}
    if len(short) > 1 and (short <= mine or {"".join(pair) for pair in permutations(short, 2)} & mine):
        return True
    joined = "".join(words)
    return len(joined) > 3 and joined.isdigit() and joined in run_together


def _spellings(told: str) -> set[str]:
    """A text as it stands, without accents, and with umlauts in two letters: people type names in each way.

    >>> sorted(_spellings("Müller"))
    ['Mueller', 'Muller', 'Müller']
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", told) if not unicodedata.combining(c))
    return {told, plain, unicodedata.normalize("NFC", told).translate(_TWO_LETTERS)}


def tells_date(told: str, day: date) -> bool:
    """Whether a text holds the day, as people write it: digits in any order, or the month's English name.

    >>> [tells_date(text, date(1951, 3, 17)) for text in ("born 17/3/1951", "17 Mar 1951", "17.04.1951")]
    [True, True, False]
    """
    words = re.findall(r"\d+|[^\W\d_]+", told.lower())
    year, month, dom = (f"{n:02d}" for n in (day.year, day.month, day.day))
    orders = {"".join(parts) for parts in permutations((year, month, dom)) if year in (parts[0], parts[2])}
    if any(order in "".join(re.findall(r"\d+", told)) for order in orders):
        return True
    numbers = {int(word) for word in words if word.isdigit()}
    name = calendar.month_abbr[day.month].lower()
    named = any(word.startswith(name) for word in words) or day.month in numbers
    return {day.year, day.day} <= numbers and named


def is_told(header: Dataset, told: str) -> str:
    """What an error says of a code: "is PROPCNTS", "is missing", or only that it is not known."""
    return "is missing" if not told else f"is {impersonal(header, told) or 'not one that is known'}"


def _words(told: str) -> list[str]:
    return re.findall(r"[^\W_]+", told.lower())
