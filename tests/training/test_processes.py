"""Two processes with half the batch each train as one process does."""

import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from runs import header_of, rows_of, tensors_of

from mapdiff.cohort.layout import dose_path
from mapdiff.cohort.pack import pack
from mapdiff.errors import InputError
from mapdiff.training.config import Resources
from mapdiff.training.data import default_workers
from mapdiff.training.processes import launched

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
from mapdiff.training.config import Resources
from mapdiff.training.loop import train
from runs import TINY

if __name__ == "__main__":  # the processes that pack a cohort import this file again
    store, run, accumulate = sys.argv[1:]
    resources = Resources(
        device="cpu", precision="float32", workers=0, checkpoint_every=10, accumulate=int(accumulate)
    )
    train([Path(store)], Path(run), replace(TINY, steps=20, batch=4, optimizer="adamw"), resources)
"""


def start_in(processes: int, script: Path, *words: object) -> subprocess.CompletedProcess[str]:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *start, str(script), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def run_in(processes: int, script: Path, *words: object) -> str:
    done = start_in(processes, script, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_batch_script_without_srun_does_not_wait_for_the_others(monkeypatch):
    for name, value in (("JOB_ID", 7), ("JOB_NAME", "train"), ("NTASKS", 2), ("NTASKS_PER_NODE", 2)):
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    with pytest.raises(InputError, match="srun did not start this: write `srun mapdiff"):
        launched(Resources(device="cpu", devices=2))


@pytest.mark.slow
def test_two_processes_train_as_one(tiny_cohort, tmp_path):
    """Within 1e-5 after 20 steps in float32; the second with pieces, too."""
    script, store = tmp_path / "script.py", tmp_path / "store"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    pack(tiny_cohort, store, jobs=1)
    said = {n: run_in(n, script, store, tmp_path / str(n), accumulate) for n, accumulate in ((1, 1), (2, 2))}
    for text in said.values():  # one of the processes speaks
        assert text.count("step 20 of 20") == 1
    one, two = (tensors_of(tmp_path / str(n) / "state.safetensors") for n in (1, 2))
    assert list(one) == list(two)
    moved = 0.0
    for name, value in one.items():
        if not name.startswith("optimizer"):
            torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5)
            moved = max(moved, float((value - one[name.replace("net/", "ema/")]).abs().max()))
    assert moved > 1e-4  # twenty steps did change the weights by far more than that
    assert header_of(tmp_path / "1")["step"] == header_of(tmp_path / "2")["step"] == 20
    for a, b in zip(rows_of(tmp_path / "1"), rows_of(tmp_path / "2"), strict=True):
        assert a["step"] == b["step"]
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)
        assert float(a["psnr"]) == pytest.approx(float(b["psnr"]), abs=1e-3)


@pytest.mark.slow
def test_a_fault_ends_all_processes_and_is_told_once(tiny_cohort, tmp_path):
    script, cohort = tmp_path / "script.py", shutil.copytree(tiny_cohort, tmp_path / "cohort")
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    dose_path(cohort / "sub-002", "sub-002", Fraction(1, 4)).write_bytes(b"")
    done = start_in(2, script, cohort, tmp_path / "run", 1)
    assert done.returncode != 0
    assert len(re.findall(r"InputError: .*drf4.*is empty", done.stderr)) == 1


@pytest.mark.slow
def test_a_run_that_others_do_not_see_is_not_gone_on_with(tiny_cohort, tmp_path):
    """Each machine with a disk of its own: the second would begin anew beside the first."""
    script, store = tmp_path / "script.py", tmp_path / "store"
    text = SCRIPT.format(tests=str(Path(__file__).parent))
    pack(tiny_cohort, store, jobs=1)
    script.write_text(text)
    run_in(2, script, store, tmp_path / "runs" / "0", 1)
    script.write_text("import os\n" + text.replace("Path(run)", 'Path(run) / os.environ["RANK"]'))
    done = start_in(2, script, store, tmp_path / "runs", 1)
    assert done.returncode != 0 and "is not one folder for all machines" in done.stderr


def test_readers_share_the_cores_of_their_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for name in ("LOCAL_WORLD_SIZE", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    assert default_workers(1) == 7 and default_workers(4) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # torchrun: --devices stays 1
    assert default_workers(1) == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")  # each task's own
    assert default_workers(4) == 7
