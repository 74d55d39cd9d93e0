"""A parametric whole-body phantom: a person drawn at random, and the person's voxels on any grid.

Coordinates are millimetres, RAS+: x to the patient's right (left is negative), y to the front, z to the
head, z = 0 at the heels. Voxel axes i, j, k follow x, y, z, so an affine is diag(spacing) with a translation.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mapdiff.body import MU_WATER
from mapdiff.errors import InputError
from mapdiff.simulate.anatomy import build, outline_litres
from mapdiff.simulate.lesions import Lesion, draw_lesions
from mapdiff.simulate.painting import Canvas, Part, Posture
from mapdiff.simulate.shapes import Box
from mapdiff.simulate.subject import Subject, draw_subject
from mapdiff.simulate.uptake import ORGANS, Uptake, draw_uptake

__all__ = ["ORGANS", "Body", "Lesion", "Rasters", "Subject", "draw_body", "draw_subject"]

_SLAB = 48  # slices painted at a time, which with the workers bounds the memory
_WORKERS = 2


@dataclass(frozen=True)
class Rasters:
    """A body on a grid; all arrays (I, J, K) with i to the patient's right, j to the front, k to the head.

    Attributes:
        suv: the true activity as SUVbw, float32.
        mu: linear attenuation at 511 keV, 1/mm, float32.
        organs: labels of ORGANS, 0 outside, uint8.
        lesions: the number of the lesion that fills more than half of the voxel, else 0, uint8.
    """

    suv: NDArray[np.float32]
    mu: NDArray[np.float32]
    organs: NDArray[np.uint8]
    lesions: NDArray[np.uint8]

    def mass_kg(self, spacing_mm: tuple[float, float, float]) -> float:
        """Mass within the grid, with attenuation taken as proportional to density (water: 0.0096/mm)."""
        return float(self.mu.sum(dtype=np.float64)) / MU_WATER * float(np.prod(spacing_mm)) * 1e-6


@dataclass(frozen=True)
class Body:
    """All that makes one body; the same body gives the same voxels on any grid.

    Attributes:
        subject: who it is.
        seed: what anatomy and textures are drawn from.
        girth: factor on the body's widths that makes the weight right.
        uptake: FDG uptake of the tissues.
        lesions: the lesions, numbered from 1 in the masks.
        posture: how the body lies.
    """

    subject: Subject
    seed: int
    girth: float
    uptake: Uptake
    posture: Posture
    lesions: tuple[Lesion, ...] = ()

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Tissues in the order of painting, lesions last."""
        anatomy = build(self.subject, self.uptake, self.seed, self.girth)
        return (*anatomy.parts, *(lesion.part for lesion in self.lesions))

    @property
    def z_extent_mm(self) -> tuple[float, float]:
        """Heels and top of the head, mm; raised arms may reach higher."""
        return 0.0, self.subject.height_cm * 10.0

    def rasterise(
        self,
        spacing_mm: tuple[float, float, float],
        shape: tuple[int, int, int],
        centre_mm: tuple[float, float, float],
        *,
        quick: bool = False,
    ) -> Rasters:
        """Draw the body on a grid.

        Args:
            spacing_mm: voxel size along x, y, z, mm.
            shape: voxels along i, j, k.
            centre_mm: where the grid's centre lies in the body's coordinates, mm.
            quick: do not subdivide voxels for small things; good enough to weigh the body.

        Raises:
            InputError: a voxel size or a shape is not positive.
        """
        if min(spacing_mm) <= 0 or min(shape) < 1:
            raise InputError(f"cannot draw a body on a grid of {shape} voxels of {spacing_mm} mm")
        x, y, z = (
            np.asarray(c + (np.arange(n) - (n - 1) / 2) * s, np.float64)
            for c, n, s in zip(centre_mm, shape, spacing_mm, strict=True)
        )
        out = Rasters(
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.uint8),
        )

        placed = [(part, self.posture.bounds(part.shape.box)) for part in self.parts]

        def paint(start: int) -> None:
            stop = min(start + _SLAB, shape[2])
            self._paint(placed, x, y, z[start:stop], spacing_mm, out, slice(start, stop), quick)

        with ThreadPoolExecutor(max_workers=_WORKERS) as pool:  # each slab has its own slices of the output
            list(pool.map(paint, range(0, shape[2], _SLAB)))
        return out

    def _paint(
        self,
        placed: list[tuple[Part, Box]],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        z: NDArray[np.float64],
        spacing: tuple[float, float, float],
        out: Rasters,
        k: slice,
        quick: bool,
    ) -> None:
        low, high = float(z[0]) - spacing[2], float(z[-1]) + spacing[2]
        here = [(p, b) for p, b in placed if b[2][0] <= high and b[2][1] >= low]
        skin = np.asarray([b for p, b in here if p.outline])
        if not len(skin):
            return
        at = []
        for axis, line in enumerate((x, y)):
            first = int(np.searchsorted(line, skin[:, axis, 0].min() - spacing[axis]))
            at.append(slice(first, int(np.searchsorted(line, skin[:, axis, 1].max() + spacing[axis]))))
        if min(s.stop - s.start for s in at) < 1:
            return
        canvas = Canvas(x[at[0]], y[at[1]], z, self.posture, self.seed)
        canvas.set_step(spacing)
        for part, _ in here:
            canvas.paint(replace(part, detail_mm=1e3) if quick else part)
        for target, painted in (
            (out.suv, np.maximum(canvas.suv, 0)),
            (out.mu, canvas.mu),
            (out.organs, canvas.organs),
            (out.lesions, canvas.lesions),
        ):
            target[at[0], at[1], k] = painted


def draw_body(rng: np.random.Generator, subject: Subject, lesions: int = 1) -> Body:
    """Draw a body that weighs what the subject weighs.

    Args:
        rng: where the randomness comes from.
        subject: whose body.
        lesions: how many times as many lesions as a body has.
    """
    seed = int(rng.integers(2**31))
    uptake = draw_uptake(rng, subject)
    height = subject.height_cm * 10.0
    knots = np.zeros((6, 4))
    knots[:, 0] = np.array([0.0, 0.25, 0.5, 0.68, 0.84, 0.96]) * height
    knots[:, 1] = rng.normal(0, 1, 6) * [10, 6, 4, 4, 4, 5] + rng.normal(0, 6)
    knots[:, 2] = rng.normal(0, 1, 6) * [3, 3, 3, 3, 3, 5] + rng.normal(0, 6)
    knots[:, 3] = rng.normal(0, 1.2, 6) + rng.normal(0, 1.5)
    knots[-1, 3] += rng.normal(0, 2.5 if subject.arms_up else 7)
    body = Body(subject, seed, 1.0, uptake, Posture(knots, int(rng.integers(2**31))))
    body = replace(body, girth=_girth(body))
    anatomy = build(subject, uptake, seed, body.girth)
    return replace(body, lesions=draw_lesions(rng, anatomy, uptake, lesions))


def _girth(body: Body) -> float:
    """The girth at which the body has its weight: weigh it once, then follow the outlines' volume."""
    height = body.subject.height_cm * 10.0
    step, shape = (8.0, 8.0, 8.0), (100, 64, int((height + 420) / 8))
    girth = _girth_of(body, body.subject.weight_kg + 1.5)
    trial = replace(body, girth=girth)
    mass = trial.rasterise(step, shape, (0.0, 0.0, height / 2 + 200), quick=True).mass_kg(step)
    litres = outline_litres(body.subject, body.seed, girth)
    return _girth_of(body, litres + body.subject.weight_kg - mass)


def _girth_of(body: Body, litres: float) -> float:
    """The girth at which the outline holds a volume, by the secant rule."""
    a, b = 0.8, 1.3
    fa, fb = (outline_litres(body.subject, body.seed, g) - litres for g in (a, b))
    for _ in range(4):
        c = float(np.clip(b - fb * (b - a) / (fb - fa), 0.5, 2.4))
        a, fa, b = b, fb, round(c, 4)
        if abs(b - a) < 1e-3:
            break
        fb = outline_litres(body.subject, body.seed, b) - litres
    return b
