"""What a run tells while it goes on: a CSV file, TensorBoard, and a picture."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mapdiff.atomic import written_aside

LOG_FILE, BOARD_FOLDER = "log.csv", "tensorboard"


class RunLog:
    """The rows of a run, one for each checkpoint. The file is always whole: it is written anew each time."""

    def __init__(self, run: Path, step: int) -> None:
        """Read the rows up to `step`; later ones belong to steps that are done again."""
        self._path = run / LOG_FILE
        self.rows: list[dict[str, str]] = []
        if self._path.exists():
            with self._path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorBoard's own dependencies deprecate one another
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board: Any = SummaryWriter(str(run / BOARD_FOLDER), purge_step=step + 1)

    def append(self, row: dict[str, float]) -> None:
        """Add a row; its first field is the step."""
        step = int(row["step"])
        # A run that an older version began has other columns; their rows do not fit.
        self.rows = [r for r in self.rows if int(r["step"]) < step and list(r) == list(row)]
        self.rows.append({name: str(value) for name, value in row.items()})
        with written_aside(self._path) as aside, aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(self.rows)
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(name, value, step)
        self._board.flush()

    def columns(self, *leave_out: str) -> dict[str, list[float]]:
        """The rows as figures by column."""
        names: Sequence[str] = list(self.rows[0]) if self.rows else []
        return {n: [float(row[n]) for row in self.rows] for n in names if n not in leave_out}

    def close(self) -> None:
        """Finish TensorBoard's file."""
        self._board.close()
