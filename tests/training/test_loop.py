"""A run that was stopped and goes on is, bit for bit, the run that was not."""

import csv
import dataclasses
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from mapdiff.errors import InputError
from mapdiff.methods.model_file import load_model
from mapdiff.training import loop
from mapdiff.training.checkpoint import load_state, save_state, start_state
from mapdiff.training.loop import TrainingConfig, train

CONFIG = TrainingConfig(
    channels=(8, 16), blocks=(1, 1), patch=16, batch=1, steps=6, warmup=2, validation=1, seed=3
)


class Stop(Exception):
    """The power fails."""


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
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def header_of(run: Path) -> dict[str, object]:
    with safe_open(str(run / "state.safetensors"), framework="pt") as file:
        header = json.loads(file.metadata()["training"])
    del header["seconds"]
    return header


def go(cohort: Path, run: Path, config: TrainingConfig = CONFIG, **settings) -> list[str]:
    said: list[str] = []
    assert train([cohort], run, config, checkpoint_every=2, device="cpu", say=said.append, **settings) == (
        run / "model.safetensors"
    )
    return said


@pytest.fixture(scope="module")
def straight(tiny_cohort, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "straight"
    go(tiny_cohort, run)
    return run


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("state", "model", "best"):
        assert_same_tensors(one / f"{name}.safetensors", other / f"{name}.safetensors")
    assert rows_of(one) == rows_of(other) and header_of(one) == header_of(other)
    assert (one / "calibration.json").read_text() == (other / "calibration.json").read_text()


def test_a_run_leaves_a_model_a_state_and_a_log(straight):
    names = {p.name for p in straight.iterdir()}
    expected = {"model", "best", "state"}
    assert names == {f"{n}.safetensors" for n in expected} | {"log.csv", "calibration.json"}
    rows = rows_of(straight)
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    for row in rows:
        assert all(np.isfinite(float(v)) for v in row.values())
    assert header_of(straight)["best"] == pytest.approx(min(float(row["validation"]) for row in rows))
    model = load_model(straight / "model.safetensors")
    assert model.training["step"] == 6 and model.training["target"] == "noise-free"
    assert model.training["subjects"] == 2 and model.training["held_out"] == 1
    assert 0 < model.level_range[0] < model.level_range[1]


def test_training_changes_the_weights_and_the_model_is_the_average(straight):
    state = tensors_of(straight / "state.safetensors")
    model = tensors_of(straight / "model.safetensors")
    assert {f"ema/{name}" for name in model} == {name for name in state if name.startswith("ema/")}
    assert all(torch.equal(model[name], state[f"ema/{name}"]) for name in model)
    assert any(not torch.equal(model[name], state[f"net/{name}"]) for name in model)
    assert state["net/exit.weight"].abs().max() > 0  # zero before the first step


def test_the_same_again_is_the_same(straight, tiny_cohort, tmp_path):
    go(tiny_cohort, tmp_path / "again")
    assert_same_run(straight, tmp_path / "again")


@pytest.mark.parametrize("at", [2, 3, 5])
def test_stopped_anywhere_it_goes_on_to_the_same(straight, tiny_cohort, tmp_path, monkeypatch, at):
    """Stopped before step `at + 1`: what was done since the checkpoint is done again."""
    draw = loop.PatchSampler.draw

    def failing(self, step):
        if step == at:
            raise Stop
        return draw(self, step)

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(loop.PatchSampler, "draw", failing)
        go(tiny_cohort, run)
    said = go(tiny_cohort, run)
    assert said[0] == f"going on at step {at // 2 * 2} of 6"
    assert_same_run(straight, run)


def test_stopped_between_log_and_state_it_goes_on_to_the_same(straight, tiny_cohort, tmp_path, monkeypatch):
    def failing(state, path, facts):
        if state.step == 4:
            raise Stop
        save_state(state, path, facts)

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(loop, "save_state", failing)
        go(tiny_cohort, run)
    go(tiny_cohort, run)
    assert_same_run(straight, run)


def test_out_of_time_it_stops_whole_and_goes_on(straight, tiny_cohort, tmp_path):
    """One step a session; only the log has more rows, since every stop is a checkpoint."""
    run = tmp_path / "run"
    for step in range(1, 7):
        said = go(tiny_cohort, run, max_hours=1e-9)
        assert header_of(run)["step"] == step and (run / "model.safetensors").exists()
        assert step == 6 or "run again" in said[-1]
    assert_same_tensors(straight / "state.safetensors", run / "state.safetensors")
    assert_same_tensors(straight / "model.safetensors", run / "model.safetensors")
    assert [row["step"] for row in rows_of(run)] == list("123456")


def test_a_finished_run_does_nothing(straight, tiny_cohort, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.iterdir()}
    said = go(tiny_cohort, run)
    assert said[-1] == "the run is finished: 6 steps"
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.iterdir()} == before


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 4), ("steps", 7), ("learning_rate", 1e-4), ("batch", 2), ("ema", 0.9)]
)
def test_a_changed_configuration_is_refused_by_name(straight, tiny_cohort, key, value):
    before = (straight / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match=rf"straight.*{key} = "):
        go(tiny_cohort, straight, dataclasses.replace(CONFIG, **{key: value}))
    assert (straight / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not a state", None])
def test_a_broken_state_is_named(straight, tiny_cohort, tmp_path, content):
    run = shutil.copytree(straight, tmp_path / "run")
    state = run / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100] if content is None else content)
    with pytest.raises(InputError, match=r"state\.safetensors.*not a training state"):
        go(tiny_cohort, run)


def test_a_state_of_another_network_is_refused(straight):
    net = torch.nn.Linear(2, 2)
    state = start_state(net, torch.optim.AdamW(net.parameters()))
    with pytest.raises(InputError, match="training state of this network"):
        load_state(state, straight / "state.safetensors")


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"validation": 0},
        {"validation": -1},
        {"validation": 3},
        {"seed": -1},
        {"method": "gan-of-dreams"},
    ],
)
def test_settings_that_make_no_sense_are_input_errors_and_leave_nothing(tiny_cohort, tmp_path, wrong):
    (key,) = wrong
    with pytest.raises(InputError):
        go(tiny_cohort, tmp_path / "run", dataclasses.replace(CONFIG, **wrong))
    assert not (tmp_path / "run").exists(), key


def test_a_folder_that_is_no_cohort_is_an_input_error_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"nothing.*not a cohort"):
        go(tmp_path / "nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_rate_warms_up_and_falls_to_zero():
    config = dataclasses.replace(CONFIG, steps=100, warmup=10, learning_rate=1.0)
    rates = [config.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert all(a < b for a, b in pairwise(rates[:10])) and all(a > b for a, b in pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0, abs=1e-9)


def test_the_average_follows_the_weights():
    net = torch.nn.Linear(1, 1, bias=False)
    state = start_state(net, torch.optim.AdamW(net.parameters()))
    start = state.ema["weight"].clone()
    with torch.no_grad():
        net.weight.add_(1)
    state.step = 10**6
    state.update_ema(0.9)
    torch.testing.assert_close(state.ema["weight"], start + 0.1)
    state.step = 1  # at first the decay is 2 / 11, so that the random start is soon forgotten
    state.update_ema(0.9)
    torch.testing.assert_close(state.ema["weight"], start + 1 - 0.9 * 2 / 11)
