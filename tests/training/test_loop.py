"""A run that was stopped and goes on is, bit for bit, the run that was not."""

import dataclasses
import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import TINY, assert_same_run, header_of, rows_of, tensors_of

from mapdiff.atomic import locked
from mapdiff.cohort.layout import dose_path
from mapdiff.cohort.pack import pack
from mapdiff.cohort.patches import PatchSampler
from mapdiff.errors import InputError
from mapdiff.methods.map_diff import MapDiff
from mapdiff.methods.model_file import load_model
from mapdiff.training import keeper
from mapdiff.training.checkpoint import load_state, save_state, start_state
from mapdiff.training.config import Resources, TrainingConfig
from mapdiff.training.folder import LOCK_FILE, check_same
from mapdiff.training.loop import train
from other_process import holding
from synthetic import nominal_calibration, random_net, small_trained_model

CONFIG = TINY


class Stop(Exception):
    """The power fails."""


def go(cohort: Path, run: Path, config: TrainingConfig = CONFIG, resources=None, **settings) -> list[str]:
    said: list[str] = []
    resources = Resources(device="cpu", workers=0, checkpoint_every=2, **(resources or {}))
    assert train([cohort], run, config, resources, say=said.append, **settings) == run / "model.safetensors"
    return said


@pytest.fixture(scope="module")
def store(tiny_cohort, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "tiny"
    pack(tiny_cohort, path, jobs=1)
    return path


@pytest.fixture(scope="module")
def straight(store, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "straight"
    go(store, run)
    return run


def test_a_run_leaves_a_model_a_state_a_log_and_a_picture(straight):
    names = {p.name for p in straight.iterdir()}
    tensors = {f"{n}.safetensors" for n in ("model", "best", "state")}
    assert names == tensors | {"log.csv", "calibration.json", "progress.png", "tensorboard", ".lock"}
    assert (straight / "progress.png").read_bytes().startswith(b"\x89PNG")
    rows = rows_of(straight)
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert list(rows[0]) == ["step", "loss", "diffusion", "anchor", "lr", "psnr"]
    for row in rows:
        assert all(np.isfinite(float(v)) for v in row.values())
    assert header_of(straight)["best"] == max(float(row["psnr"]) for row in rows)
    model = load_model(straight / "model.safetensors")
    assert model.training["step"] == 6 and model.training["target"] == "noise-free"
    assert model.training["subjects"] == 2 and model.training["held_out"] == 1
    assert 0 < model.level_range[0] < model.level_range[1]


def test_tensorboard_has_the_rows_of_the_log(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight / "tensorboard"))
    events.Reload()
    for name in ("loss", "psnr", "lr"):
        told = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(int(row["step"]), float(row[name])) for row in rows_of(straight)]
        assert [step for step, _ in told] == [step for step, _ in expected]
        assert [v for _, v in told] == pytest.approx([v for _, v in expected], rel=1e-5)


def test_training_changes_the_weights_and_the_model_is_the_average(straight):
    state = tensors_of(straight / "state.safetensors")
    model = tensors_of(straight / "model.safetensors")
    assert {f"ema/{name}" for name in model} == {name for name in state if name.startswith("ema/")}
    assert all(torch.equal(model[name], state[f"ema/{name}"]) for name in model)
    assert any(not torch.equal(model[name], state[f"net/{name}"]) for name in model)
    assert state["net/exit.weight"].abs().max() > 0  # zero before the first step


def test_the_same_again_is_the_same_whoever_reads(straight, store, tiny_cohort, tmp_path):
    """With worker processes, and from the cohort's folder, which is packed into the run's first."""
    resources = Resources(device="cpu", workers=2, checkpoint_every=2)
    gc.disable()  # tracebacks that matplotlib leaves in cycles hold the loop's frame until a collection
    try:
        train([store], tmp_path / "workers", CONFIG, resources, say=lambda line: None)
        # Left to the interpreter's exit they outlive its SIGTERM, and it waits for them without end.
        assert not multiprocessing.active_children()
    finally:
        gc.enable()
    assert_same_run(straight, tmp_path / "workers")
    said = go(tiny_cohort, tmp_path / "folder", resources={"jobs": 1})
    assert_same_run(straight, tmp_path / "folder")
    assert said[1] == "[1/3] sub-001 packed" and (tmp_path / "folder" / "stores" / "1-tiny").is_dir()


@pytest.mark.parametrize("at", [2, 3, 5])
def test_stopped_anywhere_it_goes_on_to_the_same(straight, store, tmp_path, monkeypatch, at):
    """Stopped before step `at + 1`: what was done since the checkpoint is done again."""
    draw = PatchSampler.draw

    def failing(self, step, part=slice(None)):
        if step == at:
            raise Stop
        return draw(self, step, part)

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(PatchSampler, "draw", failing)
        go(store, run)
    said = go(store, run)
    assert said[0] == f"going on at step {at // 2 * 2} of 6"
    assert_same_run(straight, run)


def test_stopped_between_log_and_state_it_goes_on_to_the_same(straight, store, tmp_path, monkeypatch):
    def failing(state, path, facts):
        if state.step == 4:
            raise Stop
        save_state(state, path, facts)

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(keeper, "save_state", failing)
        go(store, run)
    go(store, run)
    assert_same_run(straight, run)


def test_out_of_time_it_stops_whole_and_goes_on_to_the_same(straight, store, tmp_path):
    """One step a session, between two checkpoints too."""
    run = tmp_path / "run"
    for step in range(1, 7):
        said = go(store, run, resources={"max_hours": 1e-9})
        assert header_of(run)["step"] == step
        assert load_model(run / "model.safetensors").training["step"] == step
        assert step == 6 or said[-1] == f"stopped by --max-hours at step {step}; run again to go on"
    assert_same_run(straight, run)


def test_sigterm_stops_whole(straight, store, tmp_path, monkeypatch):
    draw = PatchSampler.draw

    def terminated(self, step, part=slice(None)):
        if step == 2 and self.batch == CONFIG.batch and self.patch == CONFIG.patch:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(self, step, part)

    run, before = tmp_path / "run", signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(PatchSampler, "draw", terminated)
        said = go(store, run)
    assert said[-1] == "stopped by SIGTERM at step 3; run again to go on"
    assert signal.getsignal(signal.SIGTERM) == before
    go(store, run)
    assert_same_run(straight, run)


def test_a_finished_run_does_nothing(straight, store, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.rglob("*") if p.is_file()}
    assert go(store, run) == ["the run is finished: 6 steps"]
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.rglob("*") if p.is_file()} == before


def test_a_finished_run_is_not_that_of_other_cohorts_or_another_calibration(straight, store, tmp_path):
    fewer = shutil.copytree(store, tmp_path / "tiny")
    shutil.rmtree(fewer / "sub-001")
    with pytest.raises(InputError, match="was started with cohorts = "):
        go(fewer, straight)
    with pytest.raises(InputError, match="nowhere"):
        go(tmp_path / "nowhere", straight)
    with pytest.raises(InputError, match="was started with calibration = "):
        train([store], straight, CONFIG, Resources(device="cpu"), calibration=nominal_calibration())


def test_a_refused_restart_removes_nothing(straight, store, tmp_path, monkeypatch):
    run = shutil.copytree(straight, tmp_path / "run")
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    free = shutil.disk_usage(run)._replace(free=100)
    with monkeypatch.context() as patch, pytest.raises(InputError, match="the disk has"):
        patch.setattr(shutil, "disk_usage", lambda _: free)
        train([store], run, CONFIG, Resources(device="cpu"), restart=True, say=lambda line: None)
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_of_other_things_is_left_alone(store, tmp_path, restart):
    """Not even --restart, which empties a run's folder, may take what is no run's."""
    folder = tmp_path / "mine"
    (folder / "tensorboard").mkdir(parents=True)
    (folder / "log.csv").write_text("mine")
    for place in (folder, store):
        before = sorted(path.relative_to(place) for path in place.rglob("*"))
        with pytest.raises(InputError, match="is not empty and holds no run"):
            train([store], place, CONFIG, Resources(device="cpu"), restart=restart, say=lambda line: None)
        assert sorted(path.relative_to(place) for path in place.rglob("*")) == before
    assert (folder / "log.csv").read_text() == "mine"


def test_a_model_whose_state_is_gone_is_not_replaced_unasked(straight, store, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    (run / "state.safetensors").unlink()
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"holds a \w+\.safetensors without the state"):
        go(store, run)
    assert (run / "model.safetensors").read_bytes() == before


def test_killed_before_its_first_state_the_run_begins_again(straight, store, tmp_path, monkeypatch):
    """Between the first model and the state of the same step."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr("mapdiff.training.keeper.save_state", _killed_after_a_step)
        go(store, run)
    assert (run / "model.safetensors").exists()
    go(store, run)
    assert_same_run(straight, run)


def _killed_after_a_step(state, path, facts):
    if state.step:
        raise Stop
    save_state(state, path, facts)


def test_before_its_first_step_a_run_may_be_started_otherwise(store, tmp_path, monkeypatch):
    """As after a lack of memory, whose advice is a smaller patch."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr("mapdiff.training.loop._backward", _interrupted)
        go(store, run)
    changed = dataclasses.replace(CONFIG, channels=(8, 16), batch=2)
    go(store, run, changed)
    assert header_of(run)["facts"]["batch"] == 2


def _interrupted(*_):
    raise Stop


def test_a_person_in_two_cohorts_is_refused(store, tmp_path):
    """Held out of the first, trained on in the second."""
    other = shutil.copytree(store, tmp_path / "other")
    for subject in ("sub-001", "sub-002"):
        shutil.rmtree(other / subject)
    (other / "sub-003").rename(other / "sub-001")
    shutil.copytree(store / "sub-002", other / "sub-009")
    with pytest.raises(InputError, match="is the same file as tiny/sub-003"):
        train([store, other], tmp_path / "run", CONFIG, Resources(device="cpu"), say=lambda line: None)


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 4), ("steps", 7), ("learning_rate", 1e-4), ("batch", 2), ("ema", 0.9)]
)
def test_a_changed_configuration_is_refused_by_name(straight, store, key, value):
    before = (straight / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match=rf"straight.*{key} = .*--restart"):
        go(store, straight, dataclasses.replace(CONFIG, **{key: value}))
    assert (straight / "state.safetensors").read_bytes() == before


@pytest.fixture(scope="module")
def stopped(store, tmp_path_factory) -> Path:
    """A run that was stopped after its first step."""
    run = tmp_path_factory.mktemp("runs") / "stopped"
    go(store, run, resources={"max_hours": 1e-9})
    return run


def test_other_cohorts_are_refused(stopped, store, tmp_path):
    other = shutil.copytree(store, tmp_path / "tiny")
    shutil.rmtree(other / "sub-001")
    with pytest.raises(InputError, match=r"cohorts = tiny \(3 subjects, \w+\), not tiny \(2 subjects"):
        go(other, stopped)


def test_a_run_of_before_its_optimizer_was_told_is_not_taken_over_by_another(tmp_path):
    check_same({"steps": 6}, {"steps": 6, "optimizer": "adamw"}, tmp_path)
    with pytest.raises(InputError, match="was started with optimizer = adamw, not muon"):
        check_same({"steps": 6}, {"steps": 6, "optimizer": "muon"}, tmp_path)


def test_another_calibration_is_refused(stopped, store):
    with pytest.raises(InputError, match="calibration = "):
        go(store, stopped, calibration=nominal_calibration())


def test_another_start_is_refused(stopped, store):
    with pytest.raises(InputError, match="init = None"):
        go(store, stopped, init=small_trained_model(random_net(CONFIG.channels)))


def test_restart_begins_anew(straight, store, tmp_path):
    run = tmp_path / "run"
    go(store, run, dataclasses.replace(CONFIG, seed=9))
    said = go(store, run, restart=True)
    assert "going on" not in said[0]
    assert_same_run(straight, run)


def test_two_processes_do_not_share_a_folder(store, tmp_path):
    lock = tmp_path / LOCK_FILE
    with holding(lock, "trains"), pytest.raises(InputError, match="another process trains"):
        go(store, tmp_path)


def test_a_killed_trainers_readers_do_not_hold_its_folder(tmp_path):
    """Its forked workers live on for some seconds; the run must be able to go on at once."""
    code = "import os, time; from pathlib import Path; from mapdiff.atomic import locked\n"
    code += f"with locked(Path({str(tmp_path / LOCK_FILE)!r}), 'trains'):\n    pid = os.fork()\n"
    code += "    if pid: print(pid, flush=True)\n    time.sleep(600)"
    trainer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    reader = int(trainer.stdout.readline())
    trainer.kill()
    trainer.wait()
    try:
        os.kill(reader, 0)  # it does live on
        with locked(tmp_path / LOCK_FILE, "trains"):
            pass
    finally:
        os.kill(reader, signal.SIGKILL)


@pytest.mark.parametrize("local_mean", [0, 5])  # 0: a model of before local means
def test_a_model_is_fine_tuned(store, tmp_path, local_mean):
    """The start has its network's shape and its weights; the first steps do not leave them far behind."""
    start = small_trained_model(random_net((8, 16), (2, 1), local_mean=local_mean))
    config = dataclasses.replace(CONFIG, channels=(16, 8), steps=1, learning_rate=1e-6)
    go(store, tmp_path / "run", config, init=start)
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.net.config == start.net.config
    assert len(model.training["init"]) == 12
    for name, value in model.net.state_dict().items():
        torch.testing.assert_close(value, start.net.state_dict()[name], rtol=0, atol=1e-5)


def test_a_start_of_another_method_is_refused(store, tmp_path):
    with pytest.raises(InputError, match="--init: is a model of map-diff, not of unet"):
        go(store, tmp_path / "run", dataclasses.replace(CONFIG, method="unet"), init=small_trained_model())


def test_pieces_of_a_batch_train_the_same(store, tmp_path):
    # Muon's steps are rounded to bfloat16: the last bit of a gradient can move them by half a percent.
    config = dataclasses.replace(CONFIG, batch=4, steps=4, optimizer="adamw")
    precise = {"precision": "float32"}
    go(store, tmp_path / "one", config, precise)
    go(store, tmp_path / "four", config, precise | {"accumulate": 4})
    one, four = (tensors_of(tmp_path / name / "state.safetensors") for name in ("one", "four"))
    for name in one:
        if not name.startswith("optimizer"):
            torch.testing.assert_close(one[name], four[name], rtol=0, atol=1e-5)


def test_a_batch_that_cannot_be_cut_is_refused(store, tmp_path):
    with pytest.raises(InputError, match="batch = 1: not a multiple of 1 processes x 2 pieces"):
        go(store, tmp_path / "run", resources={"accumulate": 2})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 12 bytes"),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_out_of_memory_is_advice(store, tmp_path, monkeypatch, error):
    def hungry(*args, **kwargs):
        raise error

    monkeypatch.setattr(MapDiff, "loss", hungry)
    with pytest.raises(InputError, match=r"out of memory with 6 patches of 16\^3 in 2 .*--accumulate 3"):
        go(store, tmp_path / "run", dataclasses.replace(CONFIG, batch=6), {"accumulate": 2})


def test_out_of_memory_with_one_patch_a_piece_is_advice_that_can_be_followed(store, tmp_path, monkeypatch):
    """More pieces than patches are refused, so they are not what is advised."""

    def hungry(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(MapDiff, "loss", hungry)
    with pytest.raises(InputError, match=r"out of memory with 1 patches of 16\^3.*a smaller --patch") as told:
        go(store, tmp_path / "run")
    assert "--accumulate" not in str(told.value)


def test_a_training_that_breaks_out_stops_and_saves_nothing_of_it(store, tmp_path):
    """A rate that throws the weights out of all bounds: an error, not a model full of NaN."""
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"broke out.*lower --learning-rate than 1e\+30"):
        go(store, run, dataclasses.replace(TINY, learning_rate=1e30, warmup=0))
    assert [path.name for path in run.glob("*.safetensors")] == ["state.safetensors"]
    assert header_of(run)["step"] == 0


def test_other_errors_are_not_taken_for_memory(store, tmp_path, monkeypatch):
    def wrong(*args, **kwargs):
        raise RuntimeError("a fault")

    monkeypatch.setattr(MapDiff, "loss", wrong)
    with pytest.raises(RuntimeError, match="a fault"):
        go(store, tmp_path / "run")


def test_subjects_may_lack_doses(tiny_cohort, tmp_path):
    cohort = shutil.copytree(tiny_cohort, tmp_path / "cohort")
    for name, drf in (("sub-001", 50), ("sub-002", 4)):
        dose_path(cohort / name, name, Fraction(1, drf)).unlink()
    go(cohort, tmp_path / "run", resources={"jobs": 1})
    assert all(np.isfinite(float(v)) for row in rows_of(tmp_path / "run") for v in row.values())


@pytest.mark.parametrize("method", ["map-diff", "unet", "ddpm", "map-diff-paper"])
def test_scanned_people_need_no_noise_free_image(tiny_cohort, tmp_path, method):
    """Some subjects or all of them: the model says what it was trained against."""
    cohort = shutil.copytree(tiny_cohort, tmp_path / "cohort")
    for kept, told in (("sub-001", "complement, noise-free"), ("", "complement")):
        for path in cohort.rglob("*noisefree*"):
            if not kept or kept not in str(path):
                path.unlink()
        run = tmp_path / f"run-{kept}"
        config = dataclasses.replace(TINY, method=method, steps=4)
        go(cohort, run, config, resources={"jobs": 1})
        assert load_model(run / "model.safetensors").training["target"] == told
        assert all(np.isfinite(float(v)) for row in rows_of(run) for v in row.values())


@pytest.mark.parametrize("content", [b"", b"not a state", None])
def test_a_broken_state_is_named(straight, store, tmp_path, content):
    run = shutil.copytree(straight, tmp_path / "run")
    state = run / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100] if content is None else content)
    with pytest.raises(InputError, match=r"state\.safetensors.*not a training state"):
        go(store, run)


def test_a_state_of_another_network_is_refused(straight):
    net = torch.nn.Linear(2, 2)
    state = start_state(net, {"all": torch.optim.AdamW(net.parameters())})
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
        {"learning_rate": 0.0},
        {"method": "gan-of-dreams"},
        {"patch": 8},
        {"patch": 20},
        {"patch": 16, "method": "gan"},
    ],
)
def test_settings_that_make_no_sense_are_input_errors_and_leave_nothing(tiny_cohort, tmp_path, wrong):
    with pytest.raises(InputError):
        go(tiny_cohort, tmp_path / "run", dataclasses.replace(CONFIG, **wrong))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_cohort_is_an_input_error_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"nothing.*is not there"):
        go(tmp_path / "nothing", tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "abacus"},
        {"precision": "int8"},
        {"devices": 0},
        {"accumulate": 0},
        {"max_hours": 0.0},
        {"workers": -1},
        {"checkpoint_every": 0},
    ],
)
def test_resources_that_make_no_sense_are_input_errors(wrong):
    with pytest.raises(InputError, match=next(iter(wrong)).replace("_", "-")):
        Resources(**wrong)


def test_the_rate_warms_up_and_falls_to_zero():
    config = dataclasses.replace(CONFIG, steps=100, warmup=10, learning_rate=1.0)
    rates = [config.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert all(a < b for a, b in pairwise(rates[:10])) and all(a > b for a, b in pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0, abs=1e-9)


def test_the_average_follows_the_weights():
    net = torch.nn.Linear(1, 1, bias=False)
    state = start_state(net, {"all": torch.optim.AdamW(net.parameters())})
    start = state.ema["weight"].clone()
    with torch.no_grad():
        net.weight.add_(1)
    state.step = 10**6
    state.update_ema(0.9)
    torch.testing.assert_close(state.ema["weight"], start + 0.1)
    state.step = 1  # at first the decay is 2 / 11, so that the random start is soon forgotten
    state.update_ema(0.9)
    torch.testing.assert_close(state.ema["weight"], start + 1 - 0.9 * 2 / 11)
