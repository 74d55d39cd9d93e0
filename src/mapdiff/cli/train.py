"""`mapdiff train`: train a method on multi-dose cohorts; run again, it goes on."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def train(
    cohorts: Annotated[list[Path], typer.Argument(help="Folders of multi-dose cohorts.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The run's folder.")],
    method: Annotated[str, typer.Option(help="What to train.")] = "map-diff",
    steps: Annotated[int, typer.Option(help="Optimiser steps of the whole run.")] = 4000,
    batch: Annotated[int, typer.Option(help="Patches per step.")] = 2,
    patch: Annotated[int, typer.Option(help="Edge of a patch, voxels; a multiple of 8.")] = 48,
    validation: Annotated[int, typer.Option(help="Subjects at each cohort's end to validate on.")] = 2,
    seed: Annotated[int, typer.Option(help="Decides weights, patches and doses.")] = 0,
    max_hours: Annotated[
        float | None, typer.Option(help="Stop after so long; the same command goes on.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    calibration: Annotated[
        Path | None, typer.Option(help="A file from `mapdiff calibrate`; default: calibrate these cohorts.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a denoiser on one or more multi-dose cohorts.

    The run's folder gets the model (model.safetensors, for `mapdiff denoise --model`), the best by
    validation (best.safetensors), the calibration, a log and the state from which the same command goes on.
    """
    from mapdiff.diffusion.calibration import Calibration
    from mapdiff.errors import InputError
    from mapdiff.training.loop import TrainingConfig
    from mapdiff.training.loop import train as run_training

    if patch % 8 or patch < 16:
        raise InputError(f"--patch {patch}: a multiple of 8, 16 or more")
    config = TrainingConfig(
        method=method, steps=steps, batch=batch, patch=patch, validation=validation, seed=seed
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    model = run_training(
        cohorts,
        output,
        config,
        max_hours=max_hours,
        checkpoint_every=checkpoint_every,
        calibration=None if calibration is None else Calibration.read(calibration),
        device=device,
        say=say,
    )
    print(model)
