"""The methods by name."""

from collections.abc import Callable

from mapdiff.errors import InputError
from mapdiff.methods.base import Method
from mapdiff.methods.map_diff import MapDiff

METHODS: dict[str, Callable[[], Method]] = {"map-diff": MapDiff}


def method_named(name: str) -> Method:
    """The method of that name, with its settings.

    Raises:
        InputError: there is none.
    """
    if name not in METHODS:
        raise InputError(f"method '{name}' is unknown; there are {', '.join(METHODS)}")
    return METHODS[name]()
