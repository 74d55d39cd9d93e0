"""The `mapdiff` command: collects the verbs and turns errors into exit codes."""

import sys
import traceback
from typing import Annotated

import typer

from mapdiff import RESEARCH_USE, __version__
from mapdiff.cli import VERBS
from mapdiff.errors import MapdiffError

app = typer.Typer(
    name="mapdiff",
    help="Restore a full-dose PET image from an ultra-low-dose whole-body scan.\n\n" + RESEARCH_USE,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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
    try:
        app()
    except MapdiffError as error:
        print(f"mapdiff: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("mapdiff: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # Where it broke, without what it says: an error's text may quote a header, and the patient with it.
        print("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__, file=sys.stderr)
        print("mapdiff: this is a fault of mapdiff, not of your data; please report it", file=sys.stderr)
        sys.exit(1)
