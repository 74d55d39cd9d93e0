"""Every rival trains by the one loop: it leaves a model that loads, and goes on to the same weights."""

from pathlib import Path

import pytest
import torch

from mapdiff.cohort.pack import pack
from mapdiff.methods.model_file import load_model
from mapdiff.training.config import Resources, TrainingConfig
from mapdiff.training.loop import train


@pytest.fixture(scope="module")
def store(tiny_cohort, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "tiny"
    pack(tiny_cohort, path, jobs=1)
    return path


def config_of(method: str) -> TrainingConfig:
    return TrainingConfig(
        method=method, channels=(8, 16), blocks=(1, 1), patch=16, batch=1, steps=2, warmup=1, validation=1
    )


@pytest.mark.parametrize(
    "method", ["unet", "gan", "map-diff-paper", pytest.param("ddpm", marks=pytest.mark.slow)]
)
def test_a_rival_trains_and_goes_on_to_the_same(store, tmp_path, method):
    def go(run: Path, **limits) -> Path:
        resources = Resources(device="cpu", workers=0, checkpoint_every=2, **limits)
        return train([store], run, config_of(method), resources, say=lambda line: None)

    straight = load_model(go(tmp_path / "straight"))
    assert straight.method == method and straight.training["step"] == 2
    for _ in range(2):  # one step a session
        path = go(tmp_path / "stopped", max_hours=1e-9)
    again = load_model(path)
    before, after = straight.net.state_dict(), again.net.state_dict()
    assert again.training["step"] == 2 and all(torch.equal(before[k], after[k]) for k in before)
    assert (tmp_path / "straight" / "best.safetensors").exists()
