"""Where a cohort keeps what: BIDS-like names, one place that knows them.

cohort.json                                     what the cohort is
sub-001/subject.json                            the facts of one subject; written last, so it marks it whole
sub-001/pet/sub-001_rec-full_pet.nii.gz         the full dose, Bq/mL, with its JSON sidecar
sub-001/pet/sub-001_rec-drf20_pet.nii.gz        dose reduction factor 20: a twentieth of the dose
sub-001/truth/sub-001_noisefree.nii.gz          simulated only: activity, noisefree, mumap, organs, lesions
"""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from mapdiff.dose import dose_of_rec, rec_label
from mapdiff.errors import InputError
from mapdiff.formats import write
from mapdiff.formats.bids import sidecar_path
from mapdiff.volume import Volume

COHORT_FILE = "cohort.json"
SUBJECT_FILE = "subject.json"


def dose_path(subject: Path, name: str, dose: Fraction) -> Path:
    """The image of one dose of the subject in the folder `subject`."""
    return subject / "pet" / f"{name}_rec-{rec_label(dose)}_pet.nii.gz"


def truth_path(subject: Path, name: str, kind: str) -> Path:
    """An image that only a simulation can know: activity, noisefree, mumap, organs or lesions."""
    return subject / "truth" / f"{name}_{kind}.nii.gz"


def write_image(volume: Volume, path: Path, extra: dict[str, Any] | None = None) -> None:
    """Write a NIfTI image with its sidecar, `extra` fields added to those of the scan."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(volume, path, overwrite=True)
    sidecar = sidecar_path(path)
    fields = json.loads(sidecar.read_text()) if sidecar.exists() else {}
    sidecar.write_text(json.dumps({**fields, **(extra or {})}, indent=1))


def subjects(cohort: Path) -> list[Path]:
    """The folders of a cohort's complete subjects, in order.

    Raises:
        InputError: the folder is no cohort or has no complete subject.
    """
    if not cohort.exists():
        raise InputError("is not there", cohort)
    if not (cohort / COHORT_FILE).is_file():
        raise InputError(f"is not a cohort: it has no {COHORT_FILE}", cohort)
    found = sorted(p.parent for p in cohort.glob(f"sub-*/{SUBJECT_FILE}"))
    if not found:
        raise InputError("has no complete subject", cohort)
    return found


def doses_of(subject: Path) -> dict[Fraction, Path]:
    """The images of a subject by dose, from the highest dose to the lowest.

    Raises:
        InputError: the name of one tells no dose.
    """
    prefix = f"{subject.name}_rec-"
    found = {}
    for path in (subject / "pet").glob(f"{prefix}*_pet.nii.gz"):
        try:
            found[dose_of_rec(path.name.removeprefix(prefix).removesuffix("_pet.nii.gz"))] = path
        except InputError as error:
            raise InputError(f"its name tells no dose: {error.cause}", path) from None
    return dict(sorted(found.items(), reverse=True))
