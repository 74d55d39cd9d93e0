"""Chest: lungs, airways, mediastinum, heart, great vessels, gullet.

Volumes are of the order of the reference adults of ICRP Publication 89 (2002): lungs of a person who breathes
freely about 3 L in men and 2.5 L in women with the air, left ventricular wall about 150 and 110 mL.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mapdiff.simulate.frame import SIDES, Frame
from mapdiff.simulate.shapes import Ellipsoid, Floats, Shape, Tube, Union
from mapdiff.simulate.skeleton import spine_y

Noise = Callable[[float], Floats]

#: Where lymph nodes lie, on the right; the left mirrors them.
_NODES: dict[str, list[tuple[float, float, float]]] = {
    "neck node": [(36, 0, 1450), (44, -4, 1490), (46, 2, 1525), (60, -12, 1435)],
    "axillary node": [(118, 2, 1370), (124, -14, 1352), (114, 12, 1348), (120, -6, 1330)],
    "mediastinal node": [(16, -8, 1362), (14, -22, 1322), (36, -28, 1305), (22, 26, 1372), (6, -36, 1290)],
    "retroperitoneal node": [(16, -18, 1120), (20, -10, 1085), (22, -6, 1055), (28, -20, 1000)],
    "pelvic node": [(46, -6, 958), (64, 18, 930), (58, -20, 925)],
    "groin node": [(72, 60, 882), (66, 58, 862), (80, 52, 872)],
}


def paint_cavity(frame: Frame) -> None:
    """Mediastinal fat and soft tissue, then lungs."""
    rng = frame.rng(20)
    middle = frame.stack(
        [
            (1200, 0, 5, 55, 80),
            (1280, -8, 0, 60, 82),
            (1350, 0, -5, 45, 70),
            (1410, 0, -12, 38, 42),
            (1440, 0, -15, 30, 28),
        ]
    )
    frame.add(middle, "mediastinum", 0.8 * frame.suv("mediastinum"), mu=0.0094, fine=0.1, coarse=0.12)
    size = float(rng.normal(1.0, 0.04)) * (0.94 if frame.female else 1.0)
    deep = float(rng.uniform(-14, 10))
    lungs: list[Shape] = []
    for side in SIDES:
        left = side < 0
        rows = [
            (1128 + deep, 92, -48, 10, 12), (1150 + deep, 92, -42, 33, 36), (1190, 88, -26, 46, 62),
            (1240, 82, -10, 52, 80), (1300, 78, -8, 50, 82), (1350, 72, -12, 46, 72),
            (1395, 60, -20, 39, 54), (1425, 50, -26, 28, 38), (1450, 44, -30, 14, 18), (1458, 43, -31, 5, 6),
        ]  # fmt: skip
        lung = frame.stack(
            [(z, side * x, y, a * size * (0.94 if left else 1.0), b * size) for z, x, y, a, b in rows], 2.15
        )
        lungs.append(lung)

        def pattern(distance: Floats, y: Floats, noise: Noise) -> Floats:
            # Denser where it hangs and where the vessels enter.
            hang = np.clip(1 - y / np.float32(260), 0.6, 1.5)
            vessels = np.maximum(np.abs(noise(11.0)) - np.float32(1.5), 0) * np.float32(0.8)
            out: Floats = hang * (1 + vessels)
            return out

        frame.add(
            lung, "lungs", mu=float(rng.uniform(0.0026, 0.0031)), fine=0.2, coarse=0.15, pattern=pattern
        )
    frame.anatomy.regions["lung"] = lungs
    blood = frame.suv("blood")
    for side in SIDES:
        for _ in range(9):  # vessels of the lung's root
            z = 1300.0 + rng.normal(0, 12)
            tip = (side * rng.uniform(62, 110), rng.uniform(-75, 55), z + rng.normal(-10, 65), 2.0)
            frame.add(
                frame.path(
                    [(side * 34, -15, z, 6.0), (side * 55, (tip[1] - 15) / 2, (z + tip[2]) / 2, 4.2), tip]
                ),
                "blood", 0.85 * blood, inside=(lungs[0 if side > 0 else 1],), detail_mm=2.5,
            )  # fmt: skip


def paint_organs(frame: Frame) -> None:
    """Heart, large vessels in the chest, airways, gullet."""
    rng = frame.rng(21)
    u = frame.uptake
    blood = frame.suv("blood")
    size = float(rng.normal(1.0, 0.06)) * (0.93 if frame.female else 1.0) * frame.organ**0.2
    lift = float(rng.normal(0, 6))
    centre = np.array([-36.0, 22.0, 1262.0 + lift])
    frame.add(
        frame.ball((-14, 18, 1272 + lift), (56 * size, 46 * size, 54 * size), (0, 20, 20)),
        "mediastinum",
        0.55,
        mu=0.0092,
    )
    right = frame.ball((-10, 34, 1258 + lift), (43 * size, 27 * size, 38 * size), (0, 25, 25))
    atria = Union(
        [
            frame.ball((24, 12, 1285 + lift), (22 * size, 26 * size, 32 * size)),
            frame.ball((-12, -16, 1300 + lift), (32 * size, 19 * size, 22 * size)),
        ],
        10,
    )
    frame.add(Union([right, atria], 12), "blood", blood)
    wall_of_right = 0.25 * u.myocardium + 0.75 * blood
    shell = frame.ball((-10, 34, 1258 + lift), (47 * size, 31 * size, 42 * size), (0, 25, 25))
    if u.myocardium > 2.5 * blood:
        frame.add(shell, "heart", wall_of_right, outside=(right, atria), detail_mm=2.5)
    axis = np.array([-0.72, 0.48, -0.5]) + rng.normal(0, 0.08, 3)
    axis /= np.linalg.norm(axis)
    side = np.cross(axis, [0, 0, 1])
    side /= np.linalg.norm(side)
    axes = np.stack([axis, side, np.cross(axis, side)], axis=1)
    scale = frame.wide * size
    base = np.array(frame.at(centre[0], centre[1], centre[2]))
    epi = Ellipsoid(_point(base), (50 * scale, 34 * scale, 34 * scale), axes)
    cavity = Ellipsoid(_point(base - axis * 10 * scale), (46 * scale, 22.5 * scale, 22.5 * scale), axes)
    valve = Ellipsoid(_point(base - axis * 62 * scale), (30 * scale, 60 * scale, 60 * scale), axes)

    def pattern(distance: Floats, y: Floats, noise: Noise) -> Floats:
        out: Floats = np.clip(1 + np.float32(u.myocardium_patchy) * noise(32.0), 0.25, 1.8)
        return out

    frame.add(epi, "heart", u.myocardium, fine=0.05, pattern=pattern, outside=(valve,), detail_mm=2.5)
    frame.add(cavity, "blood", blood, detail_mm=2.5)
    air = [(0, -10, 1545, 8), (0, -12, 1480, 9), (0, -22, 1400, 9), (0, -32, 1345, 9)]
    frame.add(
        frame.path([(0, -10, 1545, 11), (0, -12, 1480, 11), (0, -22, 1400, 11), (0, -32, 1345, 11)]),
        "mediastinum",
    )
    frame.add(frame.path(air), "airway", 0.0, fine=0, detail_mm=2.0)
    for s, reach in zip(SIDES, (40, 48), strict=True):
        frame.add(
            frame.path([(0, -32, 1345, 9), (s * reach, -30, 1308, 7), (s * (reach + 16), -30, 1290, 4)]),
            "mediastinum",
        )
        frame.add(
            frame.path([(0, -32, 1345, 7), (s * reach, -30, 1308, 5), (s * (reach + 16), -30, 1290, 3)]),
            "airway", 0.0, fine=0, detail_mm=2.0,
        )  # fmt: skip
    gullet = [
        (6.0, -36, 1470),
        (-2, -42, 1400),
        (2, -46, 1330),
        (-6, -44, 1270),
        (-22, -28, 1222),
        (-40, -5, 1212),
    ]
    strength = np.clip(rng.lognormal(0, 0.18, len(gullet)), 0.6, 1.8)
    strength[-1] *= rng.uniform(1.0, 1.7)
    tube = frame.path([(*p, 8.0) for p in gullet])
    frame.add(Tube(tube.points, tube.radii, strength), "stomach", 0.8 * frame.suv("stomach"), detail_mm=2.5)


def _point(p: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float, float]:
    return float(p[0]), float(p[1]), float(p[2])


def paint_vessels(frame: Frame) -> None:
    """Aorta, caval veins, pulmonary trunk, neck, pelvic and groin vessels; lymph nodes lie along them."""
    rng = frame.rng(22)
    blood = frame.suv("blood")
    wall = float(rng.uniform(1.0, 1.25))
    bend = float(rng.normal(0, 5))
    arch = [
        (-2.0, 14, 1290, 15), (8, 26, 1330, 15), (4, 18, 1362, 14), (-10, -2, 1378, 13), (-24, -28, 1366, 13),
        (-26, -44, 1330, 12.5), (-24 + bend, -46, 1270, 12), (-16, -34, 1215, 11.5), (-12, -14, 1160, 10.5),
        (-10 + bend / 2, -4, 1100, 9.5), (-8, -2, 1040, 9),
    ]  # fmt: skip
    cava = [
        (26.0, 0, 1262, 13),
        (24, -8, 1215, 12),
        (22, -8, 1160, 12),
        (20, -4, 1100, 12),
        (16, -4, 1040, 11),
    ]
    superior = [(28.0, 8, 1300, 11), (28, 14, 1350, 10), (24, 20, 1390, 9)]
    trunk = [(-12.0, 40, 1290, 13), (-20, 22, 1325, 13), (-8, -2, 1335, 11)]
    for line in (
        cava,
        superior,
        trunk,
        [(-8.0, -2, 1335, 10), (34, -12, 1318, 8)],
        [(-14.0, 4, 1335, 10), (-48, -22, 1322, 8)],
    ):
        frame.add(frame.path(line), "blood", blood, detail_mm=3.0)
    frame.add(frame.path(arch), "blood", blood * wall, detail_mm=3.0)
    for side in SIDES:
        iliac = [
            (side * 4.0 - 6, -2, 1045, 7), (side * 32, -18, 985, 6.5), (side * 58, 12, 935, 6),
            (side * 74, 52, 890, 5.5), (side * 76, 44, 830, 4.4), (side * 72, 24, 740, 3.4),
            (side * 66, 4, 620, 2.4),
        ]  # fmt: skip
        vein = [(x + side * -9, y - 8, z, r * 1.05) for x, y, z, r in iliac]
        carotid = [(side * 12.0, 10, 1385, 5), (side * 24, -4, 1440, 4.5), (side * 30, -8, 1530, 4)]
        jugular = [(side * 20.0, 20, 1388, 6), (side * 34, 0, 1440, 5.5), (side * 40, -14, 1540, 4)]
        arm = [(side * 22.0, 12, 1388, 5.5), (side * 70, 14, 1408, 4.5), (side * 112, 6, 1388, 3.2)]
        lines: list[list[tuple[float, ...]]] = [[*iliac], [*vein], [*carotid], [*jugular], [*arm]]
        for vessel in lines:
            frame.add(frame.path(vessel), "blood", 0.85 * blood, detail_mm=2.5)
        for site, points in _NODES.items():
            frame.anatomy.nodes.setdefault(site, []).extend(frame.at(side * x, y, z) for x, y, z in points)
    frame.anatomy.nodes["mediastinal node"].append(frame.at(0, spine_y(1300) + 36, 1300))
    if u := frame.uptake.brown_fat:
        for side in SIDES:
            for n in range(5):
                x, y, z = (
                    side * (34 + 22 * n + rng.normal(0, 4)),
                    -22 + rng.normal(0, 6),
                    1448 - 9 * n + rng.normal(0, 5),
                )
                frame.add(
                    frame.ball((x, y, z), (rng.uniform(7, 14), rng.uniform(5, 9), rng.uniform(5, 10))),
                    "brown_fat", u * float(rng.uniform(0.5, 1.1)), mu=0.0091, fine=0.15, detail_mm=2.5,
                )  # fmt: skip
