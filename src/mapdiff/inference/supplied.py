"""Facts of a scan that the user supplies: by flags, or by the table of the UDPET challenge's test set.

They feed the unit, the SUV and the manifest; no voxel of a result depends on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mapdiff.formats.udpet import TableRow, with_table
from mapdiff.suv import clock_seconds, with_supplied
from mapdiff.volume import Volume


@dataclass(frozen=True)
class Supplied:
    """What the user supplies.

    Attributes:
        weight_kg: body weight, kg.
        injected_activity_bq: activity at injection, Bq.
        injection_time: time of day, "HH:MM" or "HH:MM:SS".
        table: rows of the test set's table by file name, see `formats.udpet.read_csv`.
    """

    weight_kg: float | None = None
    injected_activity_bq: float | None = None
    injection_time: str | None = None
    table: Mapping[str, TableRow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the flags before any scan is read.

        Raises:
            InputError: a figure is absurd, or the time is none.
        """
        with_supplied(
            Volume(np.ones((1, 1, 1)), np.eye(4)),
            weight_kg=self.weight_kg,
            injected_activity_bq=self.injected_activity_bq,
        )
        if self.injection_time is not None:
            clock_seconds(self.injection_time)

    @property
    def figures(self) -> dict[str, float | bool] | None:
        """What the flags supply, for the manifest: of a time of day only that it was; None for nothing."""
        told: dict[str, float | bool | None] = {
            "weight_kg": self.weight_kg,
            "injected_activity_bq": self.injected_activity_bq,
            "injection_time": True if self.injection_time is not None else None,
        }
        return {name: figure for name, figure in told.items() if figure is not None} or None

    def applied(self, volume: Volume, source: Path) -> Volume:
        """The scan with the table's facts, then those of the flags; their names are in its `supplied`.

        Raises:
            UnitError: an injection time is given and the scan's own time is not known.
        """
        if self.table:
            row = self.table.get(source.name)
            if row is None:
                text = f"the table has no row for {source.name}"
                volume = replace(volume, warnings=(*volume.warnings, text))
            else:
                volume = with_table(volume, row)
        volume = self._by_flags(volume)
        if volume.acquisition.suv_per_bqml is None:
            return volume
        kept = tuple(text for text in volume.warnings if not text.startswith("SUV is not known"))
        return replace(volume, warnings=kept)

    def _by_flags(self, volume: Volume) -> Volume:
        return with_supplied(
            volume,
            weight_kg=self.weight_kg,
            injected_activity_bq=self.injected_activity_bq,
            injection_time=self.injection_time,
        )


def facts_of(volume: Volume) -> dict[str, Any]:
    """The figures that SUV needs, for a manifest; `supplied_by_user` names those that the user gave."""
    facts = volume.acquisition
    return {
        "tracer": facts.tracer,
        "half_life_s": facts.half_life_s,
        "injected_activity_bq": facts.injected_activity_bq,
        "uptake_s": facts.uptake_s,
        "weight_kg": facts.weight_kg,
        "suv_per_bqml": facts.suv_per_bqml,
        "supplied_by_user": list(facts.supplied),
    }
