"""`python -m mapdiff` is the `mapdiff` command."""

from mapdiff.cli.main import run

run()
