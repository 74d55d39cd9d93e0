"""The reverse path over a whole volume: state and estimate are kept on disk, for the body's box only.

Outside the box the estimate never changes (it is the averaged air), so there every stage follows from the
input in one line: air + (d_u / d) (u - air).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapdiff.diffusion import dose_path, feedback
from mapdiff.diffusion.complement import ComplementNoise
from mapdiff.diffusion.hot_spots import keep_hot_spots, spot_reach
from mapdiff.diffusion.noise_map import NoiseMap, noise_map
from mapdiff.diffusion.smoothing import reach
from mapdiff.inference.scan import Scan
from mapdiff.inference.tiling import Tile, blend, bounds
from mapdiff.methods.base import Step
from mapdiff.scratch import Scratch, slabs, write_slabs

#: Axes that each evaluation of a run is mirrored along, in turn: the last image comes of the mean of all
#: estimates, and what the network errs in one orientation it does not quite err in another.
MIRRORS: tuple[tuple[int, ...], ...] = ((), (2,), (1,), (0,))
#: The network's estimate of a tile: (state, u, level of the state, axes to mirror it along), linear arrays of
#: one shape.
Estimate = Callable[[NDArray[np.float32], NDArray[np.float32], float, tuple[int, ...]], Tensor]
#: A correction of slices of the estimate: (z-hat, u, the first of these slices).
Correction = Callable[[NDArray[np.float32], NDArray[np.float32], int], NDArray[np.float32]]


class StreamedPath:
    """The reverse path of one scan, run once or several times."""

    def __init__(
        self,
        scan: Scan,
        tiles: Sequence[Tile],
        estimate: Estimate,
        on_tile: Callable[[], None],
        kept_mm: float | None,
        whole: bool = False,
    ) -> None:
        """Make the path ready.

        Args:
            scan: the input.
            tiles: from `plan_tiles` of what is near the body.
            estimate: the network on a tile.
            on_tile: called after each tile.
            kept_mm: width over which the input's mean is kept (`diffusion.feedback`); None: no correction.
            whole: work on the whole volume, not on the body's box: stochastic paths add noise everywhere.
        """
        self.scan, self.tiles, self._estimate, self._on_tile = scan, tiles, estimate, on_tile
        self.box = Tile((0, 0, 0), scan.shape) if whole else bounds(tiles)
        self._kept_mm = kept_mm
        self._asked, self._z = Scratch(self.box.shape), Scratch(self.box.shape)
        self._restored = self._asked if kept_mm is None else Scratch(self.box.shape)
        self._state = self._z
        self._residual_noise: tuple[feedback.ResidualNoise, NoiseMap] | None = None
        self._noise: ComplementNoise | None = None
        write_slabs(self._asked, lambda a, b: scan.air(self._slab(a, b)), torch.get_num_threads())

    def run(
        self,
        steps: Sequence[Step],
        chained: bool = False,
        seed: Sequence[int] | None = None,
        wanted: Callable[[Step], bool] = lambda step: True,
    ) -> Iterator[Step]:
        """Take the steps; after each that is wanted, `stage` gives the image.

        Args:
            steps: of the method.
            chained: whether the network is shown the stage before as its state, or the input each time: then
                the noise-free image is taken as the mean of all estimates so far.
            seed: None is the deterministic path; else it decides the noise that the steps add, and the path
                is chained.
            wanted: whose image will be asked for; the others need no correction. It changes no image.
        """
        chained = chained or seed is not None
        if chained and self._state is self._z:
            self._state = Scratch(self.box.shape)
        first, evaluations = True, 0
        for number, step in enumerate(steps):
            if step.fresh:
                mirror = MIRRORS[evaluations % len(MIRRORS)]
                self._evaluate(step.level, first or not chained, mirror, 0 if chained else evaluations)
                evaluations += 1
            if chained or wanted(step):
                self._correct(again=not chained)
            if chained:
                self._advance(step, first, None if seed is None else (*seed, number))
            first = False
            yield step

    def _advance(self, step: Step, first: bool, seed: Sequence[int] | None) -> None:
        """The state of a chained path after a step."""
        draw = None
        if seed is not None and step.noise is not None:
            if self._noise is None:
                self._noise = ComplementNoise(self._residual, self.box.shape, self.scan.volume.spacing)
            draw = self._noise.draw(step.noise, seed)
        for start, stop in slabs(self.box.shape[2]):
            z = torch.from_numpy(self._z.read(start, stop))
            if draw is not None:
                z += torch.from_numpy(draw(start, stop))
            state = torch.from_numpy(self._state_at(start, stop, first))
            self._state.write(start, dose_path.step(state, z, step.ratio).numpy())

    def stage(self, ratio: float, start: int, stop: int) -> NDArray[np.float32]:
        """Slices [start, stop) of the image that the path has reached, in the volume's unit.

        Args:
            ratio: the input's dose over the dose reached.
            start: first slice of the volume.
            stop: behind the last.
        """
        i, j, _ = self.scan.shape
        inner = self.box.within((0, 0, start))[2]
        low, high = max(inner.start, 0), min(inner.stop, stop - start)
        if self.box.shape == self.scan.shape:
            image = np.empty((i, j, stop - start), np.float32, order="F")
        else:
            where = (slice(0, i), slice(0, j), slice(start, stop))
            image = self.scan.air(where)
            image = np.asfortranarray(image + np.float32(ratio) * (self.scan[where] - image))
        if low < high:
            offset = self.box.start[2]
            part = self._state.read(start + low - offset, start + high - offset)
            if self._state is self._z:
                u = self.scan[self._slab(start + low - offset, start + high - offset)]
                part = part + np.float32(ratio) * (u - part)
            image[(*self.box.within((0, 0, 0))[:2], slice(low, high))] = part
        image *= np.float32(self.scan.scale)
        return image

    def _slab(self, start: int, stop: int) -> tuple[slice, slice, slice]:
        i, j, _ = self.box.slices
        return i, j, slice(self.box.start[2] + start, self.box.start[2] + stop)

    def _state_at(self, start: int, stop: int, first: bool) -> NDArray[np.float32]:
        return self.scan[self._slab(start, stop)] if first else self._state.read(start, stop)

    def _residual(self, start: int, stop: int) -> NDArray[np.float32]:
        return self.scan[self._slab(start, stop)] - self._z.read(start, stop)

    def _evaluate(self, level: float, first: bool, mirror: tuple[int, ...], before: int) -> None:
        """The network's estimate near the body, into `_asked`: the mean with so many before it."""
        held: tuple[Tile, NDArray[np.float32], NDArray[np.float32]] | None = None

        def estimate(tile: Tile) -> Tensor:
            nonlocal held
            if held is None or held[0].start[2] != tile.start[2]:  # the slab's slices, once for all its tiles
                offset = self.box.start[2]
                start, stop = tile.start[2] - offset, tile.stop[2] - offset
                u = self.scan[self._slab(start, stop)]
                state = u if first else self._state.read(start, stop)
                held = Tile((*self.box.start[:2], tile.start[2]), tile.stop), u, state
            where = tile.within(held[0].start)
            out = self._estimate(held[2][where], held[1][where], level, mirror)
            self._on_tile()
            return out

        for box, values, weight in blend(self.tiles, estimate):
            i, j, k = box.within(self.box.start)
            z = self._asked.read(k.start, k.stop)
            near = self.scan.near[box.slices] & (weight > 0).numpy()
            part = z[i, j]
            found = values.numpy() if not before else part + (values.numpy() - part) / np.float32(before + 1)
            np.copyto(part, found, where=near)
            self._asked.write(k.start, z)

    def _correct(self, again: bool) -> None:
        """What is in `_asked`, corrected by the residual, into `_z`.

        Each slab is worked on with the slices beside it that a filter reaches, so that the image does not
        depend on where slabs begin.

        Args:
            again: measure the residual's noise anew; else that of the first estimate serves.
        """
        spacing, threads = self.scan.volume.spacing, torch.get_num_threads()
        if self._kept_mm is None:
            write_slabs(self._z, self._asked.read, threads)
            return
        kept_mm = self._kept_mm

        def sweep(source: Scratch, into: Scratch, halo: int, correct: Correction) -> None:
            def values(start: int, stop: int) -> NDArray[np.float32]:
                low, high = self._with_halo(start, stop, halo)
                z = correct(source.read(low, high), self.scan[self._slab(low, high)], low)
                return z[:, :, start - low : stop - low]

            write_slabs(into, values, threads)

        sweep(
            self._asked,
            self._z,
            reach(kept_mm, spacing[2]),
            lambda z, u, low: feedback.keep_activity(z, u, kept_mm, spacing),
        )
        if self._residual_noise is None or again:
            with ThreadPoolExecutor(threads) as pool:
                counts = list(pool.map(lambda span: self._residual_counts(*span), slabs(self.box.shape[2])))
            places = noise_map(
                lambda a, b: (self._z.read(a, b), self.scan.body[self._slab(a, b)]),
                self.box.shape,
                spacing,
            )
            self._residual_noise = feedback.residual_noise(np.sum(counts, axis=0), places), places
        (noise, places), width, power = self._residual_noise, feedback.STRUCTURE_MM, feedback.POWER_MM
        sweep(
            self._z,
            self._restored,
            reach(width, spacing[2]) + reach(power, spacing[2]),
            lambda z, u, low: feedback.restore_structure(z, u, noise, spacing, places, low),
        )
        sweep(
            self._restored,
            self._z,
            spot_reach(spacing, axis=2),
            lambda z, u, low: keep_hot_spots(z, u, spacing),
        )

    def _with_halo(self, start: int, stop: int, halo: int) -> tuple[int, int]:
        return max(start - halo, 0), min(stop + halo, self.box.shape[2])

    def _residual_counts(self, start: int, stop: int) -> NDArray[np.int64]:
        """Of the residual in the body of some slices, `feedback.residual_counts`."""
        spacing = self.scan.volume.spacing
        low, high = self._with_halo(start, stop, reach(feedback.STRUCTURE_MM, spacing[2]))
        where = self._slab(low, high)
        body = self.scan.body[where].copy()
        body[:, :, : start - low] = False
        body[:, :, stop - low :] = False
        return feedback.residual_counts(self._z.read(low, high), self.scan[where], body, spacing)
