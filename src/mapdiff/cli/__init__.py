"""The command line: one file per verb, thin. Each imports its heavy parts when it runs, not before."""

from collections.abc import Callable

from mapdiff.cli.evaluate import evaluate

#: The verbs in the order that `mapdiff --help` shows them.
VERBS: list[Callable[..., None]] = [evaluate]
