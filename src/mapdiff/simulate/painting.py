"""Paints the parts of a body onto a voxel grid, one over the other, with edges as soft as a voxel is wide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from mapdiff.simulate.shapes import Axis, Box, Field, Floats, Shape, Tube
from mapdiff.simulate.uptake import ORGANS

_WARPS = ((75.0, 4.0), (28.0, 1.2))  # knot distance and SD of the random displacement, mm
_WARP_REACH = 20.0  # no displacement is longer than this, mm

#: Relative uptake from the signed distance (mm), the position y (mm) and fields by their knot distance.
Pattern = Callable[[Floats, Floats, Callable[[float], Floats]], Floats]


@dataclass(frozen=True)
class Part:
    """One piece of tissue.

    Attributes:
        shape: where it is, in the upright and symmetric body before posture and warp.
        organ: its name in ORGANS.
        suv: its mean SUV.
        mu: its attenuation at 511 keV, 1/mm.
        fine: relative SD of the uptake over about 8 mm.
        coarse: relative SD of the uptake over about 25 mm.
        pattern: further relative uptake.
        inside: the part is cut to these.
        outside: these are cut from the part.
        outline: the part makes the body; all others are cut to what these cover.
        detail_mm: voxels wider than this are subdivided, for small things.
        lesion: number of the lesion, 0 if it is none.
    """

    shape: Shape
    organ: str
    suv: float
    mu: float
    fine: float = 0.04
    coarse: float = 0.05
    pattern: Pattern | None = None
    inside: tuple[Shape, ...] = ()
    outside: tuple[Shape, ...] = ()
    outline: bool = False
    detail_mm: float = 10.0
    lesion: int = 0


@dataclass(frozen=True)
class Posture:
    """How the body lies: sideways bends, turns about the long axis and a random smooth warp.

    Attributes:
        knots: (N, 4): z in mm, shift of x and y in mm, turn in degrees.
        seed: what the warp is drawn from.
    """

    knots: NDArray[np.float64]
    seed: int

    @cached_property
    def _curve(self) -> CubicSpline:
        return CubicSpline(self.knots[:, 0], self.knots[:, 1:], bc_type="natural")

    @cached_property
    def _fields(self) -> list[tuple[list[Field], float]]:
        return [
            ([Field(self.seed + 10 * n + axis, knot) for axis in range(3)], sd)
            for n, (knot, sd) in enumerate(_WARPS)
        ]

    def _bends(self, z: Axis) -> tuple[Axis, Axis, Axis]:
        z = np.clip(z, self.knots[0, 0], self.knots[-1, 0])
        sx, sy, turn = self._curve(z).T
        return sx, sy, np.radians(turn)

    def __call__(self, x: Axis, y: Axis, z: Axis) -> tuple[Floats, Floats, Floats]:
        """Where the points of a grid (axes in mm) come from in the upright body, three arrays (I, J, K)."""
        sx, sy, turn = self._bends(z)
        c, s = np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32)
        u = x[:, None, None].astype(np.float32) - sx.astype(np.float32)
        v = y[None, :, None].astype(np.float32) - sy.astype(np.float32)
        out = [
            u * c + v * s,
            v * c - u * s,
            np.broadcast_to(z.astype(np.float32), (len(x), len(y), len(z))).copy(),
        ]
        for fields, sd in self._fields:
            for axis in range(3):
                out[axis] += np.float32(sd) * np.clip(fields[axis](x, y, z), -3, 3)
        return out[0], out[1], out[2]

    def bounds(self, box: Box) -> Box:
        """Bounds in the room of what has these bounds in the upright body."""
        (x0, x1), (y0, y1), (z0, z1) = box
        z = np.linspace(z0 - _WARP_REACH, z1 + _WARP_REACH, 17)
        sx, sy, turn = self._bends(z)
        x, y = [], []
        for u in (x0 - _WARP_REACH, x1 + _WARP_REACH):
            for v in (y0 - _WARP_REACH, y1 + _WARP_REACH):
                x.append(u * np.cos(turn) - v * np.sin(turn) + sx)
                y.append(u * np.sin(turn) + v * np.cos(turn) + sy)
        return (
            (float(np.min(x)) - 2, float(np.max(x)) + 2),
            (float(np.min(y)) - 2, float(np.max(y)) + 2),
            (z0 - _WARP_REACH, z1 + _WARP_REACH),
        )


class Canvas:
    """A grid that parts are painted on.

    Args:
        x: voxel centres along i, mm; y and z likewise.
        posture: how the body lies.
        seed: what the textures are drawn from.
    """

    def __init__(self, x: Axis, y: Axis, z: Axis, posture: Posture, seed: int) -> None:
        """Start with air."""
        self.axes = (x, y, z)
        self.posture = posture
        shape = (len(x), len(y), len(z))
        self.suv = np.zeros(shape, np.float32)
        self.mu = np.zeros(shape, np.float32)
        self.organs = np.zeros(shape, np.uint8)
        self.lesions = np.zeros(shape, np.uint8)
        self._skin = np.zeros(shape, np.float32)
        self._upright = posture(x, y, z)
        self._seed = seed
        self._fields: dict[float, Floats] = {}
        self._step = [abs(float(a[1] - a[0])) if len(a) > 1 else 1.0 for a in self.axes]
        self.width = float(np.prod(self._step)) ** (1 / 3)

    def set_step(self, spacing: tuple[float, float, float]) -> None:
        """State the voxel size, which an axis with one voxel does not tell."""
        self._step = list(spacing)
        self.width = float(np.prod(spacing)) ** (1 / 3)

    def _slices(self, box: Box) -> tuple[slice, slice, slice] | None:
        out = []
        for axis, step, (low, high) in zip(self.axes, self._step, box, strict=True):
            first = int(np.searchsorted(axis, low - step))
            last = int(np.searchsorted(axis, high + step))
            if first >= last:
                return None
            out.append(slice(first, last))
        return out[0], out[1], out[2]

    def _tightened(self, at: tuple[slice, slice, slice], box: Box) -> tuple[slice, slice, slice] | None:
        """The rows, columns and slices in which the upright coordinates come near a shape's bounds."""
        near = np.ones(self.suv[at].shape, bool)
        for c, (low, high) in zip(self._upright, box, strict=True):
            near &= (c[at] > low - 2 * self.width) & (c[at] < high + 2 * self.width)
        out = []
        for axis in range(3):
            hit = np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis)))
            if not len(hit):
                return None
            out.append(slice(at[axis].start + int(hit[0]), at[axis].start + int(hit[-1]) + 1))
        return out[0], out[1], out[2]

    def _field(self, knot_mm: float) -> Floats:
        if knot_mm not in self._fields:
            self._fields[knot_mm] = Field(self._seed + round(100 * knot_mm), knot_mm)(*self.axes)
        return self._fields[knot_mm]

    def _small_field(self, knot_mm: float, at: tuple[slice, slice, slice]) -> Floats:
        if knot_mm in self._fields or self.suv[at].size > 0.1 * self.suv.size:
            return self._field(knot_mm)[at]
        axes = [a[s] for a, s in zip(self.axes, at, strict=True)]
        return Field(self._seed + round(100 * knot_mm), knot_mm)(*axes)

    def paint(self, part: Part) -> None:
        """Paint a part over what is there."""
        at = self._slices(self.posture.bounds(part.shape.box))
        at = None if at is None else self._tightened(at, part.shape.box)
        if at is None:
            return
        n = int(np.ceil(self.width / part.detail_mm))
        if n <= 1:
            x, y, z = (c[at] for c in self._upright)
            distance, factor = _distance(part, (x, y, z))
            cover = np.clip(0.5 - distance / np.float32(self.width), 0, 1)
        else:
            # Within a voxel the body is taken as only shifted: turns and warps are gentle.
            x, y, z = (
                _subdivided(c[at], a, d, n)
                for a, (c, d) in enumerate(zip(self._upright, self._step, strict=True))
            )
            distance, factor = _distance(part, (x, y, z))
            cover = _pool(np.clip(0.5 - distance * np.float32(n / self.width), 0, 1), n)
            distance = _pool(distance, n)
            factor = factor if isinstance(factor, float) else _pool(factor, n)
        if part.outline:
            self._skin[at] = np.maximum(self._skin[at], cover)
        else:
            cover = np.minimum(cover, self._skin[at])
        if not cover.any():
            return
        value = np.float32(part.suv) * factor
        if part.fine:
            value = value * np.maximum(
                1 + np.float32(part.fine) * self._small_field(8.0, at), np.float32(0.1)
            )
        if part.coarse:
            value = value * np.maximum(
                1 + np.float32(part.coarse) * self._small_field(25.0, at), np.float32(0.1)
            )
        if part.pattern is not None:
            upright = self._upright[1][at]
            value = value * part.pattern(distance, upright, lambda knot: self._small_field(knot, at))
        self.suv[at] += cover * (value - self.suv[at])
        self.mu[at] += cover * (np.float32(part.mu) - self.mu[at])
        if part.lesion:
            self.lesions[at][cover >= 0.5] = part.lesion
        else:
            self.organs[at][cover >= 0.5] = ORGANS[part.organ]


def _distance(part: Part, xyz: tuple[Floats, Floats, Floats]) -> tuple[Floats, Floats | float]:
    """Distance to a part, and the factor on its uptake along a tube."""
    factor: Floats | float = 1.0
    if isinstance(part.shape, Tube):
        distance, factor = _tube_distance(part.shape, xyz)
    else:
        distance = part.shape.distance(*xyz)
    for other in part.inside:
        distance = np.maximum(distance, other.distance(*xyz))
    for other in part.outside:
        distance = np.maximum(distance, -other.distance(*xyz))
    return distance, factor


def _tube_distance(tube: Tube, xyz: tuple[Floats, Floats, Floats]) -> tuple[Floats, Floats | float]:
    """Distance to a tube, each capsule measured only near itself."""
    margin = 8.0
    # A warp moves points by little, so the bounds of rows, columns and slices in the upright body are tight.
    spans = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        spans.append((xyz[axis].min(axis=others), xyz[axis].max(axis=others)))
    distance = np.full(xyz[0].shape, 1e3, np.float32)
    factor = None if tube.strength is None else np.ones(xyz[0].shape, np.float32)
    for capsule in tube.segments():
        at = []
        for (low, high), (first, last) in zip(spans, capsule.box, strict=True):
            hit = np.flatnonzero((high >= first - margin) & (low <= last + margin))
            at.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0))
        here = (at[0], at[1], at[2])
        x, y, z = (c[here] for c in xyz)
        if not x.size:
            continue
        d = capsule.distance(x, y, z)
        near = d < distance[here]
        distance[here] = np.where(near, d, distance[here])
        if factor is not None:
            factor[here] = np.where(near, capsule.factor(x, y, z), factor[here])
    return distance, 1.0 if factor is None else factor


def _subdivided(c: Floats, axis: int, step: float, n: int) -> Floats:
    """Coordinates of n x n x n points in every voxel."""
    inner = ((np.arange(n) - (n - 1) / 2) * (step / n)).astype(np.float32)
    inner = inner.reshape([n if m == 2 * axis + 1 else 1 for m in range(6)])
    i, j, k = c.shape
    fine = np.broadcast_to(c[:, None, :, None, :, None] + inner, (i, n, j, n, k, n))
    return fine.reshape(i * n, j * n, k * n)


def _pool(a: Floats, n: int) -> Floats:
    i, j, k = (s // n for s in a.shape)
    out: Floats = a.reshape(i, n, j, n, k, n).mean(axis=(1, 3, 5))
    return out
