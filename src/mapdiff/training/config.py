"""The settings of a training run."""

import math
from dataclasses import dataclass

from mapdiff.errors import InputError
from mapdiff.methods.registry import method_named
from mapdiff.training.optimizer import OPTIMIZERS


@dataclass(frozen=True)
class TrainingConfig:
    """A run's settings; saved with it, and the same again on resume.

    Attributes:
        method: a name in `methods.registry`.
        steps: optimiser steps of the whole run; the learning rate falls to zero over them.
        batch: patches per step, over all processes.
        patch: edge of a patch, voxels.
        optimizer: one of `training.optimizer.OPTIMIZERS`.
        learning_rate: of Adam, and in its measure of Muon, after the warm-up.
        warmup: steps of linear warm-up.
        ema: decay of the average of the weights.
        clip: largest norm of the gradient.
        channels: of the network, the finest resolution first.
        blocks: of the network, at each resolution.
        validation: subjects at the end of each cohort that are not trained on.
        seed: decides weights, patches, doses and stages.
    """

    method: str = "map-diff"
    steps: int = 4000
    batch: int = 8
    patch: int = 32
    optimizer: str = "muon"
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
        smallest = method_named(self.method).smallest_patch
        if self.patch % 8 or self.patch < smallest:
            raise InputError(
                f"--patch {self.patch}: a multiple of 8, {smallest} or more for --method {self.method}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"--optimizer {self.optimizer}: there are {' and '.join(OPTIMIZERS)}")
        for name in ("steps", "batch", "validation"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate = {self.learning_rate}: above 0")
        if self.seed < 0:
            raise InputError(f"seed = {self.seed}: not negative")

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then half a cosine to zero."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def patches_of(method: str, patch: int | None, batch: int | None) -> tuple[int, int]:
    """Edge of the patches and their number per step, where one of them or neither was told.

    What is not told is the method's own; to a patch that is told belong as many as have the voxels of that.

    Raises:
        InputError: there is no such method.
    """
    edge, number = method_named(method).usual_patches
    if patch is not None and batch is None:
        batch = max(1, round(number * edge**3 / max(patch, 1) ** 3))
    return edge if patch is None else patch, number if batch is None else batch


def widths_of(text: str) -> tuple[int, ...]:
    """Channels at each resolution from "96,128,192".

    Raises:
        InputError: they are not three multiples of 8.
    """
    widths = _three(text)
    if not widths or any(w < 8 or w % 8 for w in widths):
        raise InputError(f"--channels {text}: three multiples of 8, as 96,128,192")
    return widths


def blocks_of(text: str) -> tuple[int, ...]:
    """Residual blocks at each resolution from "2,2,2".

    Raises:
        InputError: they are not three numbers up to 16, the first of them 1 or more.
    """
    blocks = _three(text)
    if not blocks or not all(0 <= n <= 16 for n in blocks) or not blocks[0]:
        raise InputError(f"--blocks {text}: three numbers up to 16, as 2,2,2, the first 1 or more")
    return blocks


def _three(text: str) -> tuple[int, ...]:
    """The numbers of a text, one for each resolution; none where they are not so many."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        return ()
    return numbers if len(numbers) == len(TrainingConfig.blocks) else ()


@dataclass(frozen=True)
class Resources:
    """Where and how a session runs. None of it changes what is learned, beyond rounding.

    Attributes:
        device: "auto", "cpu" or "cuda".
        devices: processes on this machine (graphics cards, or processes on processors).
        nodes: machines.
        precision: "auto", "bf16" or "float32".
        accumulate: pieces that each process cuts its patches of a step into, to save memory.
        workers: processes that read patches, for each training process; None: as the cores allow.
        jobs: processes that pack a cohort folder; None: as cores and memory allow.
        max_hours: stop (to be continued) within so long.
        checkpoint_every: steps between checkpoints, each with a validation.
    """

    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "auto"
    accumulate: int = 1
    workers: int | None = None
    jobs: int | None = None
    max_hours: float | None = None
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            InputError: one of them makes no sense; the text names it.
        """
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"--device {self.device}: there are auto, cpu and cuda")
        if self.precision not in ("auto", "bf16", "float32"):
            raise InputError(f"--precision {self.precision}: there are auto, bf16 and float32")
        for name in ("devices", "nodes", "accumulate", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1")
        if self.workers is not None and self.workers < 0:
            raise InputError(f"--workers {self.workers}: not negative")
        if self.max_hours is not None and not self.max_hours > 0:
            raise InputError(f"--max-hours {self.max_hours}: above 0")
