"""The training loop, read from top to bottom; run again on the same folder, it goes on."""

import copy
import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from mapdiff import __version__
from mapdiff.cohort.layout import subjects as subjects_of
from mapdiff.cohort.patches import PatchSampler
from mapdiff.cohort.subject import SubjectScans, load_subject
from mapdiff.diffusion.calibration import Calibration, SubjectDegradation, calibrate, measure_subject
from mapdiff.errors import InputError
from mapdiff.methods.map_diff import MapDiff, estimate
from mapdiff.methods.model_file import TrainedModel, parameters, save_model
from mapdiff.networks.denoiser import DenoiserConfig, DenoiserNet
from mapdiff.precision import best_precision
from mapdiff.training.checkpoint import TrainingState, load_state, save_state, start_state

METHODS: dict[str, Callable[[], MapDiff]] = {"map-diff": MapDiff}
STATE_FILE = "state.safetensors"
MODEL_FILE = "model.safetensors"
BEST_FILE = "best.safetensors"
LOG_FILE = "log.csv"
COLUMNS = ("step", "loss", "diffusion", "anchor", "lr", "validation", "seconds")


@dataclass(frozen=True)
class TrainingConfig:
    """A run's settings; saved with it, and the same again on resume.

    Attributes:
        method: a name in METHODS.
        steps: optimiser steps of the whole run; the learning rate falls to zero over them.
        batch: patches per step.
        patch: edge of a patch, voxels.
        learning_rate: of AdamW, after the warm-up.
        warmup: steps of linear warm-up.
        ema: decay of the average of the weights.
        clip: largest norm of the gradient.
        channels: of the denoiser, the finest resolution first.
        blocks: of the denoiser.
        validation: subjects at the end of the cohort that are not trained on.
        seed: decides weights, patches, doses and stages.
    """

    method: str = "map-diff"
    steps: int = 4000
    batch: int = 2
    patch: int = 48
    learning_rate: float = 1e-3
    warmup: int = 100
    ema: float = 0.998
    clip: float = 0.2
    channels: tuple[int, ...] = (96, 128, 192)
    blocks: tuple[int, ...] = (2, 2, 2)
    validation: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            InputError: one of them makes no sense; the text names it.
        """
        if self.method not in METHODS:
            raise InputError(f"method '{self.method}' is unknown; there are {', '.join(METHODS)}")
        for name in ("steps", "batch", "validation"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: at least 1")
        if self.seed < 0:
            raise InputError(f"seed = {self.seed}: not negative")

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then half a cosine to zero."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


@dataclass(frozen=True)
class TrainingData:
    """Subjects in memory with their noise levels, and the cohort's calibration."""

    train: list[SubjectScans]
    validation: list[SubjectScans]
    levels: dict[str, float]
    calibration: Calibration


def calibrate_cohorts(cohorts: list[Path], measure: str, say: Callable[[str], None]) -> Calibration:
    """The calibration of one or more cohorts, all their subjects together."""
    degradations = []
    for cohort in cohorts:
        for folder in subjects_of(cohort):
            scans = load_subject(folder)
            degradations.append(measure_subject(scans.by_dose(), scans.body, measure, scans.spacing_mm))
            say(f"{cohort.name}/{scans.name} measured")
    return calibrate(degradations, measure)


def level_of(degradation: SubjectDegradation) -> float:
    """A subject's noise at full dose against the noise-free image, from that against the full dose."""
    return float(
        np.mean([value / math.sqrt(1 / float(dose) - 1) for dose, value in degradation.real.items()])
    )


def load_cohorts(
    cohorts: list[Path], held_out: int, calibration: Calibration | None, say: Callable[[str], None]
) -> TrainingData:
    """Read the cohorts into memory and calibrate them, where no calibration is given.

    Raises:
        InputError: a cohort is broken, or too small to hold subjects out.
    """
    train: list[SubjectScans] = []
    validation: list[SubjectScans] = []
    levels, degradations = {}, []
    for cohort in cohorts:
        folders = subjects_of(cohort)
        if len(folders) <= held_out:
            raise InputError(
                f"has {len(folders)} subjects: more than the {held_out} held out are needed", cohort
            )
        for number, folder in enumerate(folders):
            scans = load_subject(folder)
            degradation = measure_subject(scans.by_dose(), scans.body, spacing_mm=scans.spacing_mm)
            levels[f"{cohort.name}/{scans.name}"] = level_of(degradation)
            degradations.append(degradation)
            scans = SubjectScans(**{**scans.__dict__, "name": f"{cohort.name}/{scans.name}"})
            (validation if number >= len(folders) - held_out else train).append(scans)
        say(f"{cohort}: {len(folders)} subjects read")
    return TrainingData(train, validation, levels, calibration or calibrate(degradations))


def train(
    cohorts: list[Path],
    run: Path,
    config: TrainingConfig,
    *,
    max_hours: float | None = None,
    checkpoint_every: int = 200,
    calibration: Calibration | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> Path:
    """Train, or go on with a run that was stopped; everything random follows from the seed and the step.

    Args:
        cohorts: folders of multi-dose cohorts.
        run: the run's folder: model, best model, state, log.
        config: the settings.
        max_hours: stop (to be continued) after so long in this session.
        checkpoint_every: steps between checkpoints, each with a validation.
        calibration: the path's; None calibrates on the cohorts.
        device: "auto", "cpu" or "cuda".
        say: takes a line of progress.

    Returns:
        The model's file.

    Raises:
        InputError: a cohort is broken, or the run was started with another configuration.
    """
    method = METHODS[config.method]()
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    precision = best_precision(accelerator)
    fabric = Fabric(
        accelerator=accelerator, devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true"
    )
    torch.manual_seed(config.seed)
    net = DenoiserNet(DenoiserConfig(config.channels, config.blocks)).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
    )
    wrapped, wrapped_optimizer = fabric.setup(net, optimizer)
    state = start_state(net, optimizer)
    facts = json.loads(json.dumps(asdict(config)))
    if (run / STATE_FILE).exists():
        _check_same(load_state(state, run / STATE_FILE), facts, run)
        say(f"going on at step {state.step} of {config.steps}")
    if state.step >= config.steps:
        say(f"the run is finished: {config.steps} steps")
        return run / MODEL_FILE

    data = load_cohorts(cohorts, config.validation, calibration, say)
    sampler = PatchSampler(
        data.train, [data.levels[s.name] for s in data.train], config.patch, config.batch, config.seed
    )
    validator = PatchSampler(
        data.validation, [data.levels[s.name] for s in data.validation], config.patch, 8, config.seed + 1
    )
    run.mkdir(parents=True, exist_ok=True)
    (run / "calibration.json").write_text(data.calibration.to_json())
    log = _open_log(run / LOG_FILE, state.step)
    started, seconds_before = time.monotonic(), state.seconds
    recent: list[dict[str, float]] = []

    while state.step < config.steps:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
        batch = sampler.draw(state.step)
        rate = config.rate(state.step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = method.loss(wrapped, batch, data.calibration, generator)
        fabric.backward(losses["loss"])
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        wrapped_optimizer.step()
        wrapped_optimizer.zero_grad()
        state.step += 1
        state.update_ema(config.ema)
        state.seconds = seconds_before + time.monotonic() - started
        recent.append({name: float(value.detach()) for name, value in losses.items()})

        out_of_time = max_hours is not None and (time.monotonic() - started) / 3600 >= max_hours
        if state.step % checkpoint_every == 0 or state.step == config.steps or out_of_time:
            averaged = copy.deepcopy(net)
            averaged.load_state_dict(state.ema)
            with fabric.autocast():
                error = _validate(averaged, validator)
            model = TrainedModel(
                config.method,
                averaged,
                data.calibration,
                _level_range(method, data),
                _facts(config, data, state),
            )
            save_model(model, run / MODEL_FILE)
            if error < state.best:
                state.best = error
                save_model(model, run / BEST_FILE)
            means = {name: float(np.mean([r[name] for r in recent])) for name in recent[0]}
            recent = []
            _append(
                log,
                {
                    "step": state.step,
                    **means,
                    "lr": rate,
                    "validation": error,
                    "seconds": round(state.seconds),
                },
            )
            save_state(state, run / STATE_FILE, facts)
            left = (config.steps - state.step) * state.seconds / state.step
            say(
                f"step {state.step} of {config.steps}: loss {means['loss']:.5f}, validation {error:.5f}, "
                f"{left / 60:.0f} min left"
            )
        if out_of_time:
            say(f"stopped after {max_hours} h at step {state.step}; run again to go on")
            break
    return run / MODEL_FILE


def _check_same(before: dict[str, Any], now: dict[str, Any], run: Path) -> None:
    for key in now:
        if before.get(key) != now[key]:
            raise InputError(
                f"was started with {key} = {before.get(key)}, not {now[key]}; give another folder",
                run,
            )


def _validate(net: DenoiserNet, sampler: PatchSampler) -> float:
    """Weighted squared error of the one-pass estimate at 1/20 over that of the input, on 16 fixed patches."""
    from mapdiff.diffusion.anchor_loss import error_weight, weighted_square

    net.eval()
    index = int(np.argmin([abs(float(d) - 1 / 20) for d in sampler.doses]))
    errors: list[Tensor] = []
    with torch.no_grad():
        for n in range(2):
            batch = sampler.draw(n)
            u = batch.scans[:, index][:, None]
            level = batch.level / float(sampler.doses[index]) ** 0.5
            z_hat = estimate(net, u, u, level, level, batch.spacing_mm)
            weight = error_weight(u, batch.spacing_mm)
            before = weighted_square(u, batch.target, weight)
            errors.append(weighted_square(z_hat, batch.target, weight) / before)
    return float(torch.cat(errors).mean())


def _level_range(method: MapDiff, data: TrainingData) -> tuple[float, float]:
    levels = [data.levels[s.name] for s in data.train]
    lowest, highest = min(d for d, _ in method.input_doses), max(d for d, _ in method.input_doses)
    low, high = method.noise_scale
    return min(levels) * low / math.sqrt(highest), max(levels) * high / math.sqrt(lowest)


def _facts(config: TrainingConfig, data: TrainingData, state: TrainingState) -> dict[str, Any]:
    return {
        **asdict(config),
        "step": state.step,
        "hours": round(state.seconds / 3600, 3),
        "subjects": len(data.train),
        "held_out": len(data.validation),
        "parameters": parameters(state.net),
        "target": "noise-free" if all(s.has_truth for s in data.train) else "full dose",
        "torch": torch.__version__,
        "mapdiff": __version__,
    }


def _open_log(path: Path, step: int) -> Path:
    """Drop the rows after `step`: they belong to steps that are done again."""
    rows = []
    if path.exists():
        with path.open() as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", newline="") as file:
        csv.DictWriter(file, COLUMNS).writerow(row)
