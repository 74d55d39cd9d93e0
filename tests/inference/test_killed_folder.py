"""A folder run that is killed leaves no half file, and the next run does only what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mapdiff
from synthetic import low_dose_volume

KILLS = 12

# One process loads the library and forks a run for each kill: SIGKILL a moment after some more files have
# appeared, so that how fast the machine is does not matter.
SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from mapdiff.inference.denoiser import Denoiser
from mapdiff.inference.batch import denoise_many
from mapdiff.inference.run import DenoiseOptions
from mapdiff.inference.scans import scans_in

folder, out, whole, model, kills = *map(Path, sys.argv[1:5]), int(sys.argv[5])
torch.set_num_threads(1)


def run(target):
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        options = DenoiseOptions(save_stages=True)
        denoiser = Denoiser.from_pretrained(model, "cpu")
        scans, nothing = scans_in(folder), lambda *_: None
        result = denoise_many(denoiser, folder, scans, target, options, lambda name: nothing, nothing)
        print("done", len(result.done), "skipped", len(result.skipped), flush=True)
        os._exit(0)
    return child, started


def files():
    return sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and p.name[0] != ".")


child, started = run(whole)
os.waitpid(child, 0)
took = time.monotonic() - started
chances = random.Random(0)
for n in range(kills):
    before = len(files())
    child, started = run(out)
    more = chances.randint(0, 4)
    while len(files()) < before + more and time.monotonic() - started < 5 * took:
        time.sleep(0.001)
    time.sleep(chances.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    shown = files()
    for name in shown:  # whole, or it would differ from that of the run that nobody killed
        one, other = (out / name).read_bytes(), (whole / name).read_bytes()
        assert one == other or (name.endswith("_manifest.json") and one.endswith(b"}")), name
    print("killed", len(shown), flush=True)
child, _ = run(out)
os.waitpid(child, 0)
child, _ = run(out)
os.waitpid(child, 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_and_run_again(small_model, tmp_path):
    folder, out, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole"
    folder.mkdir()
    for n in range(6):
        mapdiff.write(low_dose_volume((64, 48, 40), seed=n), folder / f"{n}.nii{'.gz' * (n % 2)}")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder, out, whole, small_model, str(KILLS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    shown = [int(line.split()[1]) for line in lines if line.startswith("killed")]
    assert len(shown) == KILLS and shown == sorted(shown)  # nothing finished is ever lost
    assert len(set(shown)) > 2, "the kills all fell on one spot"
    assert lines[-1] == "done 0 skipped 6"

    def names(place: Path) -> list[str]:
        return sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file())

    assert names(out) == names(whole) and not [name for name in names(out) if "aside" in name]
    for name in names(out):
        if name.endswith("_manifest.json"):
            one, other = (json.loads((place / name).read_text()) for place in (out, whole))
            assert one["outputs"] == other["outputs"] and one["input"] == other["input"]
        else:
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert np.isfinite(mapdiff.read(out / "0.nii").array).all()
