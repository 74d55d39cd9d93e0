"""The denoiser people call: a volume in, the restored volume and its stages out."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, uniform_filter
from torch import Tensor

from mapdiff.body import body_mask, body_scale
from mapdiff.diffusion.feedback import restore_structure
from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.inference.noise_level import InputNoise, find_noise, probe_tiles
from mapdiff.inference.tiling import EDGE, Tile, blend, plan_tiles
from mapdiff.methods.base import Predict, Stage
from mapdiff.methods.map_diff import MapDiff, estimate
from mapdiff.methods.model_file import TrainedModel, file_hash, load_model
from mapdiff.volume import Volume

#: Air round the body that the network restores too, mm; beyond it the air is averaged over boxes as wide.
MARGIN_MM = 15.0
PRETRAINED = "map-diff"
#: Axes that each evaluation of a run is mirrored along, in turn: the last image is a weighted mean of all
#: estimates, and what the network errs in one orientation it does not quite err in another.
MIRRORS: tuple[tuple[int, ...], ...] = ((), (2,), (1,), (0,))
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Restoration:
    """What comes out.

    Attributes:
        image: the full-dose estimate, on the input's grid and in its unit; the mean where samples were drawn.
        stages: by dose label, the estimates at the anchors above the input's dose.
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
        raise InputError(f"no model called '{name}' ships with mapdiff; give the path of a model file")
    return path


class Denoiser:
    """A loaded model; denoises any number of scans."""

    def __init__(self, model: TrainedModel, path: Path, device: str = "auto") -> None:
        """Take a loaded model; `device` is "auto", "cpu" or "cuda"."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.model = model
        self.path = path
        self.hash = file_hash(path)
        self.method = MapDiff()
        self.net = model.net.to(self.device)

    @classmethod
    def from_pretrained(cls, model: str | Path = PRETRAINED, device: str = "auto") -> "Denoiser":
        """Load a model that ships with the package, by name, or any model file, by path."""
        path = Path(model) if Path(model).suffix == ".safetensors" else pretrained_path(str(model))
        return cls(load_model(path), path, device)

    def denoise(
        self,
        volume: Volume,
        *,
        samples: int = 0,
        seed: int = 0,
        tile: int = EDGE,
        progress: Progress = lambda done, total: None,
    ) -> Restoration:
        """Restore the full dose from a low-dose scan.

        The header plays no part: unit, weight, dose and name change no voxel, and k times the input gives k
        times the output.

        Args:
            volume: the scan, any dose from 1/100 to 1/2, voxels of 1.5 to 5.5 mm.
            samples: 0 is the deterministic path; N > 0 draws N stochastic paths, their mean is the image.
            seed: of the stochastic paths.
            tile: largest edge of a tile, voxels; smaller takes less memory.
            progress: called with (tiles done, tiles in all).

        Raises:
            InputError: no body is found in the image, or `samples` is negative.
        """
        if samples < 0:
            raise InputError(f"samples must not be negative, not {samples}")
        started = time.monotonic()
        scan = _Scan(volume, self.net.multiple)
        warnings = list(volume.warnings)
        low, high = self.model.level_range
        noise = self._noise(scan)
        level = noise.level
        if not low <= level <= high:
            warnings.append(
                f"noise level {level:.3f} lies outside the trained range, {low:.3f} to {high:.3f}"
            )
        if not all(1.5 <= s <= 5.5 for s in volume.spacing):
            sizes = " x ".join(f"{s:.2f}" for s in volume.spacing)
            warnings.append(
                f"voxels of {sizes} mm lie outside the 1.5 to 5.5 mm that the model was trained on"
            )
        tiles = plan_tiles(scan.near_body, self.net.multiple, edge=max(tile // 8 * 8, 48))
        dose = self.model.calibration.dose_of_level(level, noise.grain_mm3)
        evaluations = 1 + len(self._anchors(dose))
        total = len(tiles) * evaluations * max(samples, 1)
        done = 0

        def on_tile() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        def predict(state: Tensor, u: Tensor, level_state: float) -> Tensor:
            mirror = MIRRORS[done // len(tiles) % evaluations % len(MIRRORS)]
            return self._predict(scan, tiles, state, u, level_state, level, mirror, on_tile)

        runs: list[list[Stage]] = []
        mean: Tensor | None = None
        square: Tensor | None = None
        for n in range(max(samples, 1)):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + n) if samples else None
            run = list(
                self.method.stages(
                    predict, scan.u, level, dose, self.model.calibration, volume.spacing, generator
                )
            )
            final = run[-1].image
            if mean is None or square is None:
                runs, mean, square = [run], final.clone(), torch.zeros_like(final)
            else:  # Welford's update
                delta = final - mean
                mean += delta / (n + 1)
                square += delta * (final - mean)
        assert mean is not None and square is not None
        deviation = None
        if samples > 1:
            deviation = scan.put_back((square / (samples - 1)).sqrt())
        return Restoration(
            image=scan.put_back(mean),
            stages={stage.label: scan.put_back(stage.image) for stage in runs[0][:-1]},
            deviation=deviation,
            level=level,
            dose=dose,
            evaluations=evaluations,
            seconds=time.monotonic() - started,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            warnings=tuple(warnings),
        )

    def _anchors(self, dose: float) -> list[tuple[str, float]]:
        from mapdiff.diffusion.calibration import stage_doses
        from mapdiff.diffusion.dose_path import anchors_above

        return anchors_above(dose, stage_doses(self.model.calibration))

    def _estimate(
        self,
        scan: "_Scan",
        tile: Tile,
        state: Tensor,
        u: Tensor,
        level_state: float,
        level: float,
        mirror: tuple[int, ...] = (),
    ) -> Tensor:
        def at(values: Tensor) -> Tensor:
            return values[tile.slices].flip(mirror)[None, None].to(self.device)

        levels = torch.tensor([[level_state], [level]], device=self.device)
        with torch.inference_mode():
            out = estimate(self.net, at(state), at(u), levels[0], levels[1], scan.volume.spacing)
        return out[0, 0].flip(mirror).cpu()

    def _predict(
        self,
        scan: "_Scan",
        tiles: list[Tile],
        state: Tensor,
        u: Tensor,
        level_state: float,
        level: float,
        mirror: tuple[int, ...],
        on_tile: Callable[[], None],
    ) -> Tensor:
        z_hat, weight = blend(
            tiles,
            scan.shape,
            lambda tile: self._estimate(scan, tile, state, u, level_state, level, mirror),
            on_tile=on_tile,
        )
        z_hat = torch.where(weight > 0.01, z_hat, scan.air)
        return restore_structure(z_hat, u, scan.body, scan.volume.spacing)

    def _noise(self, scan: "_Scan") -> InputNoise:
        bounds = self.model.level_range
        return find_noise(
            lambda tile, level: self._estimate(scan, tile, scan.u, scan.u, level, level),
            scan.u,
            scan.body,
            probe_tiles(scan.body, self.net.multiple),
            self.model.calibration.measure,
            start=float(np.sqrt(bounds[0] * bounds[1])),
            bounds=bounds,
            spacing_mm=scan.volume.spacing,
        )


class _Scan:
    """A volume made ready: scaled by the body's mean, padded to the network's multiple."""

    def __init__(self, volume: Volume, multiple: int) -> None:
        self.volume = volume
        body = body_mask(volume.array, volume.spacing)
        self.scale = body_scale(volume.array, body)
        pad = [(0, -size % multiple) for size in volume.shape]
        array = np.pad(volume.array.astype(np.float32) / np.float32(self.scale), pad, mode="symmetric")
        self.u = torch.from_numpy(array)
        self.shape = (array.shape[0], array.shape[1], array.shape[2])
        self.body: NDArray[np.bool_] = np.pad(body, pad)
        near = binary_dilation(body, iterations=max(1, round(MARGIN_MM / max(volume.spacing))))
        self.near_body: NDArray[np.bool_] = np.pad(near, pad)
        width = [2 * round(MARGIN_MM / s / 2) + 1 for s in volume.spacing]
        self.air = torch.from_numpy(uniform_filter(array, width, mode="nearest"))

    def put_back(self, values: Tensor) -> Volume:
        """Values on the padded grid as a volume on the scan's own, in its unit."""
        i, j, k = self.volume.shape
        array = values.numpy()[:i, :j, :k] * np.float32(self.scale)
        return self.volume.with_array(array)


def denoise(
    scan: str | Path | Volume,
    *,
    model: str | Path = PRETRAINED,
    samples: int = 0,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> Volume:
    """Restore a full-dose scan from a low-dose one; see `Denoiser.denoise`, which tells more.

    Args:
        scan: a volume, or the path of a NIfTI file or DICOM series.
        model: a model that ships with mapdiff, or a model file.
        samples: stochastic paths to average; 0 is the deterministic path.
        seed: of the stochastic paths.
        device: "auto", "cpu" or "cuda".
        progress: called with (tiles done, tiles in all).
    """
    volume = scan if isinstance(scan, Volume) else read(scan)
    denoiser = Denoiser.from_pretrained(model, device)
    return denoiser.denoise(volume, samples=samples, seed=seed, progress=progress).image


__all__ = ["Denoiser", "Predict", "Restoration", "denoise", "pretrained_path"]
