"""Spine, ribs, pelvis and limb bones, with red marrow where an adult has it (ICRP 70)."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from mapdiff.simulate.frame import SIDES, Frame
from mapdiff.simulate.outline import arm_joints, legs
from mapdiff.simulate.shapes import Ellipsoid, Stack, Tube, Union
from mapdiff.simulate.uptake import MU

#: Centre height, and half width, depth and height of each vertebral body from C2 to L5.
_VERTEBRAE = (
    [(1560.0 - 18.5 * n, 10.0, 8.5, 6.5) for n in range(6)]
    + [(1434.0 - 24.2 * n, 12.0 + 0.6 * n, 11.0 + 0.5 * n, 9.5 + 0.1 * n) for n in range(12)]
    + [(1138.0 - 33.0 * n, 21.0 + 0.7 * n, 16.5, 13.0) for n in range(5)]
)
_SPINE_Y = PchipInterpolator(
    [880, 940, 985, 1040, 1100, 1170, 1270, 1350, 1430, 1480, 1570],
    [-80, -78, -50, -36, -40, -55, -70, -68, -50, -36, -22],
)


def spine_y(z: float) -> float:
    """How far back the vertebral bodies' centres lie at a height, reference mm."""
    return float(_SPINE_Y(z))


def paint_spine(frame: Frame) -> None:
    """Vertebral bodies with discs between them, processes, cord, sacrum."""
    rng = frame.rng(10)
    marrow = frame.suv("marrow")
    bodies = []
    processes: list[tuple[float, ...]] = []
    for z, a, b, c in _VERTEBRAE:
        y = spine_y(z)
        share = float(rng.normal(1.0, 0.06)) * (0.8 if z > 1440 else 1.0)
        turn = (float(np.degrees(np.arctan2(spine_y(z + 10) - spine_y(z - 10), 20))) * -1, 0.0, 0.0)
        body = frame.ball((0, y, z), (a * 1.12, b * 1.1, c * 1.06), turn, 4.0)
        frame.add(body, "bone", detail_mm=2.0)
        core = frame.ball((0, y, z), (a, b, c * 0.95), turn, 3.5)
        frame.add(core, "marrow", marrow * share, fine=0.1, coarse=0.06, detail_mm=2.0)
        bodies.append(core)
        if z < 1450:
            wing = [
                (side * (a + 14), y - 20, z + 2, 4.0) if n else (side * 6, y - 18, z, 6.0)
                for side in SIDES
                for n in (1, 0)
            ]
            frame.add(frame.path([wing[0], wing[1]]), "bone", 0.7 * marrow, detail_mm=2.5)
            frame.add(frame.path([wing[2], wing[3]]), "bone", 0.7 * marrow, detail_mm=2.5)
            frame.add(
                frame.path([(0, y - 22, z, 5.0), (0, y - 42, z - 12, 4.0)]),
                "bone",
                0.7 * marrow,
                detail_mm=2.5,
            )
        processes.append((0, y - b - 9.5, z, 6.0))
    cord = frame.path([p for p in processes if p[2] > 1120], 0.9)
    frame.add(cord, "spinal_cord", fine=0.08, detail_mm=2.0)
    sacrum = frame.stack(
        [
            (885, 0, -84, 7, 6),
            (905, 0, -90, 16, 8),
            (940, 0, -84, 32, 13),
            (970, 0, -66, 46, 19),
            (990, 0, -54, 34, 16),
        ],
        2.4,
    )
    frame.add(sacrum, "bone", detail_mm=2.5)
    inner = frame.stack(
        [
            (890, 0, -85, 4, 3),
            (905, 0, -90, 12, 5),
            (940, 0, -84, 28, 10),
            (970, 0, -66, 42, 16),
            (986, 0, -55, 28, 12),
        ],
        2.4,
    )
    frame.add(inner, "marrow", 0.85 * marrow, fine=0.12, coarse=0.1, detail_mm=2.5)
    frame.anatomy.regions["marrow"] = [*bodies[6:], inner]


def paint_ribs(frame: Frame) -> None:
    """Twelve pairs of ribs, the breastbone, collar bones and shoulder blades."""
    rng = frame.rng(11)
    marrow = frame.suv("marrow")
    half = (58, 84, 104, 118, 127, 133, 136, 138, 138, 135, 130, 118)
    for n in range(12):
        z0 = 1436.0 - 24.2 * n
        y0 = spine_y(z0) - 8
        last = (150, 158, 160, 160, 160, 158, 154, 148, 138, 124, 95, 70)[n]
        depth = min(40 + 22 * n, 90) if n < 9 else 92
        drop = 45 + 7 * min(n, 7)
        share = 0.5 * float(rng.normal(1, 0.08))
        for side in SIDES:
            points = []
            for angle in np.radians(np.linspace(8, last, 13)):
                x = half[n] * np.sin(angle) ** 0.85 + 6
                y = y0 + depth * (1 - np.cos(angle)) - 14 * np.sin(angle)
                z = z0 - drop * (1 - np.cos(angle)) / 2 * (1.25 if angle < 2.0 else 1.15)
                points.append((side * x, min(y, 100), z, 4.6))
            frame.add(frame.path(points), "bone", marrow * share, fine=0.15, coarse=0.12, detail_mm=2.5)
    sternum = frame.stack(
        [
            (1205, 0, 88, 4, 3),
            (1230, 0, 90, 15, 5),
            (1330, 0, 84, 15, 6),
            (1375, 0, 70, 22, 7),
            (1395, 0, 58, 24, 7),
        ],
        2.5,
    )
    frame.add(sternum, "marrow", 0.85 * marrow, fine=0.1, detail_mm=2.5)
    for side, joints in zip(SIDES, arm_joints(frame), strict=True):
        sx, sy, sz = joints[0]
        inner = np.array(frame.at(side * 22, 44, 1398))
        clavicle = Tube(
            np.stack([inner, (inner + joints[0]) / 2 + [0, 12, 4], joints[0] + [-side * 20, 5, 18]]),
            np.full(3, 6.0),
        )
        frame.add(clavicle, "bone", 0.6 * marrow, detail_mm=2.5)
        top = np.array([sx - side * 22, sy - 20, sz + 8])
        low = np.array(frame.at(side * 88, -98, 1270))
        mid = np.array(frame.at(side * 76, -88, 1390))
        frame.add(
            Tube(np.stack([top, mid, low]), np.array([8.0, 5.0, 5.0])), "bone", 0.6 * marrow, detail_mm=2.5
        )
        frame.add(
            Tube(np.stack([top, (top + low) / 2, low]), np.array([9.0, 6.0, 4.0])),
            "bone",
            0.6 * marrow,
            detail_mm=2.5,
        )


def paint_pelvis(frame: Frame) -> None:
    """Iliac wings, sockets, sitting and pubic bones: a shell of bone around marrow."""
    marrow = frame.suv("marrow")
    flare = 1.06 if frame.female else 1.0
    wings = []
    for side in SIDES:
        lines = [
            [
                (50, -68, 985, 10),
                (72, -56, 1018, 8),
                (104, -22, 1042, 7),
                (128, 22, 1024, 7),
                (124, 48, 985, 7),
            ],
            [(56, -64, 965, 11), (84, -34, 990, 6), (112, 8, 995, 6)],
            [(62, -52, 945, 12), (88, -18, 940, 12), (108, 20, 960, 8)],
            [(86, -10, 925, 20), (86, 0, 900, 18)],
            [(78, -22, 895, 13), (62, -42, 850, 14)],
            [(72, 18, 905, 9), (40, 44, 890, 9), (14, 46, 878, 9)],
            [(58, -36, 848, 10), (34, 12, 856, 8), (12, 38, 868, 8)],
        ]
        for shrink, organ, suv in ((0.0, "bone", None), (2.0, "marrow", 0.8 * marrow)):
            tubes = [
                frame.path([(side * flare * x, y, z, max(r - shrink, 3.0)) for x, y, z, r in line])
                for line in lines
            ]
            whole = Union(tubes, 18.0)
            frame.add(whole, organ, suv, fine=0.12, coarse=0.12, detail_mm=3.0)
        wings.append(tubes[3])
        wings.append(tubes[0])
    frame.anatomy.regions["marrow pelvis"] = list(wings)


def paint_limb_bones(frame: Frame) -> None:
    """Thigh and shin bones, arm bones, knee caps; red marrow in the upper ends only."""
    marrow = frame.suv("marrow")
    heads = []
    for side, (skin, _) in zip(SIDES, legs(frame), strict=True):
        assert isinstance(skin, Union)
        stack = skin.shapes[0]
        assert isinstance(stack, Stack)
        t = frame.tall
        hip = np.array(frame.at(side * 88, 0, 905))
        knee_x, knee_y, _, _ = stack.at(490 * t)
        ankle_x, ankle_y, _, _ = stack.at(75 * t)
        neck = np.array([hip[0] + side * 42, -6, 868 * t])
        knee = np.array([knee_x, knee_y - 4, 488 * t])
        femur = Tube(
            np.stack([hip, neck, neck + (knee - neck) * 0.15, neck + (knee - neck) * 0.85, knee]),
            np.array([22, 17, 14.5, 14, 27]) * frame.wide,
        )
        frame.add(femur, "bone", coarse=0.1, detail_mm=3.0)
        hollow = Tube(femur.points, femur.radii - np.array([3, 4, 6, 6, 5]))
        frame.add(hollow, "marrow", 0.28 * marrow, mu=MU["fat"] * 1.06, detail_mm=3.0)
        head = Tube(femur.points[:3], femur.radii[:3] - 4)
        frame.add(head, "marrow", 0.6 * marrow, fine=0.12, coarse=0.15, detail_mm=3.0)
        heads.append(head)
        ankle = np.array([ankle_x, ankle_y, 75 * t])
        top = knee + np.array([0, 0, -22])
        shin = Tube(np.stack([top, top + (ankle - top) * 0.15, ankle]), np.array([26, 14, 13]) * frame.wide)
        shin = Tube(shin.points + np.array([[0, 8, 0], [-side * 6, 14, 0], [-side * 6, 6, 0]]), shin.radii)
        frame.add(shin, "bone", coarse=0.1, detail_mm=3.0)
        frame.add(
            Tube(shin.points, shin.radii - 5), "marrow", 0.25 * marrow, mu=MU["fat"] * 1.06, detail_mm=3.0
        )
        calf = Tube(
            np.stack([top + np.array([side * 28, -10, -15]), ankle + np.array([side * 18, -4, -10])]),
            np.array([6.0, 6.0]) * frame.wide,
        )
        frame.add(calf, "bone", detail_mm=3.0)
        frame.add(Ellipsoid((knee[0], knee[1] + 44, knee[2] + 8), (20, 9, 21)), "bone", detail_mm=3.0)
        heel = Tube(
            ankle + np.array([[0, -12, -40], [0, 20, -40], [0, 85, -30]]),
            np.array([17.0, 15, 10]),
        )
        frame.add(heel, "bone", detail_mm=3.0)
    for s, e, w, f in arm_joints(frame):
        arm = Tube(
            np.stack([s, s + (e - s) * 0.15, e - (e - s) * 0.1, e]), np.array([21, 13, 11, 19]) * frame.wide
        )
        frame.add(arm, "bone", detail_mm=3.0)
        frame.add(
            Tube(arm.points, arm.radii - 4), "marrow", 0.35 * marrow, mu=MU["fat"] * 1.06, detail_mm=3.0
        )
        for off in (12.0, -12.0):
            fore = Tube(
                np.stack([e + np.array([0, off, 0]), w + np.array([0, off, 0])]), np.array([9.0, 8.0])
            )
            frame.add(fore, "bone", detail_mm=3.0)
        frame.add(Tube(np.stack([w, w + (f - w) * 0.5]), np.array([12.0, 9.0])), "bone", detail_mm=3.0)
    frame.anatomy.regions["marrow femur"] = list(heads)
