"""The denoiser people call: a volume in, the restored volume and its stages out."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from torch import Tensor

from mapdiff.diffusion.feedback import kept_width
from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.heap import kept_heap, peak_memory_mb
from mapdiff.inference.in_memory import InMemory, Rival
from mapdiff.inference.noise_level import InputNoise, find_noise, probe_tiles
from mapdiff.inference.scan import Scan
from mapdiff.inference.streamed import StreamedPath
from mapdiff.inference.tiling import EDGES, Tile, plan_tiles
from mapdiff.methods.base import Method, Step
from mapdiff.methods.map_diff import MapDiff, estimate
from mapdiff.methods.model_file import TrainedModel, file_hash, load_model
from mapdiff.methods.registry import method_named
from mapdiff.networks.denoiser import DenoiserNet
from mapdiff.networks.fused import FusedDenoiser
from mapdiff.precision import Precision, best_precision
from mapdiff.scratch import Scratch, slabs, write_slabs
from mapdiff.volume import Array, Volume

PRETRAINED = "map-diff"
#: How often the network is asked at most, by default and in the fast setting; a fourth time adds 0.04 dB.
EVALUATIONS, FAST_EVALUATIONS = 3, 1
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Restoration:
    """What comes out.

    Attributes:
        image: the full-dose estimate, on the input's grid and in its unit; the mean where samples were drawn.
        stages: by dose label, the estimates at the anchors above the input's dose, where they are kept; the
            means where samples were drawn.
        labels: of all those anchors, kept or not.
        deviation: standard deviation over the samples, where two or more were drawn.
        level: noise level that the input was found to have (NMAE against the noise-free image, in the body).
        dose: the dose that level stands for on the scanners the model was calibrated on.
        evaluations: network evaluations per sample.
        seconds: time taken.
        peak_memory_mb: largest resident memory of the process so far.
        warnings: one line each.
    """

    image: Volume
    stages: dict[str, Volume]
    labels: tuple[str, ...]
    deviation: Volume | None
    level: float
    dose: float
    evaluations: int
    seconds: float
    peak_memory_mb: float
    warnings: tuple[str, ...] = field(default=())


def pretrained_path(name: str = PRETRAINED) -> Path:
    """The file of a model that ships with the package.

    Raises:
        InputError: there is none of that name.
    """
    path = Path(str(resources.files("mapdiff") / "weights" / f"{name}.safetensors"))
    if not path.is_file():
        if Path(name).is_file():
            raise InputError("is no model: a model's file ends in .safetensors", name)
        raise InputError(f"no model called '{name}' ships with mapdiff; give the path of a model file")
    return path


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        cause = str(error).partition("\n")[0]
        if cause.startswith("Expected one of"):  # all of the library's kinds, most of which are not here
            cause = "there are auto, cpu and cuda"
        raise InputError(f"--device {name}: not to be had here ({cause})") from error
    return device


class Denoiser:
    """A loaded model; denoises any number of scans."""

    def __init__(
        self,
        model: TrainedModel,
        path: Path,
        device: str = "auto",
        precision: str = "auto",
        method: Method | None = None,
    ) -> None:
        """Take a loaded model.

        Args:
            model: the model.
            path: its file.
            device: "auto", "cpu" or "cuda".
            precision: "bf16", "float32", or "auto" for the one that is fast here.
            method: settings to run the model with; None are those of the method that it was trained by. A
                one-shot network can be run as `MapDiff`, mirrored and corrected by the residual.

        Raises:
            InputError: there is no such device here, or no such precision.
        """
        self.device = _device(device)
        self.precision = best_precision(self.device) if precision == "auto" else precision
        if self.precision not in get_args(Precision):
            raise InputError(f"--precision {precision}: auto, {' or '.join(get_args(Precision))}")
        self.model = model
        self.path = path
        self.hash = file_hash(path)
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        trained = method or method_named(model.method)
        self.rival: InMemory | None = None
        if not isinstance(trained, MapDiff):
            self.rival = InMemory(model, cast(Rival, trained), self.device, dtype)
            return
        self.method = trained
        self.net = FusedDenoiser(cast(DenoiserNet, model.net), self.device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = PRETRAINED,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Denoiser":
        """Load a model that ships with the package, by name, or any model file, by path."""
        path = Path(model) if Path(model).suffix == ".safetensors" else pretrained_path(str(model))
        return cls(load_model(path), path, device, precision)

    def denoise(
        self,
        volume: Volume,
        *,
        samples: int = 0,
        seed: int = 0,
        evaluations: int = EVALUATIONS,
        keep_stages: bool = True,
        corrected: bool = True,
        tile: int | tuple[int, int, int] = EDGES,
        progress: Progress = lambda done, total: None,
    ) -> Restoration:
        """Restore the full dose from a low-dose scan.

        The header plays no part: unit, weight, dose and name change no voxel, and k times the input gives k
        times the output. The images that come out lie in scratch files (`scratch`), as does what is worked
        on; besides `volume` itself memory holds a few slabs.

        Args:
            volume: the scan, any dose from 1/100 to 1/2, voxels of 1.5 to 5.5 mm.
            samples: 0 is the deterministic path; N > 0 draws N stochastic paths, their mean is the image.
            seed: of the stochastic paths.
            evaluations: how often MAP-Diff's network is asked at most; `FAST_EVALUATIONS` is fast.
            keep_stages: give the estimates at the anchors too.
            corrected: correct the estimate by what its residual tells (`diffusion.feedback`).
            tile: largest edge of a tile along i, j, k, voxels; smaller takes less memory.
            progress: called with (tiles done, tiles in all).

        Raises:
            InputError: no body is found in the image, `samples` is negative, `evaluations` is told for a
                model of another method than MAP-Diff, or there is no room for scratch files.
        """
        if samples < 0:
            raise InputError(f"samples must not be negative, not {samples}")
        if self.rival is not None:
            if evaluations != EVALUATIONS:
                raise InputError(
                    f"--fast is for models of map-diff: this one, of {self.model.method}, evaluates its "
                    "network as often as its method says"
                )
            return self._by_rival(self.rival, volume, samples, seed, progress)
        started = time.monotonic()
        with kept_heap(), torch.inference_mode():
            return self._denoise(
                volume, samples, seed, evaluations, keep_stages, corrected, tile, progress, started
            )

    @staticmethod
    def _by_rival(
        rival: InMemory, volume: Volume, samples: int, seed: int, progress: Progress
    ) -> Restoration:
        """A trained method other than MAP-Diff: in memory, with evaluations of its own number."""
        found = rival.restore(
            volume, samples=samples, seed=seed, on_evaluation=lambda done: progress(done, done + 1)
        )
        progress(1, 1)
        return Restoration(
            image=volume.with_array(found.image),
            stages={label: volume.with_array(image) for label, image in found.stages.items()},
            labels=tuple(found.stages),
            deviation=None if found.deviation is None else volume.with_array(found.deviation),
            level=found.level,
            dose=found.dose,
            evaluations=found.evaluations,
            seconds=found.seconds,
            peak_memory_mb=found.peak_memory_mb,
            warnings=volume.warnings,
        )

    def _denoise(
        self,
        volume: Volume,
        samples: int,
        seed: int,
        evaluations: int,
        keep_stages: bool,
        corrected: bool,
        tile: int | tuple[int, int, int],
        progress: Progress,
        started: float,
    ) -> Restoration:
        scan = Scan(volume)
        noise = self._noise(scan)
        dose = self.model.calibration.dose_of_level(noise.level, noise.grain_mm3)
        # The network is told levels that it was trained on; the dose follows from the one that was found.
        level_u = float(np.clip(noise.level, *self.model.level_range))
        steps = self.method.steps(level_u, dose, evaluations, chained=self.method.chained or samples > 0)
        asked = sum(step.fresh for step in steps)
        edges = (tile, tile, tile) if isinstance(tile, int) else tile
        tiles = plan_tiles(scan.near, self.net.multiple, edges)
        total, done = len(tiles) * asked * max(samples, 1), 0

        def on_tile() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        def estimate_at(state: Array, u: Array, level: float, mirror: tuple[int, ...]) -> Tensor:
            return self._estimate(state, u, level, level_u, volume.spacing, mirror)

        kept_mm = kept_width(noise.level, noise.grain_mm3) if corrected else None
        path = StreamedPath(scan, tiles, estimate_at, on_tile, kept_mm, whole=samples > 0)
        stages: dict[str, Scratch] = {}
        mean = Scratch(volume.shape)
        square = Scratch(volume.shape) if samples > 1 else None

        def wanted(step: Step) -> bool:
            return keep_stages or step is steps[-1]

        for n in range(max(samples, 1)):
            for step in path.run(steps, self.method.chained, (seed, n) if samples else None, wanted):
                ratio = dose / step.dose
                if step is steps[-1]:
                    _average(partial(path.stage, ratio), n, mean, square)
                elif keep_stages:
                    if n == 0:
                        stages[step.label] = Scratch(volume.shape)
                    _average(partial(path.stage, ratio), n, stages[step.label], None)
        if square is not None:
            for start, stop in slabs(volume.shape[2]):
                variance = square.read(start, stop) / np.float32(samples - 1)
                square.write(start, np.sqrt(variance).astype(np.float32))
        return Restoration(
            image=volume.with_array(mean.array()),
            stages={label: volume.with_array(kept.array()) for label, kept in stages.items()},
            labels=tuple(step.label for step in steps[:-1]),
            deviation=None if square is None else volume.with_array(square.array()),
            level=noise.level,
            dose=dose,
            evaluations=asked,
            seconds=time.monotonic() - started,
            peak_memory_mb=peak_memory_mb(),
            warnings=(*volume.warnings, *self._warnings(noise.level, volume.spacing)),
        )

    def _warnings(self, level: float, spacing: tuple[float, float, float]) -> list[str]:
        """What lies outside the training."""
        found = []
        low, high = self.model.level_range
        if not low <= level <= high:
            found.append(f"noise level {level:.3f} lies outside the trained range, {low:.3f} to {high:.3f}")
        if not all(1.5 <= s <= 5.5 for s in spacing):
            sizes = " x ".join(f"{s:.2f}" for s in spacing)
            found.append(f"voxels of {sizes} mm lie outside the 1.5 to 5.5 mm that the model is made for")
        return found

    def _estimate(
        self,
        state: Array,
        u: Array,
        level_state: float,
        level: float,
        spacing: tuple[float, float, float],
        mirror: tuple[int, ...] = (),
    ) -> Tensor:
        """The network on one tile: arrays of one shape, linear; the estimate in that shape, in memory."""

        def at(values: Array) -> Tensor:
            # A tile at the volume's end is continued to the network's multiple by its mirror image.
            beyond = [(0, -size % self.net.multiple) for size in values.shape]
            whole = np.pad(values, beyond, mode="symmetric") if any(n for _, n in beyond) else values
            mirrored = np.ascontiguousarray(np.flip(whole, mirror))
            return torch.from_numpy(mirrored)[None, None].to(self.device)

        levels = torch.tensor([[level_state], [level]], device=self.device)
        out = estimate(self.net, at(state), at(u), levels[0], levels[1], spacing)
        i, j, k = state.shape
        return out[0, 0].flip(mirror)[:i, :j, :k].cpu()

    def _noise(self, scan: Scan) -> InputNoise:
        bounds = self.model.level_range

        def estimate_at(tile: Tile, level: float) -> Tensor:
            u = scan[tile.slices]
            return self._estimate(u, u, level, level, scan.volume.spacing)

        return find_noise(
            estimate_at,
            scan,
            scan.body,
            probe_tiles(scan.body, self.net.multiple),
            self.model.calibration.measure,
            start=float(np.sqrt(bounds[0] * bounds[1])),
            bounds=bounds,
            spacing_mm=scan.volume.spacing,
        )


def _average(stage: Callable[[int, int], Array], n: int, mean: Scratch, square: Scratch | None) -> None:
    """Take the n-th sample into the mean and the sum of squared deviations (Welford's update)."""

    def updated(start: int, stop: int) -> Array:
        image = stage(start, stop)
        if n:
            before = mean.read(start, stop)
            delta = image - before
            image = before + delta / np.float32(n + 1)
            if square is not None:
                square.write(start, square.read(start, stop) + delta * (before + delta - image))
        return image

    write_slabs(mean, updated, torch.get_num_threads())


def denoise(
    scan: str | Path | Volume,
    *,
    model: str | Path = PRETRAINED,
    samples: int = 0,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    fast: bool = False,
    progress: Progress = lambda done, total: None,
) -> Volume:
    """Restore a full-dose scan from a low-dose one; see `Denoiser.denoise`, which tells more.

    Args:
        scan: a volume, or the path of a NIfTI file or DICOM series.
        model: a model that ships with mapdiff, or a model file.
        samples: stochastic paths to average; 0 is the deterministic path.
        seed: of the stochastic paths.
        device: "auto", "cpu" or "cuda".
        precision: "bf16", "float32", or "auto" for the one that is fast here.
        fast: ask the network once only.
        progress: called with (tiles done, tiles in all).
    """
    volume = scan if isinstance(scan, Volume) else read(scan)
    denoiser = Denoiser.from_pretrained(model, device, precision)
    found = denoiser.denoise(
        volume,
        samples=samples,
        seed=seed,
        evaluations=FAST_EVALUATIONS if fast else EVALUATIONS,
        keep_stages=False,
        progress=progress,
    )
    return found.image


__all__ = ["Denoiser", "Restoration", "denoise", "pretrained_path"]
