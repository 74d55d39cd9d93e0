"""Single elements of a DICOM header, read so that what is missing or malformed is None."""

from __future__ import annotations

import contextlib
from datetime import date, datetime

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

#: Creators of the private blocks that units and times are read from.
PHILIPS = "Philips PET Private Group"
GE = "GEMS_PETD_01"
SIEMENS = "SIEMENS MED PT"


def text(header: Dataset, keyword: str) -> str | None:
    """An element as text without blanks at its ends; None if it is missing or empty."""
    value = header.get(keyword)
    return None if value is None or str(value).strip() == "" else str(value).strip()


def parse_date(told: str | None) -> date | None:
    """DICOM's DA, "20250131" or the old "2025.01.31"."""
    digits = (told or "").replace(".", "").replace("-", "").strip()
    with contextlib.suppress(ValueError):
        return datetime.strptime(digits[:8], "%Y%m%d").date()
    return None


def items(header: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none if it is missing, empty or no sequence."""
    value = header.get(keyword)
    return list(value) if isinstance(value, Sequence) else []


def number(header: Dataset, keyword: str) -> float | None:
    """The first value of an element as a finite number; None if it is missing or malformed."""
    with contextlib.suppress(TypeError, ValueError, IndexError):
        value = header.get(keyword)
        if value is None or value == "":
            return None
        if not isinstance(value, str | int | float) and hasattr(value, "__len__"):
            value = value[0]
        figure = float(value)
        return figure if np.isfinite(figure) else None
    return None


def private(header: Dataset, group: int, element: int, creator: str) -> str | None:
    """A private element's text, by its creator's block, or at block 10 where no creator is named any more."""
    item = None
    with contextlib.suppress(KeyError):
        item = header.get_private_item(group, element, creator)
    if item is None and (group, 0x0010) not in header and (group, 0x1000 + element) in header:
        item = header[group, 0x1000 + element]
    if item is None:
        return None
    value = item.value
    told = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return told.strip(" \0") or None


def private_number(header: Dataset, group: int, element: int, creator: str) -> float | None:
    """A private element as a positive number, else None."""
    with contextlib.suppress(ValueError):
        figure = float(private(header, group, element, creator) or "")
        return figure if np.isfinite(figure) and figure > 0 else None
    return None


def instance(header: Dataset) -> str:
    """How an error calls a slice."""
    told = number(header, "InstanceNumber")
    return "instance ?" if told is None else f"instance {told:.0f}"
