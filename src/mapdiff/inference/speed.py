"""How fast and how large inference is here: volumes of several sizes, each in a process of its own."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mapdiff import __version__
from mapdiff.errors import InputError
from mapdiff.formats import write
from mapdiff.heap import kept_heap, peak_memory_mb
from mapdiff.inference.denoiser import Denoiser
from mapdiff.inference.run import DenoiseOptions, denoise_file
from mapdiff.networks.cost import flop_per_voxel
from mapdiff.networks.fused import FusedDenoiser
from mapdiff.scratch import Scratch, slabs
from mapdiff.volume import Array, Volume

#: The plane and the voxel of a Quadra scan, and its slices.
PLANE, SPACING_MM, SLICES = 440, 1.65, 644
#: Sizes that are measured, as parts of the largest.
PARTS = (1 / 8, 1 / 4, 1 / 2, 1.0)
#: Semi-axes of the synthetic body, mm: 73 litres at full length.
BODY_MM = (190.0, 115.0)
DDPM_STEPS = 1000


@dataclass(frozen=True)
class Run:
    """One volume from file to file in a process of its own.

    Attributes:
        slices: of the volume.
        voxels: of the volume.
        body_voxels: in the synthetic body.
        fast: whether the fast setting was used.
        seconds: from the start of the process to its end.
        load_seconds: of these, to load the model.
        denoise_seconds: from reading the file to the finished result.
        probe_seconds: inside the network, to find the noise level.
        network_seconds: inside the network altogether.
        network_voxels: that the network computed; overlaps, probes and all evaluations counted.
        evaluations: of the path.
        peak_memory_mb: largest resident memory of the process.
    """

    slices: int
    voxels: int
    body_voxels: int
    fast: bool
    seconds: float
    load_seconds: float
    denoise_seconds: float
    probe_seconds: float
    network_seconds: float
    network_voxels: int
    evaluations: int
    peak_memory_mb: float


class _Timed:
    """A network that keeps the seconds and the voxels of its calls."""

    def __init__(self, net: FusedDenoiser) -> None:
        self._net = net
        self.multiple, self.config = net.multiple, net.config
        self.calls: list[tuple[float, int]] = []

    def __call__(self, state: Tensor, u: Tensor, condition: Tensor) -> Tensor:
        started = time.perf_counter()
        out = self._net(state, u, condition)
        if self._net.device.type == "cuda":
            torch.cuda.synchronize(self._net.device)
        self.calls.append((time.perf_counter() - started, state.numel()))
        return out


def conv3d_peak(precision: str, device: torch.device | str = "cpu") -> dict[str, float]:
    """FLOP/s of torch's 3 x 3 x 3 convolution, channels last, by shape; the largest is the machine's peak.

    Args:
        precision: "bf16" or "float32".
        device: where.
    """
    device = torch.device(device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    found: dict[str, float] = {}
    with kept_heap(), torch.inference_mode():
        for channels in (64, 96, 128, 192, 256):
            for edge in (16, 32, 48):
                x = torch.randn(1, channels, edge, edge, edge, device=device).to(dtype)
                weight = torch.randn(channels, channels, 3, 3, 3, device=device).to(dtype) / channels
                x, weight = (t.contiguous(memory_format=torch.channels_last_3d) for t in (x, weight))
                flop = 2 * 27 * channels**2 * edge**3
                best = _shortest(lambda x=x, w=weight: functional.conv3d(x, w, padding=1), device)  # type: ignore[misc]
                found[f"{channels} channels, {edge}^3"] = flop / best
    return found


def _shortest(call: Callable[[], object], device: torch.device, at_least: float = 0.4) -> float:
    """The shortest of several calls, seconds."""
    best, spent = float("inf"), 0.0
    call()
    while spent < at_least:
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken = time.perf_counter() - started
        best, spent = min(best, taken), spent + taken
    return best


def synthetic_scan(slices: int, plane: int = PLANE, seed: int = 0) -> tuple[Volume, int]:
    """A body of one cross-section along all slices, with organs and noise, and how many voxels it has.

    It has the size of a scan and so much noise that all stages are made, not its looks; time depends on
    nothing else.
    """
    place = (np.arange(plane, dtype=np.float32) - plane / 2 + 0.5) * SPACING_MM * PLANE / plane
    x, y = place[:, None], place[None]
    inside = (x / BODY_MM[0]) ** 2 + (y / BODY_MM[1]) ** 2 < 1
    scratch = Scratch((plane, plane, slices))
    for start, stop in slabs(slices):
        rng = np.random.default_rng([seed, start])
        z = np.arange(start, stop, dtype=np.float32) * SPACING_MM
        organs = np.sin(x[..., None] / 23) * np.sin(y[..., None] / 17) * np.sin(z / 29)
        mean = np.where(inside[..., None], 1 + 0.8 * organs + 8 * (organs > 0.93), 0.01).astype(np.float32)
        noise: Array = rng.standard_normal((plane, plane, stop - start), np.float32)
        noise = (noise[:-1, :-1] + noise[1:, :-1] + noise[:-1, 1:] + noise[1:, 1:]) / 2
        noise = np.pad(noise, ((0, 1), (0, 1), (0, 0)), mode="edge")
        scan = mean + np.float32(0.8) * np.sqrt(mean) * noise
        scratch.write(start, (4000 * scan.clip(min=0)).astype(np.float32))
    affine = np.diag([SPACING_MM * PLANE / plane, SPACING_MM * PLANE / plane, SPACING_MM, 1.0])
    return Volume(scratch.array(), affine, "Bq/mL"), int(inside.sum()) * slices


def measure(
    source: Path, output: Path, model: str, device: str, precision: str, fast: bool
) -> dict[str, Any]:
    """Denoise one file in this process and tell what it took; for a process that does nothing else."""
    started = time.perf_counter()
    denoiser = Denoiser.from_pretrained(model, device, precision)
    timed = _Timed(denoiser.net)
    denoiser.net = timed  # type: ignore[assignment]
    loaded = time.perf_counter()
    probes = 0

    def progress(done: int, total: int) -> None:
        nonlocal probes
        if done == 1:
            probes = len(timed.calls) - 1

    manifest = denoise_file(denoiser, source, output, DenoiseOptions(fast=fast), progress)
    return {
        "load_seconds": loaded - started,
        "denoise_seconds": time.perf_counter() - loaded,
        "probe_seconds": sum(seconds for seconds, _ in timed.calls[:probes]),
        "network_seconds": sum(seconds for seconds, _ in timed.calls),
        "network_voxels": sum(voxels for _, voxels in timed.calls),
        "evaluations": manifest["network_evaluations"],
        "peak_memory_mb": peak_memory_mb(),
    }


def _measure_apart(folder: Path, slices: int, plane: int, fast: bool, how: list[str]) -> Run:
    source, output = folder / "scan.nii", folder / "restored.nii"
    volume, body = synthetic_scan(slices, plane)
    write(volume, source, overwrite=True)
    voxels = int(np.prod(volume.shape))
    del volume
    call = [sys.executable, "-m", "mapdiff.inference.speed", str(source), str(output), *how, str(int(fast))]
    started = time.perf_counter()
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise InputError(f"the measured process failed: {done.stderr.strip().splitlines()[-1:]}")
    for path in folder.iterdir():
        path.unlink()
    return Run(slices, voxels, body, fast, seconds, **json.loads(done.stdout.splitlines()[-1]))


def benchmark_speed(
    model: str,
    device: str = "auto",
    precision: str = "auto",
    slices: int = SLICES,
    plane: int = PLANE,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure this machine.

    Args:
        model: a model's name or file.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "bf16" or "float32".
        slices: of the largest volume; the others have an eighth, a quarter and a half of them.
        plane: edge of a slice in voxels.
        say: takes a line as each figure comes in.

    Returns:
        Machine, peak, a row per volume, and what follows from them, ready for JSON.
    """
    denoiser = Denoiser.from_pretrained(model, device, precision)
    where, how, config = denoiser.device, denoiser.precision, denoiser.net.config
    del denoiser
    machine = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average_at_start": list(os.getloadavg()),
        "torch": torch.__version__,
        "mapdiff": __version__,
        "device": str(where),
        "precision": how,
    }
    peaks = conv3d_peak(how, where)
    peak = max(peaks.values())
    say(f"conv3d in {how}: {peak / 1e12:.2f} TFLOP/s")
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for part, fast in [*((part, False) for part in PARTS), (PARTS[-1], True)]:
            options = [model, str(where), how]
            run = _measure_apart(Path(folder), max(round(slices * part), 2), plane, fast, options)
            runs.append(run)
            say(
                f"{plane} x {plane} x {run.slices}{', fast' if fast else ''}: {run.seconds:.0f} s, "
                f"{run.peak_memory_mb:.0f} MB, {run.network_seconds:.0f} s in the network"
            )
    return {
        "machine": machine,
        "conv3d_flops_by_shape": peaks,
        "conv3d_peak_flops": peak,
        "flop_per_voxel_and_evaluation": flop_per_voxel(config),
        "runs": [asdict(run) | _shares(run, flop_per_voxel(config), peak) for run in runs],
        "growth": _growth([run for run in runs if not run.fast]),
        "ddpm_1000_steps_extrapolated": _ddpm(next(run for run in reversed(runs) if not run.fast)),
    }


def _shares(run: Run, flop: float, peak: float) -> dict[str, float]:
    work = run.network_voxels * flop
    return {
        "network_share_of_time": run.network_seconds / run.seconds,
        "network_flops": work / run.network_seconds,
        "network_share_of_peak": work / run.network_seconds / peak,
        "end_to_end_share_of_peak": work / run.seconds / peak,
        "computed_voxels_per_body_voxel": run.network_voxels / run.evaluations / run.body_voxels,
    }


def _growth(runs: list[Run]) -> dict[str, Any]:
    """Seconds as a fixed cost plus a cost per body voxel (least squares), and memory alike.

    "bytes_per_added_voxel" are the differences of each size to the smallest, which hold the step from a part
    of a slab of tiles to several.
    """
    body = np.array([run.body_voxels for run in runs], float)
    seconds = np.array([run.seconds for run in runs])
    # Each size counts alike: the fit is of relative errors.
    rows = np.stack([np.ones_like(body), body], axis=1) / seconds[:, None]
    (fixed, slope), *_ = np.linalg.lstsq(rows, np.ones_like(seconds), rcond=None)
    memory = [run.peak_memory_mb * 2**20 for run in runs]
    added = [(memory[n] - memory[0]) / (runs[n].voxels - runs[0].voxels) for n in range(1, len(runs))]
    return {
        "fixed_seconds": float(fixed),
        "seconds_per_million_body_voxels": float(slope * 1e6),
        "largest_deviation": float(np.abs((fixed + slope * body) / seconds - 1).max()),
        "bytes_per_voxel": float(np.polyfit([run.voxels for run in runs], memory, 1)[0]),
        "bytes_per_added_voxel": added,
    }


def _ddpm(run: Run) -> dict[str, Any]:
    """What 1000 steps of the same network over the same tiles would take: an evaluation's time by 1000."""
    one = (run.network_seconds - run.probe_seconds) / run.evaluations
    rest = run.seconds - run.network_seconds
    total = DDPM_STEPS * one + rest
    return {
        "note": f"extrapolated from {run.evaluations} measured evaluations, not run",
        "seconds_per_evaluation": one,
        "seconds": total,
        "times_slower": total / run.seconds,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    scan, restored, name, on, in_precision, quick = sys.argv[1:]
    print(json.dumps(measure(Path(scan), Path(restored), name, on, in_precision, quick == "1")))
