"""Every rival trains by the one loop: it leaves a model that loads, and goes on to the same weights."""

from pathlib import Path

import pytest
import torch

from mapdiff.cohort.pack import pack
from mapdiff.methods.model_file import load_model
from mapdiff.methods.registry import method_named
from mapdiff.training.config import Resources, TrainingConfig
from mapdiff.training.loop import train


@pytest.fixture(scope="module")
def store(tiny_cohort, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "tiny"
    pack(tiny_cohort, path, jobs=1)
    return path


def config_of(method: str) -> TrainingConfig:
    patch = method_named(method).smallest_patch
    return TrainingConfig(
        method=method, channels=(8, 16), blocks=(1, 1), patch=patch, batch=1, steps=2, warmup=1, validation=1
    )


#: The discriminator has kernels and images of other sizes than the rest, which bfloat16 must hold for too.
@pytest.mark.parametrize(
    ("method", "precision"),
    [
        ("unet", "auto"),
        ("gan", "auto"),
        ("gan", "bf16"),
        ("map-diff-paper", "auto"),
        pytest.param("ddpm", "auto", marks=pytest.mark.slow),
    ],
)
def test_a_rival_trains_and_goes_on_to_the_same(store, tmp_path, method, precision):
    def go(run: Path, **limits) -> Path:
        resources = Resources(device="cpu", precision=precision, workers=0, checkpoint_every=2, **limits)
        return train([store], run, config_of(method), resources, say=lambda line: None)

    straight = load_model(go(tmp_path / "straight"))
    assert straight.method == method and straight.training["step"] == 2
    for _ in range(2):  # one step a session
        path = go(tmp_path / "stopped", max_hours=1e-9)
    again = load_model(path)
    before, after = straight.net.state_dict(), again.net.state_dict()
    assert again.training["step"] == 2 and all(torch.equal(before[k], after[k]) for k in before)
    assert (tmp_path / "straight" / "best.safetensors").exists()
