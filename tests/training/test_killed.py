"""Killed at any moment, a run ends as the run that was not."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import TINY, assert_same_run

from mapdiff.cohort.pack import pack
from mapdiff.training.config import Resources
from mapdiff.training.loop import train

CONFIG = replace(TINY, steps=60, batch=2)
RESOURCES = Resources(device="cpu", workers=0, checkpoint_every=4)
KILLS = 20


def session(store: Path, run: Path) -> None:
    torch.set_num_threads(1)
    train([store], run, CONFIG, RESOURCES, say=lambda line: None)


@pytest.mark.slow
def test_killed_twenty_times_it_is_the_same_run(tiny_cohort, tmp_path):
    """Half of the kills come after a random time, half while a file of a checkpoint is being written."""
    store, straight = tmp_path / "store", tmp_path / "straight"
    pack(tiny_cohort, store, jobs=1)
    # Forked, so that no session pays for the imports; this process has run no network and has no threads of
    # one.
    context = multiprocessing.get_context("fork")
    started = time.monotonic()
    whole = context.Process(target=session, args=(store, straight))
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    length = time.monotonic() - started

    rng = np.random.default_rng(0)
    kills = during_writing = finished = 0
    while kills < KILLS or finished == 0:
        run = tmp_path / f"killed-{finished}"
        process = context.Process(target=session, args=(store, run))
        process.start()
        deadline = time.monotonic() + rng.uniform(0, 0.1) * length
        while kills < KILLS and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        writing = False
        while kills < KILLS and kills % 2 and process.is_alive() and not writing:
            # A checkpoint's files are written aside under a name of their own.
            writing = run.exists() and any(path.name.startswith(".aside-") for path in run.iterdir())
        if kills < KILLS and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills, during_writing = kills + 1, during_writing + writing
            continue
        process.join()  # it came to its end: all the kills are done, or the last was too late
        assert process.exitcode == 0
        assert_same_run(straight, run)
        assert not list(run.glob(".aside-*"))
        finished += 1
    assert during_writing == KILLS // 2
