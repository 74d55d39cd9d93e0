"""Room on the disk, checked before hours of work rather than after."""

import shutil
from pathlib import Path

from mapdiff.errors import InputError


def check_space(folder: Path, needed: int) -> None:
    """Refuse to start where the disk that holds `folder`, which need not exist yet, is too small.

    Args:
        folder: where files are to be written.
        needed: bytes that they are expected to take.

    Raises:
        InputError: the disk has less than that free.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise InputError(
            f"the disk has {free / 1e9:.1f} GB free and about {needed / 1e9:.1f} GB are needed", folder
        )
