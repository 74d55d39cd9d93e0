"""A trial of other scanner parameters, told on a benchmark's command line; what is tried is not written."""

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace

from mapdiff.simulate.scanner import NAMED, PRESETS, Scanner


def add_trial(parser: argparse.ArgumentParser) -> None:
    """Add `--scanner` and `--set`; with either, a benchmark prints and writes nothing."""
    parser.add_argument("--scanner", choices=list(NAMED), help="only this one, and write nothing")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="with --scanner: one of its parameters (simulate/scanner.py) changed; may be repeated",
    )


def scanners(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[str, Scanner]:
    """The presets by name, or the one that is tried; a usage error for a parameter there is not."""
    if not arguments.scanner:
        if arguments.set:
            parser.error("--set needs --scanner")
        return dict(PRESETS)
    try:
        return {arguments.scanner: changed(NAMED[arguments.scanner], arguments.set)}
    except ValueError as error:
        parser.error(str(error))


def changed(scanner: Scanner, settings: Sequence[str]) -> Scanner:
    """The scanner with parameters set by NAME=NUMBER.

    Raises:
        ValueError: no such parameter, or not a number of its type that is 0 or more.
    """
    kinds = {field.name: field.type for field in fields(Scanner) if field.type in (int, float)}
    values: dict[str, int | float] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in kinds:
            raise ValueError(f"'{name}' is none of {', '.join(kinds)}")
        try:
            values[name] = int(text) if kinds[name] is int else float(text)
        except ValueError:
            raise ValueError(f"{name} must be a number, not '{text}'") from None
        if not 0 <= values[name] < float("inf"):
            raise ValueError(f"{name} must be 0 or more, not {text}")
    return replace(scanner, **values)  # type: ignore[arg-type]
