"""Head and neck: skull, brain, eyes, airways, glands, tonsils, tongue, larynx, thyroid.

Brain masses of ICRP Publication 89 (2002): 1450 g in men, 1300 g in women.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mapdiff.simulate.chest import Noise
from mapdiff.simulate.frame import SIDES, Frame
from mapdiff.simulate.portable import exp
from mapdiff.simulate.shapes import Ellipsoid, Floats, Point, Shape, Tube, Union, rotation, with_volume
from mapdiff.simulate.uptake import MU_BRAIN

_WHITE = 0.30  # uptake of white matter relative to the cortex
_LIQUOR = 0.08


class _Head:
    """Places things in mm from the top of the head."""

    def __init__(self, frame: Frame) -> None:
        self.s = frame.tall**0.5 * (0.97 if frame.female else 1.0)
        self.top = frame.subject.height_cm * 10.0

    def at(self, x: float, y: float, below: float) -> Point:
        return x * self.s, y * self.s, self.top - below * self.s

    def ball(self, c: Point, r: Point, turn: Point = (0, 0, 0), power: float = 2.0) -> Ellipsoid:
        return Ellipsoid(self.at(*c), (r[0] * self.s, r[1] * self.s, r[2] * self.s), rotation(*turn), power)

    def tube(self, points: Sequence[Sequence[float]]) -> Tube:
        p = np.asarray([self.at(x, y, b) for x, y, b, _ in points])
        return Tube(p, np.asarray([r * self.s for *_, r in points]))


def paint_head(frame: Frame) -> None:
    """Neck, face, skull and brain."""
    rng = frame.rng(40)
    h = _Head(frame)
    muscle = frame.muscle_pattern()
    _paint_neck(frame, h, rng)
    frame.add(h.ball((0, 0, 92), (72, 92, 84)), "muscle", 0.75)
    frame.add(h.ball((0, 36, 150), (50, 50, 68), (-12, 0, 0)), "muscle", pattern=muscle)
    skull = h.ball((0, 0, 88), (69, 89, 80))
    frame.add(skull, "bone", 0.6, detail_mm=3)
    _paint_face(frame, h, rng)
    vault: Shape = Union([h.ball((0, 0, 84), (62, 82, 69)), h.ball((0, -46, 128), (46, 32, 26))], 12)
    base = Ellipsoid(h.at(0, 60, 190), (90 * h.s, 80 * h.s, 78 * h.s), rotation(-20))
    frame.add(vault, "csf", _LIQUOR * frame.suv("brain"), outside=(base,), detail_mm=3)
    _paint_brain(frame, h, rng, base)


def _paint_brain(frame: Frame, h: _Head, rng: np.random.Generator, base: Shape) -> None:
    grey = frame.suv("brain")
    half = (1300 if frame.female else 1450) * 0.86 / 2 * float(np.exp(rng.normal(0, 0.05)))
    front = float(rng.normal(1.0, 0.05))

    def cortex(distance: Floats, y: Floats, noise: Noise) -> Floats:
        """Grey ribbon under the surface that follows the walls of folds into the depth."""
        depth = -distance
        fold = np.abs(noise(13.0))
        reach = np.clip(1 - depth / np.float32(24.0), 0, 1)
        wall = exp(-((fold / np.float32(0.55)) ** 2)) * np.sqrt(reach)
        ribbon = 1 / (1 + exp((depth - np.float32(5.0)) / np.float32(1.2)))
        share = np.maximum(ribbon, wall)
        sulcus = exp(-((fold / np.float32(0.10)) ** 2)) * (depth < 16)
        lobes = (
            1 + np.float32(0.07) * noise(38.0) + np.float32(0.10 * (front - 1) * 10) * (y / np.float32(90))
        )
        out: Floats = (_WHITE + (1 - _WHITE) * share) * (1 - np.float32(0.5) * sulcus) * lobes
        return out

    whole = with_volume(
        Union(
            [
                h.ball((0, 4, 78), (60, 79, 60)),
                *(h.ball((side * 40, 22, 108), (20, 42, 24), (-10, 0, 0)) for side in SIDES),
            ],
            14,
        ),
        2 * half,
    )
    # Cutting the fissure out gives the walls between the hemispheres their ribbon of cortex.
    fissure = h.ball((0, 4, 40), (1.8, 110, 48))
    frame.add(
        whole,
        "brain",
        grey,
        mu=MU_BRAIN,
        fine=0.06,
        coarse=0.03,
        pattern=cortex,
        outside=(fissure, base),
        detail_mm=3,
    )
    for side in SIDES:
        deep = 1.05 * grey
        frame.add(h.ball((side * 12, 22, 82), (6, 13, 13)), "brain", deep, mu=MU_BRAIN, detail_mm=3)
        frame.add(
            h.ball((side * 24, 10, 86), (7, 17, 12), (0, 0, side * -12)),
            "brain",
            deep,
            mu=MU_BRAIN,
            detail_mm=3,
        )
        frame.add(h.ball((side * 11, -12, 86), (9, 14, 10)), "brain", 0.95 * grey, mu=MU_BRAIN, detail_mm=3)
        size = float(rng.uniform(0.7, 1.5))
        horn = [(side * 9, 34, 74, 4 * size), (side * 10, 0, 64, 5 * size), (side * 22, -36, 76, 5 * size)]
        frame.add(h.tube(horn), "csf", _LIQUOR * grey, fine=0, detail_mm=3)

        def cerebellum(distance: Floats, y: Floats, noise: Noise) -> Floats:
            out: Floats = (
                np.float32(0.72)
                + np.float32(0.16) * np.clip(np.abs(noise(6.0)), 0, 1.2)
                - np.clip(-distance - 15, 0, 12) / np.float32(40)
            )
            return out

        frame.add(
            h.ball((side * 23, -48, 131), (26, 28, 22)), "brain", 0.92 * grey,
            mu=MU_BRAIN, fine=0.05, pattern=cerebellum, detail_mm=3,
        )  # fmt: skip
    stem = [(0.0, -8, 104, 13.0), (0, -18, 126, 14), (0, -24, 150, 9), (0, -24, 178, 6)]
    frame.add(h.tube(stem), "brain_white", 0.55 * grey, mu=MU_BRAIN, fine=0.06, detail_mm=3)


def _paint_face(frame: Frame, h: _Head, rng: np.random.Generator) -> None:
    bone = 0.6
    jaw = [(52.0, 8, 150, 7.0), (46, 20, 185, 8), (28, 60, 200, 8), (0, 76, 203, 8)]
    upper = [(40.0, 42, 160, 7.0), (24, 68, 164, 7), (0, 76, 165, 7)]
    for side in SIDES:
        for line in (jaw, upper):
            frame.add(h.tube([(side * x, y, b, r) for x, y, b, r in line]), "bone", bone, detail_mm=3)
        frame.add(h.ball((side * 33, 74, 112), (15, 15, 14)), "eyes", 0.6, detail_mm=3)
        for dx, dy in ((11.0, 0.0), (-11.0, 0.0), (0.0, -16.0)):
            muscles = h.tube([(side * (33 + dx), 72 + dy, 112, 3.0), (side * 22, 46, 112, 3.0)])
            frame.add(muscles, "eyes", detail_mm=2)
        parotid = h.ball((side * 60, -6, 158), (11, 17, 24))
        frame.add(parotid, "glands", fine=0.12, detail_mm=3)
        below = h.ball((side * 32, 38, 204), (11, 17, 9))
        frame.add(below, "glands", 1.15 * frame.suv("glands"), fine=0.1, detail_mm=3)
        tonsil = h.ball((side * 17, 10, 176), (6, 8, 13))
        frame.add(tonsil, "tonsils", frame.suv("tonsils") * float(np.exp(rng.normal(0, 0.12))), detail_mm=2)
        sinus = h.ball((side * 27, 56, 138), (12, 14, 14))
        frame.add(sinus, "airway", 0.0, fine=0, detail_mm=3)
    tongue = h.ball((0, 44, 182), (24, 32, 18), (-10, 0, 0))
    frame.add(tongue, "muscle", float(rng.uniform(1.2, 2.6)), coarse=0.15)
    frame.add(h.ball((0, 62, 138), (14, 26, 22)), "mucosa", detail_mm=3)
    frame.add(
        h.tube([(0, 78, 146, 7), (0, 30, 146, 8), (0, 8, 160, 8), (0, 4, 205, 7)]),
        "airway",
        0.0,
        fine=0,
        detail_mm=3,
    )
    roof = h.ball((0, 2, 148), (16, 5, 10))
    frame.add(roof, "tonsils", 0.8 * frame.suv("tonsils"), detail_mm=2)


def _paint_neck(frame: Frame, h: _Head, rng: np.random.Generator) -> None:
    g = frame.girth**0.3 * h.s
    low, high = np.array(frame.at(0, -24, 1445)), np.array(h.at(0, -14, 175))
    core = Tube(np.stack([low, high]), np.array([54.0, 49.0]) * g * (0.88 if frame.female else 1.0))
    frame.add(core, "muscle", pattern=frame.muscle_pattern())
    for side in SIDES:
        strap = Tube(
            np.stack([frame.at(side * 18, 32, 1400), h.at(side * 56, -26, 150)]), np.array([9.0, 10.0])
        )
        frame.add(strap, "muscle", frame.suv("muscle") * float(rng.uniform(0.9, 1.6)))
        lobe = frame.ball((side * 17, 12, 1450), (8, 9, 21))
        frame.add(lobe, "thyroid", fine=0.1, detail_mm=2)
    if rng.random() < 0.12:  # a lively thyroid
        for side in SIDES:
            frame.add(
                frame.ball((side * 17, 12, 1450), (9, 10, 22)),
                "thyroid",
                float(rng.uniform(2.5, 5)),
                detail_mm=2,
            )
    cords = frame.ball((0, 10, 1492), (10, 9, 6))
    frame.add(frame.ball((0, 8, 1494), (19, 16, 18)), "muscle", 1.0)
    frame.add(cords, "mucosa", float(rng.uniform(1.2, 3.5)), detail_mm=2)
