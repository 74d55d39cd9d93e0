"""The frame that anatomy is built in: a reference adult of 175 cm, scaled to a subject.

All lengths in the anatomy files are millimetres of that reference adult, z from the heels; `Frame.at` brings
them to the subject. x is to the patient's RIGHT, so the liver has positive x and the spleen negative x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mapdiff.simulate.painting import Part, Pattern
from mapdiff.simulate.portable import exp
from mapdiff.simulate.shapes import Ellipsoid, Floats, Point, Shape, Stack, Tube, rotation
from mapdiff.simulate.subject import Subject
from mapdiff.simulate.uptake import MU, MU_SOFT, Uptake

#: Sides: the patient's right and left.
SIDES = (1.0, -1.0)


@dataclass
class Anatomy:
    """Parts in the order of painting, and places where lesions grow.

    Attributes:
        parts: tissues, later ones over earlier ones.
        regions: shapes that a lesion's centre may lie in, by site.
        nodes: points where lymph nodes lie, by site.
    """

    parts: list[Part] = field(default_factory=list)
    regions: dict[str, list[Shape]] = field(default_factory=dict)
    nodes: dict[str, list[Point]] = field(default_factory=dict)


class Frame:
    """A subject's scales, and short ways to make shapes and parts with them.

    Args:
        subject: whose body.
        uptake: its uptake.
        seed: what its anatomy is drawn from.
        girth: factor on the widths of trunk and limbs.
    """

    def __init__(self, subject: Subject, uptake: Uptake, seed: int, girth: float) -> None:
        """Work out the scales."""
        self.subject = subject
        self.uptake = uptake
        self.girth = girth
        self.seed = seed
        self.female = subject.sex == "F"
        self.tall = subject.height_cm / 175.0
        self.bmi = subject.weight_kg / (subject.height_cm / 100) ** 2
        # The cage and the organs grow with height, and far less with weight than the skin does.
        self.wide = (
            self.tall**0.6 * float(np.clip(1 + 0.3 * (girth - 1), 0.85, 1.2)) * (0.95 if self.female else 1.0)
        )
        self.limb = self.tall**0.4 * girth**0.85
        # Lean mass drives organ mass: the mean of two adults' spread is taken, not a formula of one organ.
        self.organ = float(np.clip((subject.weight_kg / 70) ** 0.35 * self.tall, 0.75, 1.35))
        self.anatomy = Anatomy()

    def rng(self, section: int) -> np.random.Generator:
        """A generator for one section of the anatomy, the same at any girth."""
        return np.random.default_rng([self.seed, section])

    def at(self, x: float, y: float, z: float) -> Point:
        """A point of the reference adult in the subject."""
        return x * self.wide, y * self.wide, z * self.tall

    def path(self, points: Sequence[Sequence[float]], radius_scale: float | None = None) -> Tube:
        """A tube through reference points (x, y, z, radius)."""
        p = np.asarray(points, dtype=float)
        scale = self.wide if radius_scale is None else radius_scale
        return Tube(p[:, :3] * [self.wide, self.wide, self.tall], p[:, 3] * scale)

    def ball(
        self, centre: Point, radii: Point, turn: tuple[float, float, float] = (0, 0, 0), power: float = 2.0
    ) -> Ellipsoid:
        """An ellipsoid of the reference adult; turn: degrees about x, y, z."""
        c = self.at(*centre)
        r = (radii[0] * self.wide, radii[1] * self.wide, radii[2] * self.tall)
        return Ellipsoid(c, r, rotation(*turn), power)

    def stack(self, rows: Sequence[Sequence[float]], power: float = 2.0) -> Stack:
        """A stack of the reference adult's cross-sections (z, x, y, half width, half depth)."""
        r = np.asarray(rows, dtype=float) * [self.tall, self.wide, self.wide, self.wide, self.wide]
        return Stack(r[np.argsort(r[:, 0])], power)

    def suv(self, tissue: str) -> float:
        """The subject's SUV of a tissue."""
        return self.uptake.suv[tissue]

    def add(
        self,
        shape: Shape,
        organ: str,
        suv: float | None = None,
        *,
        mu: float | None = None,
        fine: float = 0.04,
        coarse: float = 0.05,
        pattern: Pattern | None = None,
        inside: tuple[Shape, ...] = (),
        outside: tuple[Shape, ...] = (),
        outline: bool = False,
        detail_mm: float = 10.0,
    ) -> None:
        """Paint a shape next; SUV and attenuation default to the organ's."""
        suv = self.suv(organ) if suv is None else suv
        mu = MU.get(organ, MU_SOFT) if mu is None else mu
        self.anatomy.parts.append(
            Part(shape, organ, suv, mu, fine, coarse, pattern, inside, outside, outline, detail_mm)
        )

    def muscle_pattern(self) -> Pattern:
        """Muscles differ from one another, with seams of fat between them."""
        spread = np.float32(1.2 * self.uptake.muscle_spread)

        def pattern(distance: Floats, y: Floats, noise: object) -> Floats:
            of = noise
            assert callable(of)
            seams = exp(-((of(24.0) / np.float32(0.14)) ** 2))
            out: Floats = np.maximum(1 + spread * of(45.0) - np.float32(0.5) * seams, np.float32(0.2))
            return out

        return pattern


def smooth_path(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """A line through points (N, D), smoothly, resampled to count points."""
    from scipy.interpolate import CubicSpline

    gaps = np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1)
    t = np.concatenate([[0.0], np.cumsum(np.maximum(gaps, 1e-3))])
    out: NDArray[np.float64] = CubicSpline(t, points, bc_type="natural")(np.linspace(0, t[-1], count))
    return out
