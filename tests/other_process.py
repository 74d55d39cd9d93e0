"""Another process that holds a folder."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def holding(lock_file: Path, doing: str) -> Iterator[None]:
    """While it lasts another process has the lock; then it is killed."""
    code = "import sys; from pathlib import Path; from mapdiff.atomic import locked\n"
    code += f"with locked(Path({str(lock_file)!r}), {doing!r}): print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        yield
    finally:
        other.kill()
        other.wait()
