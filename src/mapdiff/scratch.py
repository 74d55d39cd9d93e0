"""Images that are kept on disk while they are worked on, so that memory need not hold them.

The file has no name (it is gone when its last user is, however that ends), and it is read and written by
slabs of slices with plain file calls, so that its pages are the system's to keep or drop, not the process's.
"""

import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.errors import InputError

#: Slices that a sweep over an image takes at once.
SLAB = 32


class Scratch:
    """A float32 image on disk, zero at first, axis k the slowest; in the folder that TMPDIR names."""

    def __init__(self, shape: Sequence[int]) -> None:
        """Take room for an image of `shape`, (I, J, K).

        Raises:
            InputError: the disk has no room for it.
        """
        i, j, k = shape
        self.shape = (i, j, k)
        self._plane = 4 * i * j
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the object
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, self._plane * k)
            else:
                self._file.truncate(self._plane * k)
        except OSError as error:
            size = f"{self._plane * k / 1e9:.1f} GB of scratch space ({error.strerror or error})"
            raise InputError(
                f"no room for {size} in {tempfile.gettempdir()}; set TMPDIR to another folder"
            ) from error

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """A copy of the slices [start, stop), (I, J, stop - start), Fortran order."""
        out = np.empty((*self.shape[:2], stop - start), np.float32, order="F")
        view, at = _bytes(out), start * self._plane
        while view:
            count = os.preadv(self._file.fileno(), [view], at)
            view, at = view[count:], at + count
        return out

    def write(self, start: int, values: NDArray[np.float32]) -> None:
        """Write slices from `start` on."""
        data = np.asfortranarray(values, np.float32)
        view, at = _bytes(data), start * self._plane
        while view:
            count = os.pwritev(self._file.fileno(), [view], at)
            view, at = view[count:], at + count

    def array(self) -> NDArray[np.float32]:
        """The image as an array whose pages are read from the file when they are looked at."""
        return np.asarray(np.memmap(self._file, np.float32, "r+", shape=self.shape, order="F"))


def _bytes(values: Any) -> memoryview:
    """The memory of an array in Fortran order."""
    return memoryview(values.T).cast("B") if values.size else memoryview(b"")


def write_slabs(scratch: Scratch, values: Callable[[int, int], NDArray[np.float32]], threads: int) -> None:
    """Fill an image: `values(start, stop)` gives its slices; slabs are worked on side by side."""

    def one(span: tuple[int, int]) -> None:
        scratch.write(span[0], values(*span))

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        list(pool.map(one, slabs(scratch.shape[2])))


def slabs(size: int, thickness: int = SLAB) -> Iterator[tuple[int, int]]:
    """[0, size) in pieces."""
    for start in range(0, size, thickness):
        yield start, min(start + thickness, size)


def release(array: NDArray[Any]) -> None:
    """Let go of the resident pages of a scratch image's array; they are read again when looked at."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    # Pages of a private mapping ("c") may hold what is not in the file; those of a shared one never do.
    if isinstance(base, np.memmap) and base.mode == "r+" and hasattr(mmap, "MADV_DONTNEED"):
        pages: Any = base.base
        pages.madvise(mmap.MADV_DONTNEED)
