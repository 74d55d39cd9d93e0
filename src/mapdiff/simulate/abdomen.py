"""Belly and pelvis: liver, spleen, stomach, pancreas, kidneys, bowel, bladder, genital organs.

Organ masses follow the reference adults of ICRP Publication 89 (2002): liver 1800 and 1400 g (men, women),
spleen 150 and 130 g, both kidneys 310 and 275 g, pancreas 140 and 120 g; each varies by 12 to 20 % here and
grows with body size. They exclude the blood that ICRP counts apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapdiff.simulate.chest import Noise
from mapdiff.simulate.frame import SIDES, Frame, smooth_path
from mapdiff.simulate.outline import trunk
from mapdiff.simulate.shapes import Floats, Stack, Tube, Union, with_volume


def _cavity(frame: Frame) -> Stack:
    """The belly inside its muscles."""
    wall = trunk(frame)[1]
    rows = []
    for z, a, back, front in (
        (850, 20, -35, 10), (880, 55, -60, 40), (930, 80, -64, 62), (990, 104, -50, 78), (1050, 124, -58, 84),
        (1120, 130, -72, 88), (1190, 124, -78, 84), (1235, 100, -55, 66), (1250, 60, -30, 40),
    ):  # fmt: skip
        _, cy, width, depth = wall.at(z * frame.tall)
        ahead = cy + depth - 13  # the belly grows forward
        lo = back * frame.wide
        hi = max(front * frame.wide, ahead) if 960 < z < 1180 else min(front * frame.wide, ahead)
        rows.append(
            (
                z * frame.tall,
                0.0,
                (lo + hi) / 2,
                min(max(a * frame.wide, 0.8 * width * (960 < z < 1190)), width - 13),
                (hi - lo) / 2,
            )
        )
    return Stack(np.asarray(rows), 2.2)


def paint_abdomen(frame: Frame) -> None:
    """Fat of the belly, muscles behind it, then the organs."""
    rng = frame.rng(30)
    u = frame.uptake
    cavity = _cavity(frame)
    frame.add(cavity, "visceral_fat", fine=0.22, coarse=0.25)
    muscle = frame.muscle_pattern()
    for side in SIDES:
        psoas = [
            (side * 28.0, -42, 1130, 10),
            (side * 42, -36, 1050, 20),
            (side * 58, -14, 980, 20),
            (side * 74, 18, 920, 15),
        ]
        frame.add(frame.path(psoas), "muscle", 1.05 * frame.suv("muscle"), pattern=muscle)
    grow = frame.organ
    vary = np.exp(rng.normal(0, 0.13, 8))
    # Bowel first: solid organs lie over it.
    _paint_bowel(frame, cavity)
    liver = with_volume(
        Union(
            [
                frame.ball((70, 0, 1162), (66, 74, 82), (0, -8, 0)),
                frame.ball((40, 20, 1188), (62, 58, 50), (0, 6, 0)),
                frame.ball((-14, 40, 1196), (62, 36, 34 * float(rng.uniform(0.8, 1.15))), (0, 14, 0)),
            ],
            22.0,
        ),
        (1320 if frame.female else 1650) * grow * vary[0],
    )
    under = frame.ball((-28, -25, 1082 + float(rng.uniform(-15, 10))), (85, 70, 62), (0, -35, 0))
    frame.add(liver, "liver", fine=0.05, coarse=0.035, outside=(under,))
    frame.anatomy.regions["liver"] = [liver]
    if rng.random() < 0.85:
        bag = float(rng.uniform(0.7, 1.25))
        frame.add(
            frame.ball((46, 42, 1112), (13 * bag, 15 * bag, 28 * bag), (25, 15, 0)),
            "gallbladder",
            0.6,
            detail_mm=3,
        )
    spleen = with_volume(
        Union(
            [
                frame.ball((-98, -46, 1172), (24, 36, 50), (15, 15, 0)),
                frame.ball((-90, -62, 1195), (22, 26, 34)),
            ],
            14,
        ),
        (125 if frame.female else 145) * 1.25 * grow * vary[1] ** 2,
    )
    frame.add(spleen, "spleen", fine=0.05)
    frame.anatomy.regions["spleen"] = [spleen]
    _paint_stomach(frame)
    gland = [
        (26.0, 22, 1092, 13),
        (14, 26, 1108, 11),
        (-20, 22, 1122, 9),
        (-55, -8, 1140, 9),
        (-78, -28, 1152, 7),
    ]
    frame.add(
        frame.path([(x, y, z + 6 * float(rng.normal()), r) for x, y, z, r in gland], grow),
        "pancreas",
        fine=0.1,
    )
    for side in SIDES:
        z = 1106 + (-12 if side > 0 else 6) + float(rng.normal(0, 7))
        _paint_kidney(
            frame,
            side,
            z,
            (140 if frame.female else 155) * 1.25 * grow * vary[3] * float(np.exp(rng.normal(0, 0.05))),
        )
        top = z + 62
        frame.add(
            frame.path(
                [(side * 40, -34, top, 5), (side * 47, -42, top - 8, 4), (side * 52, -36, top - 18, 3)]
            ),
            "adrenals", detail_mm=2.0,
        )  # fmt: skip
    if u.urine > 5:
        _paint_ureters(frame)


def _paint_kidney(frame: Frame, side: float, z: float, millilitres: float) -> None:
    rng = frame.rng(31 if side > 0 else 32)
    u = frame.uptake
    x, y = side * 64, -54
    tilt = (8.0, side * 12.0, side * 25.0)
    cortex = with_volume(frame.ball((x, y, z), (28, 24, 55), tilt), millilitres)
    hilum = frame.ball((x - side * 25, y + 11, z), (20, 15, 22), tilt)
    frame.add(cortex, "kidneys", fine=0.08, outside=(hilum,))
    medulla = 0.55 * frame.suv("kidneys") + 0.15 * u.urine
    for dz in np.linspace(-30, 30, 5):
        frame.add(
            frame.ball((x - side * 4, y + 4, z + float(dz)), (9, 8, 7.5)), "kidneys",
            medulla * float(rng.uniform(0.7, 1.4)), detail_mm=2.5,
        )  # fmt: skip
    pelvis_of = (x - side * 17, y + 7, z - 4.0)
    for dz in (-24.0, -4.0, 20.0):
        if rng.random() < 0.8:
            line = [(*pelvis_of, 3.5), (x - side * 5, y + 3, z + dz, float(rng.uniform(2.5, 5)))]
            frame.add(
                frame.path(line), "urine", u.urine * float(rng.uniform(0.3, 1.0)), fine=0, detail_mm=2.0
            )
    size = float(rng.uniform(0.6, 1.5))
    frame.add(
        frame.ball(pelvis_of, (7 * size, 6 * size, 11 * size), tilt), "urine", u.urine, fine=0, detail_mm=2.0
    )


def _paint_ureters(frame: Frame) -> None:
    rng = frame.rng(33)
    for side in SIDES:
        line = np.array(
            [
                (side * 46, -44, 1098), (side * 40, -26, 1065), (side * 36, -12, 1010), (side * 40, -10, 965),
                (side * 48, -36, 925), (side * 30, -26, 898), (side * 16, -6, 892),
            ]
        )  # fmt: skip
        points = smooth_path(line + rng.normal(0, 2, line.shape), 26)
        n, stop = 0, len(points) - 1
        while n < stop:  # only what a wave of urine fills is seen
            length = int(rng.integers(1, 6))
            if rng.random() < 0.3:
                part = points[n : n + length + 1]
                if len(part) > 1:
                    tube = frame.path([(*p, float(rng.uniform(1.5, 2.6))) for p in part], 1.0)
                    frame.add(
                        tube,
                        "urine",
                        frame.uptake.urine * float(rng.uniform(0.2, 0.9)),
                        fine=0,
                        detail_mm=1.5,
                    )
            n += length


def _paint_stomach(frame: Frame) -> None:
    rng = frame.rng(34)
    full = float(rng.uniform(0.6, 1.15))
    line = np.array(
        [
            (-52, -8, 1212, 27 * full), (-72, 2, 1185, 29 * full), (-72, 26, 1150, 25 * full),
            (-52, 46, 1118, 20 * full), (-18, 54, 1102, 17 * full), (12, 46, 1104, 14), (28, 34, 1110, 11),
        ]
    )  # fmt: skip
    line[:, :3] += rng.normal(0, 4, (len(line), 3))
    p = smooth_path(line, 14)
    strength = np.exp(rng.normal(0, 0.2, len(p)))
    wall = frame.path([tuple(r) for r in p])
    frame.add(Tube(wall.points, wall.radii, strength), "stomach", fine=0.12, coarse=0.2, detail_mm=4)
    inner = float(rng.uniform(0.25, 0.8))
    lumen = Tube(wall.points, np.maximum(wall.radii - rng.uniform(4.0, 8.0), 2.0))
    frame.add(lumen, "stomach", inner * frame.suv("stomach"), coarse=0.1, detail_mm=4)


def _paint_bowel(frame: Frame, cavity: Stack) -> None:
    """Colon along its usual way; small bowel as one long tube that winds through the lower belly."""
    rng = frame.rng(35)
    u = frame.uptake
    sag = float(rng.uniform(-45, 25))
    colon = np.array(
        [
            (88, 8, 985), (98, 4, 1015), (104, -8, 1055), (104, -16, 1092), (88, 30, 1108),
            (50, 62, 1085 + 0.7 * sag), (0, 70, 1078 + sag), (-50, 58, 1100 + 0.5 * sag),
            (-90, 10, 1142), (-108, -26, 1130),
            (-108, -28, 1080), (-102, -14, 1025), (-88, 8, 980), (-58, 20, 955), (-25, 8, 975),
            (10, -8, 965), (14, -40, 950),
            (0, -62, 925), (0, -62, 890), (0, -48, 862),
        ]
    )  # fmt: skip
    colon = colon + rng.normal(0, 1, colon.shape) * [7, 6, 9]
    p = _kept_inside(frame, smooth_path(colon, 90), cavity, 20)
    radius = 17 + 5 * _wander(rng, 90, 6)
    radius[60:] *= 0.8
    _paint_gut(frame, rng, p, np.clip(radius, 9, 27), u.bowel_hot, cavity)
    z = np.linspace(1112, 915, 11)
    loops: list[tuple[float, float, float]] = []
    for n, height in enumerate(z):
        side = 1 if n % 2 else -1
        half = 80 * (1 - 0.35 * abs(n - 4.5) / 5)
        for t in np.linspace(-1, 1, 5):
            loops.append((side * t * half, 34 + 26 * float(rng.normal()), height + 13 * float(rng.normal())))
    path = np.asarray(loops) + rng.normal(0, 1, (len(loops), 3)) * [10, 0, 6]
    q = _kept_inside(frame, smooth_path(path, 240), cavity, 15)
    _paint_gut(frame, rng, q, np.clip(13.5 + 2.5 * _wander(rng, 240, 5), 8, 18), 0.6 * u.bowel_hot, cavity)
    arc = np.array(
        [(30, 32, 1108), (46, 18, 1100), (48, 6, 1075), (34, 4, 1052), (0, 10, 1050), (-30, 18, 1080)]
    )
    _paint_gut(
        frame,
        rng,
        smooth_path(arc + rng.normal(0, 3, arc.shape), 20),
        np.full(20, 11.0),
        0.8 * u.bowel_hot,
        cavity,
    )


def _wander(rng: np.random.Generator, count: int, smooth: int) -> NDArray[np.float64]:
    noise = rng.standard_normal(count + 4 * smooth)
    kernel = np.hanning(2 * smooth + 1)
    out: NDArray[np.float64] = np.convolve(noise, kernel / np.sqrt((kernel**2).sum()), "same")[
        2 * smooth : 2 * smooth + count
    ]
    return out


def _kept_inside(
    frame: Frame, points: NDArray[np.float64], cavity: Stack, margin: float
) -> NDArray[np.float64]:
    """Points pulled in along the ray from the cavity's middle until they are well inside."""
    out = points.copy()
    for n, (x, y, z) in enumerate(points):
        _, cy, a, b = cavity.at(z * frame.tall)
        cy, a, b = cy / frame.wide, a / frame.wide - margin, b / frame.wide - margin
        r = np.hypot(x / max(a, 5), (y - cy) / max(b, 5))
        if r > 1:
            out[n, :2] = x / r, cy + (y - cy) / r
    return out


def _paint_gut(
    frame: Frame,
    rng: np.random.Generator,
    points: NDArray[np.float64],
    radius: NDArray[np.float64],
    hot: float,
    cavity: Stack,
) -> None:
    """A tube of gut: stretches of much uptake between stretches of little, wall above content."""
    base = frame.suv("bowel")
    level = _wander(rng, len(points), max(len(points) // 14, 2))
    share = np.clip((level - 0.1) / 1.6, 0, 1)
    strength = np.clip(0.8 + 0.25 * _wander(rng, len(points), 4), 0.35, 1.3) + share * (hot / base - 0.5)
    tube = frame.path([(*p, float(r)) for p, r in zip(points, radius, strict=True)])
    frame.add(Tube(tube.points, tube.radii, strength), "bowel", base, fine=0.2, coarse=0.2, inside=(cavity,))
    lumen = Tube(tube.points, np.maximum(tube.radii - 5.0, 1.5), strength * rng.uniform(0.45, 0.9))
    frame.add(lumen, "bowel", base, fine=0.2, coarse=0.2, inside=(cavity,))


def paint_pelvic_organs(frame: Frame) -> None:
    """Bladder, uterus and ovaries or prostate and testes."""
    rng = frame.rng(36)
    u = frame.uptake
    flat = float(np.clip(1.25 - 0.0012 * u.bladder_ml, 0.8, 1.2))
    rise = float(np.cbrt(u.bladder_ml * 3 / 4 / np.pi) * 10 * 0.9)  # mm
    height = 884 + rise * 0.95 / frame.tall
    bladder = with_volume(
        frame.ball(
            (float(rng.normal(0, 3)), 12, height),
            (36 * flat, 30, 27),
            (float(rng.uniform(-20, 5)), 0, 0),
            2.2,
        ),
        u.bladder_ml,
        2.0,
    )
    wall = with_volume(bladder.shape, u.bladder_ml * (1 + 8 / rise) ** 2, 2.0)
    if frame.female:
        size = float(rng.uniform(0.75, 1.3))
        tip = height + rise * 0.6
        uterus = [
            (0.0, -30, 905, 12 * size),
            (0, -22, 930, 14 * size),
            (float(rng.normal(0, 10)), 0, max(tip, 945) + 12, 20 * size),
        ]
        frame.add(frame.path(uterus), "uterus", 0.7 * frame.suv("uterus"), fine=0.1)
        frame.add(
            frame.path([(x, y, z, r * 0.35) for x, y, z, r in uterus]),
            "uterus",
            1.2 * frame.suv("uterus"),
            detail_mm=3,
        )
        for side in SIDES:
            ovary = frame.ball((side * 42, -12, 948 + float(rng.normal(0, 8))), (12, 9, 15))
            frame.add(ovary, "uterus", float(rng.uniform(0.9, 2.2)), detail_mm=3)
    else:
        frame.add(frame.ball((0, 2, 868), (22, 17, 17)), "prostate", fine=0.1)
        for side in SIDES:
            testis = frame.ball((side * 19, 62 * frame.girth / frame.wide, 815), (13, 13, 21))
            bag = frame.ball((side * 17, 62 * frame.girth / frame.wide, 818), (20, 20, 28))
            frame.add(bag, "muscle", 0.7, outline=True)
            frame.add(testis, "testes", detail_mm=3)
        tube = [(0.0, 72, 845, 14), (2, 92 * frame.girth, 822, 14), (4, 98 * frame.girth, 795, 13)]
        frame.add(frame.path(tube), "muscle", 0.9, outline=True)
    frame.add(wall, "muscle", 1.0)
    drop = np.float32(rng.uniform(0.0, 0.004))

    def pattern(distance: Floats, y: Floats, noise: Noise) -> Floats:
        # Hot urine is heavier and lies at the back.
        out: Floats = np.clip(1 - drop * (y - 12), 0.6, 1.4)
        return out

    frame.add(bladder, "bladder", u.bladder, fine=0, coarse=0.03, pattern=pattern, detail_mm=3)
