"""`python -m mapdiff` is the `mapdiff` command."""

from mapdiff.cli.main import run

if __name__ == "__main__":
    run()
