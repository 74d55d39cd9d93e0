"""The `mapdiff` command: collects the verbs and turns errors into exit codes."""

import io
import signal
import sys
import traceback
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from mapdiff import RESEARCH_USE, __version__
from mapdiff.cli import VERBS
from mapdiff.errors import MapdiffError

app = typer.Typer(
    name="mapdiff",
    help="Restore a full-dose PET image from an ultra-low-dose whole-body scan.\n\n" + RESEARCH_USE,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# What typer makes of a KeyboardInterrupt, by the shells' convention of 128 + SIGINT.
INTERRUPTED = 130
TERMINATED = 143


def _print_version(value: bool) -> None:
    if value:
        print(f"mapdiff {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for verb in VERBS:
    app.command(verb.__name__)(verb)


def run() -> None:
    """Run the command line; exit codes: 0 done, 2 input or call, 3 part of a batch, 1 our fault."""
    # So that what is written aside is removed; `train` has its own way to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name in bytes that are no UTF-8 is printed as it is.
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        # Not standalone: there typer draws boxes of several lines round an error, and an interrupt is silent.
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except MapdiffError as error:
        _leave(str(error), error.exit_code)
    except TyperException as error:
        verbs = [f"{verb.__name__} " for verb in VERBS if verb.__name__ == sys.argv[1]]
        _leave(f"{error.format_message()} (see mapdiff {''.join(verbs)}--help)", error.exit_code)
    except Exception as error:
        # Where it broke, without what it says: an error's text may quote a header, and the patient with it.
        print("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__, file=sys.stderr)
        print("mapdiff: this is a fault of mapdiff, not of your data; please report it", file=sys.stderr)
        sys.exit(1)
    if code == INTERRUPTED:
        _leave("interrupted", code)
    sys.exit(code or 0)


def _leave(cause: str, code: int) -> NoReturn:
    print(f"mapdiff: {' '.join(cause.split())}", file=sys.stderr)
    sys.exit(code)
