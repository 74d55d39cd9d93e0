"""Outputs appear whole or not at all: they are written aside, then renamed."""

import contextlib
import fcntl
import glob
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from mapdiff.errors import InputError

#: Characters of a name that its aside keeps.
LONGEST = 60


def check_target(path: Path, overwrite: bool | None, ours: str | None = None) -> None:
    """Refuse an output that is there already, before any work is done.

    Args:
        path: where the output goes.
        overwrite: replace what is there; None where the command cannot, and makes a folder. A folder is
            replaced only where all of its entries' names match `ours`: whatever else it holds is not ours to
            delete.
        ours: regular expression of the names that a folder of this kind of output holds; None of a file.

    Raises:
        InputError: `path` exists (a folder with anything in it, or a file) and `overwrite` is false, or
            the place it would go to cannot hold it.
    """
    if path.exists() and not overwrite and not (path.is_dir() and not any(path.iterdir())):
        advice = "give another name" if overwrite is None else "give another name or --overwrite"
        raise InputError(f"exists already; {advice}", path)
    if path.is_dir() and ours is None and overwrite is not None:
        raise InputError("is a folder; give the name of a file", path)
    if path.is_dir():
        for entry in path.iterdir():
            if ours is None or not re.fullmatch(ours, entry.name):
                raise InputError(f"is a folder that holds other things ({entry.name}); not replaced", path)
    if ours is not None and path.is_dir() and (path.is_symlink() or os.path.ismount(path)):
        kind = "a link to a folder" if path.is_symlink() else "a mounted disk"
        raise InputError(f"is {kind}, which cannot be replaced whole; give a new name in it", path)
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"cannot be written: {parent} is not a folder", path)
    if not os.access(parent, os.W_OK):
        raise InputError(f"cannot be written: no permission in {parent}", path)


def remove_asides(path: Path) -> None:
    """Remove what writers of `path` left that were killed; nobody else may be writing it now."""
    for aside in path.parent.glob(f".aside-????????-{glob.escape(path.name[-LONGEST:])}"):
        remove(aside)


def remove_asides_in(folder: Path) -> None:
    """Remove what killed writers left in a folder that is ours alone and nobody else writes in now."""
    for aside in folder.glob(".aside-*"):
        remove(aside)


@contextlib.contextmanager
def locked(lock_file: Path, meanwhile: str) -> Iterator[None]:
    """Keep other processes out of the lock file's folder, and remove what killed ones left there.

    The lock dies with the process, however that ends.

    Args:
        lock_file: made where it is not there, as is its folder; it stays.
        meanwhile: what another process may be doing there, for the error: "trains".

    Raises:
        InputError: the folder cannot be written, or another process has it.
    """
    folder = lock_file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_file.open("a")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", folder) from None
    with lock:
        try:
            # A record lock, not flock: forked readers of patches would inherit that and outlive a kill.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another process {meanwhile} in this folder", folder) from None
        remove_asides_in(folder)
        yield


def remove(path: Path) -> None:
    """Remove a file or a whole folder, or nothing where there is none."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def put_by(path: Path, still_true: Callable[[], bool]) -> Iterator[None]:
    """Take a file away while what it tells of is replaced; on an error it comes back if it is still true."""
    kept = _aside_of(path)
    if path.exists():
        path.rename(kept)
    try:
        yield
    except BaseException:
        if kept.exists() and still_true():
            kept.rename(path)
        raise
    finally:
        remove(kept)


def _aside_of(path: Path) -> Path:
    """A name beside `path` that nothing has. Names may have 255 bytes: of a longer one its end is kept."""
    return path.parent / f".aside-{uuid.uuid4().hex[:8]}-{path.name[-LONGEST:]}"


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or folder at; rename it to `path` when all went well.

    The temporary name keeps the file's endings, since writers choose the format by them. What stood at
    `path` is replaced only by the rename. On any error the aside is removed and `path` is left as it was.

    Raises:
        InputError: the disk is full or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path) from error
    aside, old = _aside_of(path), _aside_of(path)
    try:
        yield aside
        if path.is_dir():  # no name can take a folder's place: it goes aside whole, in an instant
            path.rename(old)
        aside.replace(path)
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(aside)):
            raise  # another file's fault, which its reader names
        raise InputError(f"cannot be written: {error.strerror or error}", path) from error
    finally:
        if old.is_dir() and not path.exists():
            old.rename(path)
        for left in (aside, old):
            remove(left)
