"""The body's outline: trunk, head, limbs and breasts, each with its skin fat and its muscle core."""

from __future__ import annotations

import numpy as np

from mapdiff.simulate.frame import SIDES, Frame
from mapdiff.simulate.shapes import Box, Ellipsoid, Inset, Shape, Stack, Tube, Union, rotation, volume_ml
from mapdiff.simulate.uptake import MU_SOFT

#: Thickness of the skin: 1.5 to 3 mm over most of the body (ICRP Publication 89).
SKIN_MM = 2.2

# z, centre y, half width, half depth of the trunk of a 175 cm adult of 68 kg.
_TRUNK = (
    (818, 0, 60, 50), (835, 0, 150, 88), (860, -2, 172, 102), (900, -3, 176, 108), (950, -2, 170, 108),
    (1000, 0, 160, 103), (1050, 2, 148, 99), (1100, 4, 144, 99), (1180, 4, 151, 103), (1250, 2, 158, 107),
    (1300, 0, 163, 106), (1350, -4, 166, 98), (1390, -8, 163, 84), (1420, -14, 138, 68), (1445, -20, 92, 58),
    (1470, -22, 62, 54),
)  # fmt: skip
_LEG = (
    (60, 64, -6, 34, 40), (95, 64, -6, 30, 37), (150, 64, -8, 33, 38), (230, 66, -12, 46, 50),
    (330, 68, -12, 55, 58), (400, 70, -6, 51, 55), (470, 74, 0, 53, 58), (540, 76, 0, 58, 62),
    (650, 80, 0, 72, 75),
    (760, 85, 0, 83, 86), (840, 88, 0, 88, 92), (900, 90, 0, 82, 92),
)  # fmt: skip


def trunk(frame: Frame) -> tuple[Stack, Stack]:
    """The trunk's skin and the outside of its muscle wall."""
    rng = frame.rng(1)
    belly, hips, shoulders = 1 + rng.normal(0, 0.04, 3)
    t = _fat_mm(frame)
    outer, inner = [], []
    for z, cy, a, b in _TRUNK:
        hip = np.exp(-(((z - 900) / 70) ** 2))
        waist = np.exp(-(((z - 1090) / 90) ** 2))
        top = 1 / (1 + np.exp(-(z - 1330) / 25))
        shape = (
            1
            + hip * (hips - 1 + (0.05 if frame.female else 0))
            + top * (shoulders - 1 - (0.06 if frame.female else 0))
        )
        shape -= waist * (0.05 if frame.female else 0)
        tall = frame.tall**0.5
        girth = frame.girth ** (1.0 - 0.55 * top)
        width = a * shape * girth * tall
        depth = b * (1 + waist * (belly - 1)) * girth ** (1 + 0.25 * waist) * tall
        # Fat sits in front and at the sides rather than at the back.
        forward = max(depth - b * tall, 0) * 0.35
        outer.append((z * frame.tall, 0.0, cy + forward, width, depth))
        core = frame.wide * (0.97 if frame.female else 1.0)
        inner.append(
            (
                z * frame.tall, 0.0, cy + 0.3 * forward,
                min(width - t, max(a * core, width - 2.2 * t)),
                min(depth - t, max(b * core, depth - 2.2 * t)),
            )
        )  # fmt: skip
    return Stack(np.asarray(outer), 2.35), Stack(np.asarray(inner), 2.35)


def _fat_mm(frame: Frame) -> float:
    over = max(frame.bmi - 19, 0)
    return float(9 + 1.5 * over if frame.female else 4.5 + 1.35 * over)


def head(frame: Frame) -> Union:
    """Skull, face, and neck."""
    s = frame.tall**0.5 * (0.97 if frame.female else 1.0)
    top = frame.subject.height_cm * 10.0
    g = frame.girth**0.5
    neck = Tube(
        np.array([[0, -25, 1440 * frame.tall], [0, -16, top - 190 * s]]),
        np.array([62, 55]) * g * s * (0.9 if frame.female else 1.0),
    )
    return Union(
        [
            Ellipsoid((0, 2, top - 90 * s), (77 * s, 97 * s, 90 * s)),
            Ellipsoid((0, 38, top - 150 * s), (58 * s, 58 * s, 78 * s), rotation(-12)),
            neck,
        ],
        35.0,
    )


def legs(frame: Frame) -> list[tuple[Shape, Shape]]:
    """Skin and muscle of each leg with its foot."""
    rng = frame.rng(2)
    out: list[tuple[Shape, Shape]] = []
    t = (7.0 + 0.7 * max(frame.bmi - 19, 0)) if frame.female else (3.0 + 0.5 * max(frame.bmi - 19, 0))
    spread = rng.uniform(-8, 22)
    for side in SIDES:
        skin, core = [], []
        apart = spread + rng.normal(0, 4)
        for z, x, y, a, b in _LEG:
            x = x * (0.5 + 0.5 * frame.limb) + apart * (900 - z) / 900
            calf = 0.35 if z < 300 else 0.6 if z < 500 else 1.0
            row = (z * frame.tall, side * x, y)
            skin.append((*row, a * frame.limb, b * frame.limb))
            core.append((*row, a * frame.limb - t * calf, b * frame.limb - t * calf))
        x = skin[0][1]
        turn = rotation(rng.uniform(-25, 0), 0, -side * rng.uniform(5, 25))
        foot = Ellipsoid((x, 48, 36 * frame.tall), (36, 118 * frame.tall, 36), turn, 2.5)
        sole = Ellipsoid((x, 48, 36 * frame.tall), (30, 108 * frame.tall, 29), turn, 2.5)
        out.append((Union([Stack(np.asarray(skin)), foot], 15), Union([Stack(np.asarray(core)), sole], 15)))
    return out


def arm_joints(frame: Frame) -> list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Shoulder, elbow, wrist and finger tips of the right and the left arm, (4, 3) mm each."""
    rng = frame.rng(3)
    out = []
    girth = frame.girth ** (1.0 - 0.55)
    shoulder_x = 152 * girth * frame.tall**0.5 * (0.94 if frame.female else 1)
    upper, fore, hand = 295 * frame.tall, 245 * frame.tall, 150 * frame.tall
    lift, fold, front = rng.uniform(8, 22), rng.uniform(38, 62), rng.uniform(0.0, 0.3)
    for side in SIDES:
        if frame.subject.arms_up:
            a, b = np.radians(lift + rng.normal(0, 3)), np.radians(fold + rng.normal(0, 6))
            shoulder = np.array([shoulder_x, -8, 1405 * frame.tall])
            elbow = shoulder + upper * _unit(np.sin(a), front + rng.normal(0, 0.05), np.cos(a))
            wrist = elbow + fore * _unit(-np.sin(b), rng.normal(0.05, 0.1), np.cos(b))
            tip = wrist + hand * _unit(-np.sin(b) * 0.9, rng.normal(0.1, 0.15), np.cos(b))
        else:
            hip = 178 * frame.girth * frame.tall**0.5
            shoulder = np.array([shoulder_x + 8, -12, 1392 * frame.tall])
            elbow = np.array(
                [max(shoulder_x + 45, 150 * frame.girth + 52 * frame.limb) + rng.uniform(0, 18), -22, 0.0]
            )
            elbow[2] = shoulder[2] - upper * 0.98
            wrist = np.array(
                [hip + 34 * frame.limb + rng.uniform(0, 15), rng.uniform(0, 35), elbow[2] - fore * 0.98]
            )
            tip = wrist + hand * _unit(-0.12, rng.uniform(0, 0.3), -1)
        out.append(np.stack([shoulder, elbow, wrist, tip]) * [side, 1, 1])
    return out


def _unit(x: float, y: float, z: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    v = np.array([x, y, z], dtype=float)
    return np.asarray(v / np.linalg.norm(v))


def arms(frame: Frame) -> list[tuple[Shape, Shape]]:
    """Skin and muscle of each arm with its hand."""
    out: list[tuple[Shape, Shape]] = []
    t = (5.0 + 0.45 * max(frame.bmi - 19, 0)) if frame.female else (2.5 + 0.35 * max(frame.bmi - 19, 0))
    slim = 0.92 if frame.female else 1.0
    for joints in arm_joints(frame):
        s, e, w, f = joints
        points = np.stack([s, s + (e - s) * 0.45, e, e + (w - e) * 0.3, w, w + (f - w) * 0.45, f])
        radii = np.array([57, 47, 37, 40, 26, 31, 13]) * frame.limb**0.8 * slim
        out.append((Tube(points, radii), Tube(points, radii - t * np.array([1, 1, 0.7, 0.6, 0.3, 0.3, 0.3]))))
    return out


def breasts(frame: Frame) -> list[Ellipsoid]:
    """Breasts; in men none."""
    if not frame.female:
        return []
    rng = frame.rng(4)
    size = float(np.clip(0.8 + 0.035 * (frame.bmi - 20) + rng.normal(0, 0.1), 0.6, 1.6))
    skin, _ = trunk(frame)
    z = 1285 * frame.tall
    _, cy, a, b = skin.at(z)
    out = []
    for side in SIDES:
        x = side * 0.5 * a
        y = cy + 0.80 * b
        out.append(
            Ellipsoid(
                (x, y, z + rng.normal(0, 5)), (66 * size, 33 * size, 62 * size), rotation(0, 0, side * -15)
            )
        )
    return out


def outlines(frame: Frame) -> list[Shape]:
    """Everything that makes the body's surface."""
    return [
        trunk(frame)[0],
        head(frame),
        *(skin for skin, _ in legs(frame)),
        *(skin for skin, _ in arms(frame)),
        *breasts(frame),
    ]


def outline_litres(frame: Frame) -> float:
    """Volume inside the surface, L, counted on points 12 mm apart."""
    whole = Union(outlines(frame), 1.0)
    return volume_ml(whole, 12.0) / 1000


def _meet(one: Box, other: Box) -> bool:
    return all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one, other, strict=True))


def paint_outline(frame: Frame) -> None:
    """Fat up to the skin, muscle in the cores."""
    muscle = frame.muscle_pattern()
    surfaces = outlines(frame)
    for shape in surfaces:
        frame.add(shape, "fat", outline=True, fine=0.25, coarse=0.18)
    for shape in surfaces:
        # Where two parts of the body meet there is no skin between them.
        others = tuple(o for o in surfaces if o is not shape and _meet(o.box, shape.box))
        frame.add(
            shape,
            "skin",
            mu=MU_SOFT,
            fine=0.1,
            coarse=0.15,
            outside=(Inset(shape, SKIN_MM), *others),
            detail_mm=2.0,
        )
    wall = trunk(frame)[1]
    cores: list[Shape] = [wall, *(core for _, core in legs(frame)), *(core for _, core in arms(frame))]
    for core in cores:
        frame.add(core, "muscle", pattern=muscle, fine=0.2, coarse=0.12)
    for breast in breasts(frame):
        gland = Ellipsoid(
            (breast.centre[0], breast.centre[1] + 3, breast.centre[2]),
            (breast.radii[0] * 0.62, breast.radii[1] * 0.7, breast.radii[2] * 0.62),
            breast.axes,
        )
        frame.add(gland, "breast", coarse=0.3, fine=0.1, outside=(wall,))
    frame.anatomy.regions["soft tissue"] = cores[:3]
