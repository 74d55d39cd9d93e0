"""Free text of a header is shown only where it does not quote the patient.

Scanners' free text (a series' description, the radiopharmaceutical, the name of a contour) is typed by
people, and some type the patient's name; a damaged header may hold it anywhere. Logs, manifests and pages
are passed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pydicom.dataset import Dataset

from mapdiff.formats.dicom_elements import text

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


def impersonal(header: Dataset | Mapping[str, object], told: str | None) -> str | None:
    """The text; None if a word of the patient's name, numbers, birth date or address is in it.

    Args:
        header: DICOM header, or the fields of a sidecar.
        told: text from it.
    """
    if told is None:
        return None
    values = (text(header, name) if isinstance(header, Dataset) else header.get(name) for name in _TELLING)
    quoted = _words(value for value in values if isinstance(value, str | int)) - _HARMLESS
    mine, whole = _words([told]), told.lower()
    # A short word may be part of another ("Ann" in "scanner"); a longer one is the name wherever it stands.
    return None if any(word in mine or (len(word) > 3 and word in whole) for word in quoted) else told


def is_told(header: Dataset, told: str) -> str:
    """What an error says of a code: "is PROPCNTS", "is missing", or only that it is not known."""
    return "is missing" if not told else f"is {impersonal(header, told) or 'not one that is known'}"


def _words(values: Iterable[object]) -> set[str]:
    return {word for value in values for word in re.findall(r"[^\W_]{3,}", str(value).lower())}
