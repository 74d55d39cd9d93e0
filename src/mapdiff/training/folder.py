"""A run's folder: what lies in it, who may write to it, whether there is room."""

import shutil
from pathlib import Path
from typing import Any

from mapdiff.errors import InputError
from mapdiff.training.log import BOARD_FOLDER, LOG_FILE
from mapdiff.training.picture import PICTURE_FILE

STATE_FILE = "state.safetensors"
MODEL_FILE = "model.safetensors"
BEST_FILE = "best.safetensors"
CALIBRATION_FILE = "calibration.json"
LOCK_FILE = ".lock"
_RESULTS = (STATE_FILE, MODEL_FILE, BEST_FILE, LOG_FILE, CALIBRATION_FILE, PICTURE_FILE)


def clear(run: Path) -> None:
    """Remove a run's results, not the stores of its cohorts."""
    for name in _RESULTS:
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / BOARD_FOLDER, ignore_errors=True)


#: What runs were trained by before their state told it.
_UNTOLD = {"optimizer": "adamw"}


def check_same(before: dict[str, Any], now: dict[str, Any], run: Path) -> None:
    """Refuse to go on with a run that was started otherwise.

    Raises:
        InputError: a key differs; the text names it.
    """
    for key, value in now.items():
        started = before.get(key, _UNTOLD.get(key, value))
        if started != value:
            raise InputError(
                f"was started with {key} = {_told(started)}, not {_told(value)}; give another folder, "
                "or --restart to begin anew in this one",
                run,
            )


def check_new(run: Path, anew: bool = False) -> None:
    """Refuse to begin among other things, or in a folder that holds the model of a run whose state is gone.

    Args:
        run: the folder.
        anew: the run that is there will be removed.

    Raises:
        InputError: it is a file, holds something though no run was ever in it, or holds such a model.
    """
    if run.exists() and not run.is_dir():
        raise InputError("is a file; give a folder for the run", run)
    marks = (LOCK_FILE, STATE_FILE, MODEL_FILE, BEST_FILE)
    if run.is_dir() and any(run.iterdir()) and not any((run / name).exists() for name in marks):
        raise InputError("is not empty and holds no run; give another folder", run)
    for name in () if anew else (MODEL_FILE, BEST_FILE):
        if (run / name).exists() and not (run / STATE_FILE).exists():
            raise InputError(
                f"holds a {name} without the state it was trained to, so that the run cannot go on; give "
                "another folder, or --restart to begin anew in this one",
                run,
            )


def check_room(run: Path, parameters: int, anew: bool = False) -> None:
    """Refuse a disk that cannot hold the run's files.

    Args:
        run: the folder.
        parameters: of the network.
        anew: the run's files that are there will be removed.

    Raises:
        InputError: there is not enough room.
    """
    # Weights, average and two moments, then model and best model, the largest of them twice while it is
    # written aside; ten megabytes for the log, TensorBoard and the picture.
    needed = 4 * parameters * (4 + 4 + 1 + 1) + 10 * 2**20
    free = shutil.disk_usage(run).free
    if anew:
        free += sum((run / name).stat().st_size for name in _RESULTS if (run / name).exists())
    if free < needed:
        raise InputError(
            f"the disk has {free / 2**20:.0f} MB left, the run needs {needed / 2**20:.0f} MB", run
        )


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
