"""Several processes on one folder: every scan belongs to exactly one of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mapdiff
from mapdiff.errors import InputError
from mapdiff.inference.batch import denoise_many
from mapdiff.inference.run import DenoiseOptions, manifest_path
from mapdiff.inference.scans import scans_in
from mapdiff.inference.share import Share, share_of_work
from synthetic import low_dose_volume


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """Whatever launched the tests does not count."""
    import os

    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name)


def variables(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


def torchrun(monkeypatch, rank, world):
    # What torch.distributed.run sets for each worker.
    variables(monkeypatch, TORCHELASTIC_RUN_ID="x", RANK=rank, WORLD_SIZE=world, LOCAL_RANK=rank % 2)
    variables(monkeypatch, MASTER_ADDR="localhost", MASTER_PORT=29500, GROUP_RANK=0, LOCAL_WORLD_SIZE=2)


def test_alone_all_is_mine():
    share = share_of_work()
    assert share == Share(0, 1, 0) and all(share.mine(n) for n in range(5))


def test_torchrun_tells_the_rank(monkeypatch):
    torchrun(monkeypatch, 3, 4)
    assert share_of_work() == Share(3, 4, 1)


def test_srun_tells_the_rank(monkeypatch):
    variables(monkeypatch, SLURM_JOB_ID=7, SLURM_JOB_NAME="restore", SLURM_NTASKS=6, SLURM_PROCID=5)
    variables(monkeypatch, SLURM_NTASKS_PER_NODE=2, SLURM_STEP_NUM_TASKS=6)
    variables(monkeypatch, SLURM_LOCALID=1, SLURM_NODEID=2)
    assert share_of_work() == Share(5, 6, 1)


def test_a_batch_script_without_srun_does_not_do_a_part_only(monkeypatch):
    variables(monkeypatch, SLURM_JOB_ID=7, SLURM_JOB_NAME="restore", SLURM_NTASKS=4, SLURM_PROCID=0)
    variables(monkeypatch, SLURM_NTASKS_PER_NODE=4, SLURM_LOCALID=0, SLURM_NODEID=0)
    with pytest.raises(InputError, match="4 tasks, but srun did not start this"):
        share_of_work()
    variables(monkeypatch, SLURM_NTASKS=1, SLURM_NTASKS_PER_NODE=1)
    assert share_of_work() == Share()


def test_what_fabric_does_not_support_is_one_line(monkeypatch):
    variables(monkeypatch, SLURM_JOB_ID=7, SLURM_JOB_NAME="restore", SLURM_NTASKS=6, SLURM_PROCID=5)
    with pytest.raises(InputError, match="--ntasks-per-node=6"):
        share_of_work()


@pytest.mark.parametrize(("first", "step"), [(0, 1), (1, 1), (10, 5)])
def test_the_tasks_of_an_array_share_the_work(monkeypatch, first, step):
    shares = []
    for task in range(3):
        variables(monkeypatch, SLURM_ARRAY_TASK_ID=first + task * step, SLURM_ARRAY_TASK_MIN=first)
        variables(monkeypatch, SLURM_ARRAY_TASK_STEP=step, SLURM_ARRAY_TASK_COUNT=3)
        shares.append(share_of_work())
    assert [(share.rank, share.world) for share in shares] == [(0, 3), (1, 3), (2, 3)]


def test_array_tasks_of_several_processes_each(monkeypatch):
    ranks = []
    for task in range(2):
        for process in range(2):
            variables(monkeypatch, SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_MIN=0, SLURM_ARRAY_TASK_STEP=1)
            variables(monkeypatch, SLURM_ARRAY_TASK_COUNT=2, SLURM_JOB_NAME="restore", SLURM_NTASKS=2)
            variables(monkeypatch, SLURM_PROCID=process, SLURM_LOCALID=process, SLURM_JOB_ID=1)
            variables(monkeypatch, SLURM_NTASKS_PER_NODE=2, SLURM_STEP_NUM_TASKS=2)
            share = share_of_work()
            assert share.world == 4
            ranks.append(share.rank)
    assert ranks == [0, 1, 2, 3]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_scan_is_somebodys(world):
    for n in range(5):
        assert sum(Share(rank, world).mine(n) for rank in range(world)) == 1


def test_processes_do_a_folder_between_them(small_model, tmp_path):
    import mapdiff
    from mapdiff.inference.denoiser import Denoiser

    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for n in range(3):
        mapdiff.write(low_dose_volume(seed=n), folder / f"{n}.nii.gz")
    (folder / "bad.nii.gz").write_text("no image")
    denoiser, scans = Denoiser.from_pretrained(small_model, "cpu"), scans_in(folder)
    done, failed = [], []
    for rank in range(2):
        result = denoise_many(
            denoiser, folder, scans, out, DenoiseOptions(), lambda name: lambda done, total: None,
            lambda line: None, share=Share(rank, 2),
        )  # fmt: skip
        done += [path.name for path in result.done]
        failed += [path.name for path, _ in result.failed]
        assert len(result.done) + len(result.failed) == 2 and not result.skipped
    assert sorted(done) == ["0.nii.gz", "1.nii.gz", "2.nii.gz"] and failed == ["bad.nii.gz"]
    assert all(manifest_path(out / name).is_file() for name in done)


def test_torchruns_processes_end_together(tmp_path: Path, small_model: Path):
    """It ends all as soon as one has failed: the one with the bad scan waits for the other's good one."""
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "a.nii.gz").write_text("not an image")  # the first process's only scan
    mapdiff.write(low_dose_volume((96, 96, 96)), scans / "b.nii.gz")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    denoise = ["-m", "mapdiff", "denoise", scans, "-o", tmp_path / "out", "--model", small_model]
    done = subprocess.run(
        [sys.executable, *torchrun, *map(str, denoise)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert manifest_path(tmp_path / "out" / "b.nii.gz").is_file(), done.stderr[-3000:]
    assert done.returncode != 0 and "a.nii.gz: is not a NIfTI image" in done.stderr
    assert "exitcode  : 3" in done.stderr and "Traceback (most recent call last)" not in done.stdout
