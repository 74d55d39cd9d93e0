"""The noise level of an input of unknown dose and scanner, by degradation matching.

The network's own estimate stands in for the noise-free image: the level is the degradation between the input
and the estimate that was made for that level, found by iteration on a few probes inside the body.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapdiff.diffusion.calibration import MEASURES
from mapdiff.diffusion.grain import grain_volume, neighbour_correlation
from mapdiff.inference.tiling import Tile

PROBE_EDGE = 48
PROBES = 8
ITERATIONS = 4


class Voxels(Protocol):
    """An array, or what gives boxes of voxels as if it were one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along i, j, k."""
        ...

    def __getitem__(self, box: tuple[slice, slice, slice], /) -> NDArray[Any]:
        """The voxels of a box."""
        ...


@dataclass(frozen=True)
class InputNoise:
    """The noise of an input: its level against the noise-free image, and the volume of its grain in mm^3."""

    level: float
    grain_mm3: float


def probe_tiles(body: Voxels, multiple: int, edge: int = PROBE_EDGE) -> list[Tile]:
    """Boxes of that edge full of body, spread along k."""
    edges = [min(edge, size) for size in body.shape]
    slabs = np.linspace(0, body.shape[2] - edges[2], PROBES)
    tiles = {}
    for k in slabs:
        start_k = int(k) // multiple * multiple
        shadow = body[:, :, start_k : start_k + edges[2]].sum(axis=2).astype(np.float64)
        if not shadow.any():
            continue
        box = _box_sums(shadow, edges[0], edges[1])
        best = np.unravel_index(int(box[::multiple, ::multiple].argmax()), box[::multiple, ::multiple].shape)
        start = (int(best[0]) * multiple, int(best[1]) * multiple, start_k)
        stop = (start[0] + edges[0], start[1] + edges[1], start[2] + edges[2])
        tiles[start] = Tile(start, stop)
    return list(tiles.values())


def _box_sums(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    total = np.pad(image.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums: NDArray[np.float64] = (
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
    return sums


def find_noise(
    estimate: Callable[[Tile, float], Tensor],
    u: Voxels,
    body: Voxels,
    tiles: list[Tile],
    measure: str,
    start: float,
    bounds: tuple[float, float],
    spacing_mm: Sequence[float],
) -> InputNoise:
    """The level at which the estimate's own degradation is that level, and the grain of what it took away.

    Args:
        estimate: the network's estimate on a tile for an assumed level.
        u: (I, J, K) the input, linear; boxes are taken of it.
        body: (I, J, K), likewise.
        tiles: where to look.
        measure: a name in MEASURES.
        start: the first assumption.
        bounds: levels handed to the network are kept within; the one returned is not.
        spacing_mm: voxel size along i, j, k.
    """
    inside = np.concatenate([u[tile.slices][body[tile.slices]] for tile in tiles])
    level = start
    for _ in range(ITERATIONS):
        assumed = float(np.clip(level, *bounds))
        with torch.inference_mode():
            parts = [np.asarray(estimate(tile, assumed)) for tile in tiles]
        seen = np.concatenate([part[body[tile.slices]] for tile, part in zip(tiles, parts, strict=True)])
        found = MEASURES[measure](inside, seen)
        settled = abs(found - level) < 0.02 * level
        level = found
        if settled:
            break
    grains = [
        grain_volume(neighbour_correlation(u[tile.slices] - part, part, body[tile.slices]), spacing_mm)
        for tile, part in zip(tiles, parts, strict=True)
    ]
    return InputNoise(level, float(np.median(grains)))
