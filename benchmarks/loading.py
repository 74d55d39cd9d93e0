"""Reading patches from a store of native size: bytes read, memory over 2,000 steps, the network's share.

    python benchmarks/loading.py --work runs/store [--subjects 40] [--steps 40] [--memory-steps 2000]

Takes the store that benchmarks/store.py made and repeats its subject. Bytes are those that the process read
from files (`rchar` of /proc/self/io), the index of the shards included, over the bytes of the patches as they
are stored (float16). The network's share comes from a training of the default network: the time that the loop
did not wait for a batch, after the first interval, which holds the start of the workers.
"""

import argparse
import csv
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from mapdiff.cohort.patches import PatchSampler, batches
from mapdiff.cohort.store import store_subjects
from mapdiff.dose import DOSES
from mapdiff.training.config import Resources, TrainingConfig
from mapdiff.training.loop import train


def repeated(source: Path, target: Path, subjects: int) -> None:
    """A store with copies of one subject."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "zarr.json", target)
    for n in range(1, subjects + 1):
        copy = target / f"sub-{n:03d}"
        if not copy.exists():
            shutil.copytree(source / "sub-001", copy.with_name(".copying"))
            meta = json.loads((copy.with_name(".copying") / "zarr.json").read_text())
            for file in meta["attributes"]["subject"]["sources"]:  # equal subjects are refused
                file["sha256"] = f"{n}-{file['sha256']}"
            (copy.with_name(".copying") / "zarr.json").write_text(json.dumps(meta))
            copy.with_name(".copying").rename(copy)


def bytes_read() -> int:
    """That this process has read from files so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def reading(sampler: PatchSampler, edge: int, steps: int) -> dict[str, float]:
    """Bytes and time of patches read in this process."""
    sampler.draw(0)  # the tables of places and the metadata are read once
    before, started = bytes_read(), time.process_time()
    for step in range(steps):
        sampler.draw(step)
    seconds = time.process_time() - started
    own = steps * sampler.batch * (len(DOSES) + 1) * edge**3 * 2
    return {
        "bytes_read_over_patch": round((bytes_read() - before) / own, 2),
        "cpu_ms_per_patch": round(1000 * seconds / steps / sampler.batch, 1),
    }


def resident_mb(pid: int | None) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def memory(sampler: PatchSampler, steps: int) -> dict[str, list[float]]:
    """Resident memory of this process and its worker along `steps` steps, MB."""
    found: dict[str, list[float]] = {"step": [], "trainer_mb": [], "worker_mb": []}
    for step, _ in enumerate(batches(sampler, range(steps), workers=1), 1):
        if step % max(steps // 10, 1) == 0:
            workers = [child.pid for child in multiprocessing.active_children()]
            found["step"].append(step)
            found["trainer_mb"].append(resident_mb(os.getpid()))
            found["worker_mb"].append(sum(resident_mb(pid) for pid in workers))
    return found


def network_share(store: Path, run: Path, steps: int) -> dict[str, float]:
    """Part of the steps' time that the network had its batch."""
    shutil.rmtree(run, ignore_errors=True)
    config = TrainingConfig(steps=steps)
    train([store], run, config, Resources(device="cpu", workers=1, checkpoint_every=steps // 4))
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        "share": round(1 - max(float(row["waiting"]) for row in rows[1:]), 4),
        "share_with_the_start": round(1 - float(rows[0]["waiting"]), 4),
        "seconds_per_step_with_validation": round(float(rows[-1]["seconds"]) / steps, 2),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--memory-steps", type=int, default=2000)
    parser.add_argument("--memory-patch", type=int, default=48)
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--parts", default="patch_48,patch_64,memory,network")
    options = parser.parse_args()
    store = options.work / "repeated.zarr"
    repeated(options.work / "cohort.zarr", store, options.subjects)
    subjects = store_subjects(store)
    levels = [0.1] * len(subjects)
    result: dict[str, object] = {
        "subjects": len(subjects),
        "store_gb": round(sum(p.stat().st_size for p in store.rglob("*") if p.is_file()) / 1e9, 2),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }
    parts: dict[str, Callable[[], object]] = {
        "patch_48": lambda: reading(PatchSampler(subjects, levels, 48, 2, 0), 48, options.patches // 2),
        "patch_64": lambda: reading(PatchSampler(subjects, levels, 64, 2, 0), 64, options.patches // 2),
        "memory": lambda: memory(
            PatchSampler(subjects, levels, options.memory_patch, 2, 0), options.memory_steps
        ),
        "network": lambda: network_share(store, options.work / "run", options.steps),
    }
    for name in options.parts.split(","):
        result[name] = parts[name]()
        print(json.dumps({name: result[name]}), flush=True)
    (options.work / "loading.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
