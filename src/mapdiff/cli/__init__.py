"""The command line: one file per verb, thin. Each imports its heavy parts when it runs, not before."""

from collections.abc import Callable

#: The verbs in the order that `mapdiff --help` shows them.
VERBS: list[Callable[..., None]] = []
