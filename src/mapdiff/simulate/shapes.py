"""Analytic shapes of a body: signed distances in millimetres, and smooth random fields over space.

Everything here is a function of position alone, so that any slab of a body can be drawn by itself and two
overlapping slabs agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from mapdiff.simulate.portable import power

Axis = NDArray[np.float64]
Floats = NDArray[np.float32]
Point = tuple[float, float, float]
Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

# Standard deviation of cubic B-splines with independent unit normal weights, over one axis: the mean over
# the phase of the sum of the squared spline values is 151/315.
_SPLINE_SD = (151.0 / 315.0) ** 0.5
_PERIOD = 64
_ROWS = 16  # of a field, worked out at once


def _spline_rows(x: Axis, knot_mm: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Knots that matter for the positions x, and the matrix from these knots to x."""
    t = x / knot_mm
    cell = np.floor(t).astype(np.int64)
    f = t - cell
    values = np.stack(
        [(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3],
    )
    first = int(cell.min()) - 1
    rows = np.zeros((len(x), int(cell.max()) + 3 - first))
    index = np.arange(len(x))
    for k in range(4):
        rows[index, cell - 1 - first + k] = values[k] / 6.0
    return np.arange(first, first + rows.shape[1]), rows


@dataclass(frozen=True)
class Field:
    """A smooth random field over space: mean 0, standard deviation 1, cubic B-splines on a coarse grid.

    Attributes:
        seed: what the field is drawn from.
        knot_mm: distance of the grid's knots; the field repeats after 64 of them.
    """

    seed: int
    knot_mm: float

    @cached_property
    def _table(self) -> Floats:
        rng = np.random.default_rng(self.seed)
        return rng.standard_normal((_PERIOD,) * 3).astype(np.float32) / np.float32(_SPLINE_SD**3)

    def __call__(self, x: Axis, y: Axis, z: Axis) -> Floats:
        """The field on the grid that three axes (mm) span, shape (len(x), len(y), len(z))."""
        (ix, wx), (iy, wy), (iz, wz) = (_spline_rows(a, self.knot_mm) for a in (x, y, z))
        knots = self._table[np.ix_(ix % _PERIOD, iy % _PERIOD, iz % _PERIOD)]
        # In float64: each processor adds up in an order of its own (`simulate.portable`).
        planes = wy @ (knots.astype(np.float64) @ wz.T)
        found = np.empty((len(x), len(y), len(z)), np.float32)
        for start in range(0, len(x), _ROWS):
            found[start : start + _ROWS] = np.tensordot(wx[start : start + _ROWS], planes, 1)
        return found


class Shape(Protocol):
    """A region of space."""

    @property
    def box(self) -> Box:
        """Bounds that hold the shape: (low, high) along x, y and z, mm."""
        ...

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Signed distance to the surface in mm, negative inside; close to true near the surface only."""
        ...


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, or with a power above 2 a rounded box; axes are the columns of a rotation matrix."""

    centre: Point
    radii: Point
    axes: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    power: float = 2.0

    @cached_property
    def box(self) -> Box:
        """Bounds of the rotated shape."""
        reach = np.sqrt(((self.axes * np.asarray(self.radii)) ** 2).sum(axis=1))
        if self.power > 2:
            reach = np.abs(self.axes * np.asarray(self.radii)).sum(axis=1)
        return _box(np.asarray(self.centre) - reach, np.asarray(self.centre) + reach)

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """First order distance r (r - 1) / |grad| of the normalised radius r."""
        offset = (
            x - np.float32(self.centre[0]),
            y - np.float32(self.centre[1]),
            z - np.float32(self.centre[2]),
        )
        turned = not np.array_equal(self.axes, np.eye(3))
        total: Any = np.float32(0)
        slope: Any = np.float32(0)
        for n in range(3):
            a = self.axes[:, n].astype(np.float32)
            along = offset[0] * a[0] + offset[1] * a[1] + offset[2] * a[2] if turned else offset[n]
            u = along / np.float32(self.radii[n])
            if self.power == 2.0:
                u = u * u
                slope = slope + u / np.float32(self.radii[n] ** 2)
            else:
                size = np.abs(u)
                u = power(size, self.power)
                slope = slope + (u / np.maximum(size, np.float32(1e-3)) / np.float32(self.radii[n])) ** 2
            total = total + u
        r = power(total, 1 / self.power)
        gradient = np.sqrt(slope) * power(np.maximum(r, np.float32(1e-3)), 1 - self.power)
        out: Floats = (r - 1) / np.maximum(gradient, np.float32(0.2 / max(self.radii)))
        return out


@dataclass(frozen=True)
class Tube:
    """A chain of tapered capsules.

    Attributes:
        points: the centre line, (N, 3) mm.
        radii: the radius at each point, mm.
        strength: a factor on the uptake at each point, for tubes whose uptake varies along their course.
    """

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    strength: NDArray[np.float64] | None = None

    @cached_property
    def box(self) -> Box:
        """Bounds of all capsules."""
        r = self.radii[:, None]
        return _box((self.points - r).min(axis=0), (self.points + r).max(axis=0))

    def segments(self) -> list[Tube]:
        """The capsules one by one: each is drawn inside its own small bounds."""
        return [
            Tube(
                self.points[n : n + 2],
                self.radii[n : n + 2],
                None if self.strength is None else self.strength[n : n + 2],
            )
            for n in range(len(self.points) - 1)
        ]

    def _along(self, n: int, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        a = self.points[n].astype(np.float32)
        ab = (self.points[n + 1] - self.points[n]).astype(np.float32)
        dx, dy, dz = x - a[0], y - a[1], z - a[2]
        t = np.clip((dx * ab[0] + dy * ab[1] + dz * ab[2]) / np.float32(max(float(ab @ ab), 1e-6)), 0, 1)
        gap = np.sqrt((dx - t * ab[0]) ** 2 + (dy - t * ab[1]) ** 2 + (dz - t * ab[2]) ** 2)
        r0, r1 = np.float32(self.radii[n]), np.float32(self.radii[n + 1])
        return gap - (r0 + t * (r1 - r0)), t

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Least distance to any capsule."""
        best = self._along(0, x, y, z)[0]
        for n in range(1, len(self.points) - 1):
            best = np.minimum(best, self._along(n, x, y, z)[0])
        return best

    def factor(self, x: Floats, y: Floats, z: Floats) -> Floats | float:
        """The strength at the nearest place of a single capsule; 1 if the tube has none."""
        if self.strength is None:
            return 1.0
        t = self._along(0, x, y, z)[1]
        s0, s1 = np.float32(self.strength[0]), np.float32(self.strength[1])
        out: Floats = s0 + t * (s1 - s0)
        return out


@dataclass(frozen=True)
class Stack:
    """Rounded cross-sections along z, smoothly interpolated.

    Attributes:
        rows: (N, 5) in ascending z: z, centre x, centre y, half width, half depth, mm.
        power: exponent of the superellipse: 2 is an ellipse, more is boxier.
    """

    rows: NDArray[np.float64]
    power: float = 2.0

    @cached_property
    def box(self) -> Box:
        """Bounds of all cross-sections."""
        z, cx, cy, a, b = self.rows.T
        low = (float((cx - a).min()), float((cy - b).min()), float(z[0]))
        return _box(np.asarray(low), np.asarray([(cx + a).max(), (cy + b).max(), z[-1]]))

    @cached_property
    def _table(self) -> Floats:
        z = np.arange(self.rows[0, 0], self.rows[-1, 0] + 0.5, 0.5)
        values = PchipInterpolator(self.rows[:, 0], self.rows[:, 1:])(z, extrapolate=True)
        return np.asarray(values, np.float32)

    def at(self, z: float) -> tuple[float, float, float, float]:
        """Centre x, centre y, half width and half depth at one height."""
        index = int(np.clip((z - self.rows[0, 0]) * 2, 0, len(self._table) - 1))
        cx, cy, a, b = (float(v) for v in self._table[index])
        return cx, cy, a, b

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Distance along the ray from the cross-section's centre, and to the flat ends."""
        low, high = np.float32(self.rows[0, 0]), np.float32(self.rows[-1, 0])
        index = np.clip((z - low) * 2, 0, len(self._table) - 1).astype(np.int32)
        u, v = x - self._table[:, 0][index], y - self._table[:, 1][index]
        a, b = self._table[:, 2][index], self._table[:, 3][index]
        square_u, square_v = u * u, v * v
        ray = np.sqrt(square_u + square_v)
        square_u, square_v = np.broadcast_arrays(square_u / (a * a), square_v / (b * b))
        r = square_u + square_v
        if self.power != 2.0:
            # Powers are slow: only near the surface, where the ellipse and the boxier shape differ little.
            p = self.power / 2
            near = (r > 0.4) & (r < 2.0)
            r[near] = power(power(square_u[near], p) + power(square_v[near], p), 1 / p)
        r = np.sqrt(r)
        inside = (r - 1) * ray / np.maximum(r, np.float32(1e-3))
        out: Floats = np.maximum(inside, np.maximum(z - high, low - z))
        return out


@dataclass(frozen=True)
class Union:
    """Shapes melted into one over a length of blend_mm."""

    shapes: Sequence[Shape]
    blend_mm: float = 8.0

    @cached_property
    def box(self) -> Box:
        """Bounds of all shapes, with room for the melted seams."""
        boxes = np.asarray([s.box for s in self.shapes])
        return _box(
            boxes[:, :, 0].min(axis=0) - 0.25 * self.blend_mm,
            boxes[:, :, 1].max(axis=0) + 0.25 * self.blend_mm,
        )

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Polynomial smooth minimum of the distances."""
        best = self.shapes[0].distance(x, y, z)
        k = np.float32(self.blend_mm)
        for shape in self.shapes[1:]:
            d = shape.distance(x, y, z)
            h = np.maximum(k - np.abs(best - d), 0) / k
            best = np.minimum(best, d) - h * h * (k / 4)
        return best


@dataclass(frozen=True)
class Inset:
    """A shape whose surface is moved inwards by a depth."""

    shape: Shape
    depth_mm: float

    @property
    def box(self) -> Box:
        """Bounds of the shape itself, which hold the inset."""
        return self.shape.box

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """The shape's distance and the depth."""
        out: Floats = self.shape.distance(x, y, z) + np.float32(self.depth_mm)
        return out


@dataclass(frozen=True)
class Scaled:
    """A shape grown or shrunk about a point."""

    shape: Shape
    centre: Point
    factor: float

    @cached_property
    def box(self) -> Box:
        """Bounds of the scaled shape."""
        c = np.asarray(self.centre)
        b = np.asarray(self.shape.box)
        return _box(c + (b[:, 0] - c) * self.factor, c + (b[:, 1] - c) * self.factor)

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """The shape's distance, scaled."""
        f = np.float32(self.factor)
        cx, cy, cz = (np.float32(c) for c in self.centre)
        out: Floats = self.shape.distance((x - cx) / f + cx, (y - cy) / f + cy, (z - cz) / f + cz) * f
        return out


def _box(low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
    return (
        (float(low[0]), float(high[0])),
        (float(low[1]), float(high[1])),
        (float(low[2]), float(high[2])),
    )


def volume_ml(shape: Shape, step_mm: float = 3.0) -> float:
    """Volume of a shape in mL, by counting points."""
    axes = [np.arange(low - step_mm, high + step_mm, step_mm, dtype=np.float32) for low, high in shape.box]
    d = shape.distance(axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])
    return float(np.clip(0.5 - d / step_mm, 0, 1).sum()) * step_mm**3 / 1000


def with_volume(shape: Shape, millilitres: float, step_mm: float = 3.0) -> Scaled:
    """The shape scaled about its bounds' centre to a volume."""
    (x0, x1), (y0, y1), (z0, z1) = shape.box
    factor = (millilitres / volume_ml(shape, step_mm)) ** (1 / 3)
    return Scaled(shape, ((x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2), factor)


def rotation(about_x: float = 0.0, about_y: float = 0.0, about_z: float = 0.0) -> NDArray[np.float64]:
    """Rotation matrix from angles in degrees, x first."""
    a, b, c = np.radians([about_x, about_y, about_z])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    out: NDArray[np.float64] = rz @ ry @ rx
    return out
