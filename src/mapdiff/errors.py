"""The errors that mapdiff raises on purpose, each with the exit code that the command line gives it."""

from pathlib import Path


class MapdiffError(Exception):
    """Base of every deliberate error; its text is one line that a user can act on."""

    exit_code = 1


class InputError(MapdiffError):
    """The input or the call is at fault: exit code 2.

    Args:
        cause: what is wrong, in one line.
        path: the file or folder at fault, put before the cause.
    """

    exit_code = 2

    def __init__(self, cause: str, path: str | Path | None = None) -> None:
        """Join the path and the cause into one line."""
        self.cause = cause
        self.path = None if path is None else Path(path)
        super().__init__(cause if path is None else f"{path}: {cause}")


class UnitError(InputError):
    """A conversion needs what the scan does not tell (unit, weight, dose, time)."""


class PartialFailure(MapdiffError):
    """Some of a batch failed, the rest is done: exit code 3."""

    exit_code = 3
