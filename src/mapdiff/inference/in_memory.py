"""The whole volume in memory: how every method but MAP-Diff's own is run on a scan.

The rivals need no streaming; what they share is the tiling, the body's scale, and the way that the noise
level of an unknown input is found.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional

from mapdiff.body import air_widths, body_mask, body_scale, near_body
from mapdiff.diffusion import dose_path, feedback
from mapdiff.diffusion.calibration import Calibration
from mapdiff.heap import kept_heap, peak_memory_mb
from mapdiff.inference.noise_level import PROBE_EDGE, InputNoise, find_noise, probe_tiles
from mapdiff.inference.tiling import EDGES, Tile, blend, plan_tiles
from mapdiff.methods.base import Method, Predict
from mapdiff.methods.model_file import TrainedModel
from mapdiff.networks.denoiser import DenoiserNet
from mapdiff.networks.fused import FusedDenoiser
from mapdiff.networks.gan import GanNet
from mapdiff.networks.swin_unetr import MIN_EDGE, SwinUnetr
from mapdiff.volume import Volume

#: Where the input makes up more than this of an image there is no estimate in it to correct.
NEARLY_ALL = 0.95
Progress = Callable[[int], None]


class Rival(Method, Protocol):
    """A method that can be run in memory."""

    def first_estimate(self, predict: Predict, u: Tensor, level: float, calibration: Calibration) -> Tensor:
        """The noise-free image as one evaluation sees it, linear."""
        ...


@dataclass(frozen=True)
class Restored:
    """What a method makes of a scan.

    Attributes:
        image: the full-dose estimate in the volume's unit, (I, J, K); the mean where samples were drawn.
        stages: by dose label, the estimate at each anchor; of samples the mean.
        states: by dose label, the path's own state there, where the method has one.
        deviation: over the samples, where two or more were drawn.
        level: the noise level that the input was found to have, or that was told.
        dose: the dose that it stands for.
        evaluations: network evaluations of one sample.
        seconds: time taken, all samples.
        peak_memory_mb: largest resident memory of the process so far.
    """

    image: NDArray[np.float32]
    stages: dict[str, NDArray[np.float32]]
    states: dict[str, NDArray[np.float32]]
    deviation: NDArray[np.float32] | None
    level: float
    dose: float
    evaluations: int
    seconds: float
    peak_memory_mb: float


class InMemory:
    """A trained method, ready to run on scans."""

    def __init__(
        self,
        model: TrainedModel,
        method: Rival,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take the model and the settings to sample it with.

        Args:
            model: the model.
            method: the settings.
            device: where to compute.
            dtype: of weights and activations of MAP-Diff's kind of network; others are run in float32.
        """
        self.model, self.method, self.device = model, method, device
        net = model.net.generator if isinstance(model.net, GanNet) else model.net
        self.net: Any = FusedDenoiser(net, device, dtype) if isinstance(net, DenoiserNet) else net.to(device)

    @kept_heap()
    def restore(
        self,
        volume: Volume,
        *,
        samples: int = 0,
        seed: int = 0,
        tile: int | None = None,
        noise: InputNoise | None = None,
        corrected: bool = False,
        on_evaluation: Progress = lambda done: None,
    ) -> Restored:
        """Restore the full dose.

        Args:
            volume: the scan.
            samples: 0 is the method's deterministic path, N > 0 the mean of N samples.
            seed: of the samples.
            tile: largest edge of a tile, voxels; None takes those that MAP-Diff has.
            noise: of the input, where it is known already.
            corrected: correct what the images hold besides the input's counts by its residual, as MAP-Diff
                does (`diffusion.feedback`).
            on_evaluation: called after each evaluation of the network over the volume, with their number.

        Raises:
            InputError: no body is found in the image.
        """
        started = time.monotonic()
        scan = _Scan(volume, self.net.multiple)
        edge = self._edge or tile
        noise = noise or self._noise(scan)
        dose = self.model.calibration.dose_of_level(noise.level, noise.grain_mm3)
        # The network sees levels that it was trained on; the dose follows from the one that was found.
        level = float(np.clip(noise.level, *self.model.level_range))
        edges = EDGES if edge is None else (edge, edge, edge)
        tiles = plan_tiles(scan.near_body, self.net.multiple, edges, full=self._edge is not None)
        tile_predict = self.method.predictor(self.net, level, volume.spacing)
        evaluations = 0

        def predict(state: Tensor, u: Tensor, level_state: float) -> Tensor:
            nonlocal evaluations

            def at(box: Tile) -> Tensor:
                here, given = (self._continued(t[box.slices]) for t in (state, u))
                i, j, k = (s.stop - s.start for s in box.slices)
                return tile_predict(here, given, level_state)[:i, :j, :k].cpu()

            # Beyond the tiles the input's own averaged air stands in, on whatever scale the path is on.
            whole = torch.from_numpy(uniform_filter(u.numpy(), scan.width, mode="nearest"))
            with torch.inference_mode():
                for box, estimate, weight in blend(tiles, at):
                    beyond = whole[box.slices]
                    whole[box.slices] = torch.where(weight > 0.01, estimate.to(beyond), beyond)
            evaluations += 1
            on_evaluation(evaluations)
            return whole

        mean: dict[str, Tensor] = {}
        doses: dict[str, float] = {}
        states: dict[str, Tensor] = {}
        square: Tensor | None = None
        for n in range(max(samples, 1)):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + n) if samples else None
            evaluations = 0
            path = self.method.stages(
                predict, scan.u, level, dose, self.model.calibration, volume.spacing, generator
            )
            for stage in path:
                before, doses[stage.label] = mean.get(stage.label), stage.dose
                image = scan.with_air(stage.image, dose / stage.dose)
                mean[stage.label] = image if before is None else before + (image - before) / (n + 1)
                if stage.label == "full" and before is not None:
                    delta = (image - before) * (image - mean["full"])
                    square = delta if square is None else square + delta
                if stage.state is not None and n == 0:
                    states[stage.label] = stage.state
        if corrected:
            for label, image in mean.items():
                ratio = dose / doses[label]
                if ratio > NEARLY_ALL:
                    continue
                z = scan.corrected(dose_path.noise_free(image, scan.u, ratio), noise)
                mean[label] = dose_path.step(scan.u, z, ratio)
        full = mean.pop("full")
        return Restored(
            image=scan.put_back(full),
            stages={label: scan.put_back(image) for label, image in mean.items()},
            states={label: scan.put_back(image) for label, image in states.items()},
            deviation=None if square is None else scan.put_back((square / (samples - 1)).sqrt()),
            level=noise.level,
            dose=dose,
            evaluations=evaluations,
            seconds=time.monotonic() - started,
            peak_memory_mb=peak_memory_mb(),
        )

    @property
    def _edge(self) -> int | None:
        """The edge that all tiles must have: SwinUNETR's statistics over space are those of its patches."""
        if not isinstance(self.net, SwinUnetr):
            return None
        return max(int(self.model.training.get("patch", MIN_EDGE)), MIN_EDGE)

    def _continued(self, values: Tensor) -> Tensor:
        """A tile continued to the network's multiple by its last voxels."""
        short = [-size % self.net.multiple for size in values.shape]
        padding = (0, short[2], 0, short[1], 0, short[0])
        on_device = values.to(self.device, torch.float32)[None, None]
        return functional.pad(on_device, padding, mode="replicate")[0, 0]

    def _noise(self, scan: "_Scan") -> InputNoise:
        """Degradation matching with the method's own first estimate."""
        spacing, bounds = scan.volume.spacing, self.model.level_range

        def estimate(tile: Tile, level: float) -> Tensor:
            predict = self.method.predictor(self.net, level, spacing)
            i, j, k = (s.stop - s.start for s in tile.slices)
            u = self._continued(scan.u[tile.slices])
            with torch.inference_mode():
                found = self.method.first_estimate(predict, u, level, self.model.calibration)
            return found[:i, :j, :k].cpu()

        return find_noise(
            estimate,
            scan.u.numpy(),
            scan.body,
            probe_tiles(scan.body, self.net.multiple, self._edge or PROBE_EDGE),
            self.model.calibration.measure,
            start=float(np.sqrt(bounds[0] * bounds[1])),
            bounds=bounds,
            spacing_mm=spacing,
        )


class _Scan:
    """A volume in units of its body's mean, padded to the network's multiple."""

    def __init__(self, volume: Volume, multiple: int) -> None:
        self.volume = volume
        body = body_mask(volume.array, volume.spacing)
        self.scale = body_scale(volume.array, body)
        pad = [(0, -size % multiple) for size in volume.shape]
        array = np.pad(volume.array.astype(np.float32) / np.float32(self.scale), pad, mode="symmetric")
        self.u = torch.from_numpy(array)
        self.shape = (array.shape[0], array.shape[1], array.shape[2])
        self.body: NDArray[np.bool_] = np.pad(body, pad)
        self.near_body: NDArray[np.bool_] = np.pad(near_body(body, volume.spacing), pad)
        self.width = air_widths(volume.spacing)
        self._air = torch.from_numpy(uniform_filter(array, self.width, mode="nearest"))

    def with_air(self, image: Tensor, ratio: float) -> Tensor:
        """An image beyond whose `near_body` the input's averaged air stands for z, as on MAP-Diff's path.

        Whatever a method makes of air would count in the error over the volume: none is judged by it.

        Args:
            image: (I, J, K) on the padded grid, in units of the body's mean.
            ratio: the input's dose over the image's.
        """
        return torch.where(torch.from_numpy(self.near_body), image, dose_path.step(self.u, self._air, ratio))

    def corrected(self, z: Tensor, noise: InputNoise) -> Tensor:
        """An estimate of the noise-free image, corrected by its residual."""
        found = feedback.corrected(
            z.numpy(), self.u.numpy(), self.body, noise.level, noise.grain_mm3, self.volume.spacing
        )
        return torch.from_numpy(found)

    def put_back(self, values: Tensor) -> NDArray[np.float32]:
        """Values on the padded grid, on the scan's own and in its unit."""
        i, j, k = self.volume.shape
        out: NDArray[np.float32] = values.numpy()[:i, :j, :k] * np.float32(self.scale)
        return out
