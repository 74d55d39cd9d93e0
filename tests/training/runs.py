"""What tests of whole runs share: a tiny configuration, and what a run has to leave the same."""

import csv
import json
from pathlib import Path

import torch
from safetensors import safe_open

from mapdiff.training.config import TrainingConfig

#: Its coarse convolutions are wide enough for Muon, its fine ones are Adam's.
TINY = TrainingConfig(
    channels=(8, 32), blocks=(1, 1), patch=16, batch=1, steps=6, warmup=2, validation=1, seed=3
)
#: Columns of the log that tell times.
CLOCKS = ("seconds", "waiting")


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict


def assert_same_tensors(one: Path, other: Path) -> None:
    a, b = tensors_of(one), tensors_of(other)
    assert list(a) == list(b)
    for name in a:
        assert torch.equal(a[name], b[name]), name


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


def header_of(run: Path) -> dict[str, object]:
    with safe_open(str(run / "state.safetensors"), framework="pt") as file:
        header = json.loads(file.metadata()["training"])
    del header["seconds"]
    return header


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, average, optimiser, best model, logged values and configuration: to the bit."""
    for name in ("state", "model", "best"):
        assert_same_tensors(one / f"{name}.safetensors", other / f"{name}.safetensors")
    assert rows_of(one) == rows_of(other) and header_of(one) == header_of(other)
    assert (one / "calibration.json").read_text() == (other / "calibration.json").read_text()
