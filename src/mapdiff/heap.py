"""The process's memory: its peak, and a heap that keeps large tensors instead of mapping each anew."""

import ctypes
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# From malloc.h of the GNU C library.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 2**31 - 1
#: Afterwards: where the library's own rule ends up, which is off once a threshold was set (mallopt(3)). With
#: the values that it starts with every array of more than 128 kB would be mapped and faulted in from then on.
_USUAL_MMAP, _USUAL_TRIM = 32 * 2**20, 64 * 2**20

#: How many want it kept just now: a validation's denoising ends within a training.
_keepers = 0
_counting = threading.Lock()


@contextmanager
def kept_heap() -> Iterator[None]:
    """While it lasts, freed memory stays with the process and serves again.

    By default every tensor above 32 MB is mapped from the system when it is made and unmapped when it is
    freed; the page faults of that take longer than the arithmetic between convolutions. Has an effect with
    the GNU C library only (older ones refuse a threshold above 32 MB, and are left as they are); when the
    last of those that overlap ends, that is so again and what is free is given back. What lasts long calls
    `give_back` now and then, since small things that stay between large ones that go leave gaps.
    """
    global _keepers
    libc = _c_library()
    with _counting:
        kept = libc is not None and libc.mallopt(_M_MMAP_THRESHOLD, _LARGE) == 1
        if kept:
            _keepers += 1
            libc.mallopt(_M_TRIM_THRESHOLD, _LARGE)
    if not kept:
        yield
        return
    try:
        yield
    finally:
        with _counting:
            _keepers -= 1
            if not _keepers:
                libc.mallopt(_M_MMAP_THRESHOLD, _USUAL_MMAP)
                libc.mallopt(_M_TRIM_THRESHOLD, _USUAL_TRIM)
                libc.malloc_trim(0)


def give_back() -> None:
    """Give free memory back to the system now, also while the heap is kept."""
    if (libc := _c_library()) is not None:
        libc.malloc_trim(0)


def _c_library() -> Any:
    """The GNU C library's functions; None where it is another."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB (2^20 bytes).

    From /proc where there is one: what getrusage tells of a process may be its parent's, from before exec.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (2**20 if sys.platform == "darwin" else 1024)
