"""`mapdiff train`: train a method on multi-dose cohorts; run again, it goes on."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    cohorts: Annotated[
        list[Path], typer.Argument(help="Folders of multi-dose cohorts, or stores from `mapdiff pack`.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The run's folder.")],
    method: Annotated[str, typer.Option(help="What to train.")] = "map-diff",
    steps: Annotated[int, typer.Option(help="Optimiser steps of the whole run.")] = 4000,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Patches per step, over all processes. Default: 8, swin-unetr 2; with --patch as many as "
            "have the voxels of those."
        ),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(help="Edge of a patch, voxels; a multiple of 8. Default: 32, swin-unetr 64."),
    ] = None,
    learning_rate: Annotated[
        float, typer.Option(help="After the warm-up; it falls to zero over the steps.")
    ] = 1e-3,
    optimizer: Annotated[str, typer.Option(help="muon, or adamw, which takes more steps.")] = "muon",
    channels: Annotated[
        str | None,
        typer.Option(
            help="Of the network at each resolution, the finest first; smaller is faster. "
            "Default: those of --init, else 96,128,192."
        ),
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            help="Residual blocks at each resolution, on the way down and again on the way up. "
            "Default: those of --init, else 2,2,2."
        ),
    ] = None,
    validation: Annotated[int, typer.Option(help="Subjects at each cohort's end to validate on.")] = 2,
    seed: Annotated[int, typer.Option(help="Decides weights, patches and doses.")] = 0,
    init: Annotated[
        str | None,
        typer.Option(help="Start from this model (map-diff is the one that ships, or a file): fine-tuning."),
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option(help="Stop within so long; the same command goes on.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    calibration: Annotated[
        Path | None, typer.Option(help="A file from `mapdiff calibrate`; default: calibrate these cohorts.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where the folder holds a run.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (bf16 where the machine is fast at it), bf16 or float32.")
    ] = "auto",
    devices: Annotated[int, typer.Option(help="Processes on each machine; torchrun tells it itself.")] = 1,
    nodes: Annotated[int, typer.Option(help="Machines; torchrun tells it itself.")] = 1,
    accumulate: Annotated[
        int, typer.Option(help="Pieces that a step's patches are cut into; saves memory, trains the same.")
    ] = 1,
    workers: Annotated[
        int | None, typer.Option(help="Processes that read patches; default: as the cores allow.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes that pack a cohort folder.")] = None,
) -> None:
    """Train a denoiser on one or more multi-dose cohorts.

    The run's folder gets the model (model.safetensors, for `mapdiff denoise --model`), the best by
    validation (best.safetensors), the calibration, log.csv, TensorBoard's files, progress.png and the state
    from which the same command goes on. A cohort folder is packed into the run's folder first; `mapdiff pack`
    does it once for many runs.
    """
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    from mapdiff.diffusion.calibration import calibration_of_models
    from mapdiff.errors import InputError
    from mapdiff.training.config import Resources, TrainingConfig, blocks_of, patches_of, widths_of

    shape: dict[str, Any] = {}
    if channels is not None:
        shape["channels"] = widths_of(channels)
    if blocks is not None:
        shape["blocks"] = blocks_of(blocks)
    edge, number = patches_of(method, patch, batch)
    config = TrainingConfig(
        method=method,
        steps=steps,
        batch=number,
        patch=edge,
        optimizer=optimizer,
        learning_rate=learning_rate,
        validation=validation,
        seed=seed,
        **shape,
    )
    resources = Resources(
        device, devices, nodes, precision, accumulate, workers, jobs, max_hours, checkpoint_every
    )
    from mapdiff.inference.denoiser import pretrained_path
    from mapdiff.methods.model_file import load_model
    from mapdiff.training.loop import train as run_training

    start = None
    if init is not None:
        start = load_model(Path(init) if init.endswith(".safetensors") else pretrained_path(init))
        for option, told in shape.items():
            has = getattr(start.net.config, option)
            if told != has:
                raise InputError(f"--{option}: the model of --init has {','.join(map(str, has))}")

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    calibrated = None if calibration is None else calibration_of_models(calibration)
    model = run_training(
        cohorts,
        output,
        config,
        resources,
        calibration=calibrated,
        init=start,
        restart=restart,
        say=say,
    )
    if getattr(rank_zero_only, "rank", 0) == 0:
        print(model)
