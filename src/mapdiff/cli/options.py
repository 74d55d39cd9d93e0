"""Options that several verbs share, each defined once."""

from typing import Annotated

import typer

Series = Annotated[
    str | None,
    typer.Option(help="Which of several DICOM series: its number, UID or a part of its description."),
]
Unit = Annotated[
    str | None,
    typer.Option(help="Unit of the voxels where the file does not tell: Bq/mL, kBq/mL or SUV."),
]
Weight = Annotated[float | None, typer.Option(help="Body weight in kg, in place of the header's.")]
InjectedActivity = Annotated[
    float | None, typer.Option(help="Injected activity in MBq, in place of the header's.")
]
InjectionTime = Annotated[
    str | None, typer.Option(help="Time of injection, HH:MM or HH:MM:SS, in place of the header's.")
]


def becquerels(mbq: float | None) -> float | None:
    """An activity given in MBq, in Bq."""
    return None if mbq is None else mbq * 1e6
