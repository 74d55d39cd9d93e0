"""`mapdiff export`: a run's best model as one small file to hand on."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder from `mapdiff train`, or a model file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write, .safetensors.")],
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="A file from `mapdiff calibrate` that takes the place of the model's: the stages are then "
            "named by that scanner's doses."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Write a run's best model as one file for `mapdiff denoise --model`, its weights in 16 bit."""
    from dataclasses import replace

    import torch

    from mapdiff.atomic import check_target
    from mapdiff.diffusion.calibration import calibration_of_models
    from mapdiff.errors import InputError
    from mapdiff.methods.model_file import load_model, save_model
    from mapdiff.training.folder import BEST_FILE, MODEL_FILE

    if output.suffix != ".safetensors":
        raise InputError("must end in .safetensors", output)
    check_target(output, overwrite)
    if run.is_dir() and not (run / BEST_FILE).exists():
        if (run / MODEL_FILE).exists():
            raise InputError(
                f"has not been validated yet, so there is no best model: export {run / MODEL_FILE}", run
            )
        raise InputError("holds no run of mapdiff train", run)
    if not run.exists():
        raise InputError("there is no such run, and no such model file", run)
    model = load_model(run / BEST_FILE if run.is_dir() else run)
    if calibration is not None:
        model = replace(model, calibration=calibration_of_models(calibration))
    save_model(model, output, torch.float16)
    print(f"{output}  {output.stat().st_size / 1e6:.1f} MB, step {model.training.get('step', 'unknown')}")
