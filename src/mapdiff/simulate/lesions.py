"""Lesions: where FDG-avid tumour usually sits, 5 to 40 mm, SUV 2 to 15, of irregular shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapdiff.simulate.chest import Noise
from mapdiff.simulate.frame import Anatomy
from mapdiff.simulate.painting import Part
from mapdiff.simulate.portable import exp
from mapdiff.simulate.shapes import Ellipsoid, Floats, Point, Scaled, Shape, Union, with_volume
from mapdiff.simulate.uptake import MU_SOFT, Uptake

#: Share of bodies without a lesion, and the largest number in one body: our choice, for training.
NO_LESION = 0.12
MOST = 12
#: Most times that number: lesions are numbered in eight bits.
MOST_TIMES = 255 // MOST


@dataclass(frozen=True)
class Lesion:
    """One lesion.

    Attributes:
        site: where it sits: "liver", "lung", "neck node", "marrow" and so on.
        centre_mm: its centre in the upright body, mm.
        diameter_mm: diameter of the sphere of its volume, mm.
        suv: SUV of its living part.
        necrotic: whether its core is dead.
        part: how it is painted.
    """

    site: str
    centre_mm: Point
    diameter_mm: float
    suv: float
    necrotic: bool
    part: Part


def draw_lesions(
    rng: np.random.Generator, anatomy: Anatomy, uptake: Uptake, times: int = 1
) -> tuple[Lesion, ...]:
    """Draw the lesions of one body.

    People with disease have one or two kinds of spread, so sites repeat within a body.

    Args:
        rng: where the randomness comes from.
        anatomy: where lesions can sit.
        uptake: of the tissues round them.
        times: how many times as many as a body has, at as many times the sites; those that would touch
            another are left out.
    """
    if rng.random() < NO_LESION:
        return ()
    count = times * int(np.clip(1 + rng.geometric(0.22), 1, MOST))
    sites = [
        "liver",
        "lung",
        "marrow",
        "marrow pelvis",
        "marrow femur",
        "soft tissue",
        "spleen",
        *anatomy.nodes,
    ]
    weight = np.array([3.0, 4.0, 2.5, 1.2, 0.5, 0.8, 0.3, *[1.6] * len(anatomy.nodes)])
    kinds = rng.choice(
        len(sites),
        size=min(times * int(rng.integers(1, 5)), count, len(sites)),
        replace=False,
        p=weight / weight.sum(),
    )
    out: list[Lesion] = []
    for _ in range(count):
        for _ in range(20):
            lesion = _draw(rng, anatomy, uptake, sites[int(rng.choice(kinds))], len(out) + 1)
            apart = [
                np.linalg.norm(np.subtract(lesion.centre_mm, o.centre_mm))
                > 0.6 * (lesion.diameter_mm + o.diameter_mm)
                for o in out
            ]
            if all(apart):
                out.append(lesion)
                break
    return tuple(out)


def _draw(rng: np.random.Generator, anatomy: Anatomy, uptake: Uptake, site: str, number: int) -> Lesion:
    node = site in anatomy.nodes
    limits = (5.0, 26.0) if node else (5.0, 24.0) if "marrow" in site else (5.0, 40.0)
    diameter = float(np.clip(np.exp(rng.normal(np.log(13), 0.5)), *limits))
    suv = float(np.clip(np.exp(rng.normal(np.log(5.5), 0.5)), 2.0, 15.0))
    if site in ("liver", "lung") and rng.random() < 0.35:  # faint and small
        diameter = float(rng.uniform(5, 11))
        suv = (
            float(uptake.suv["liver"] * rng.uniform(1.4, 2.1))
            if site == "liver"
            else float(rng.uniform(2.0, 3.0))
        )
    if site in ("liver", "spleen"):
        suv = max(suv, 1.35 * uptake.suv["liver"])
    suv = float(np.clip(suv, 2.0, 15.0))
    if node:
        spot = np.asarray(anatomy.nodes[site][int(rng.integers(len(anatomy.nodes[site])))]) + rng.normal(
            0, 4, 3
        )
    else:
        regions = anatomy.regions[site]
        spot = _inside(
            rng, regions[int(rng.integers(len(regions)))], 0.5 * diameter if site != "lung" else 4.0
        )
    centre = (float(spot[0]), float(spot[1]), float(spot[2]))
    shape = _irregular(rng, centre, diameter)
    necrotic = bool(diameter > 20 and rng.random() < 0.45)
    core = np.float32(rng.uniform(0.15, 0.5))
    rim = np.float32(diameter * rng.uniform(0.18, 0.28))

    def pattern(distance: Floats, y: Floats, noise: Noise) -> Floats:
        lively: Floats = np.clip(1 + np.float32(0.15) * noise(9.0), 0.5, 1.4)
        if not necrotic:
            return lively
        dead = np.float32(1) / (np.float32(1) + exp(-(-distance - rim) / np.float32(1.0)))
        out: Floats = lively * (np.float32(1) - (np.float32(1) - core) * dead)
        return out

    part = Part(shape, "muscle", suv, MU_SOFT, 0.0, 0.0, pattern, detail_mm=1.4, lesion=number)
    return Lesion(site, centre, diameter, suv, necrotic, part)


def _inside(rng: np.random.Generator, region: Shape, margin: float) -> NDArray[np.float64]:
    """A point at least a margin inside a region, or as deep as the region allows."""
    box = np.asarray(region.box)
    p = rng.uniform(box[:, 0], box[:, 1], (400, 3)).astype(np.float32)
    d = region.distance(p[:, 0], p[:, 1], p[:, 2])
    good = np.flatnonzero(d < -margin)
    return np.asarray(p[good[0]] if len(good) else p[int(np.argmin(d))], dtype=np.float64)


def _irregular(rng: np.random.Generator, centre: Point, diameter: float) -> Scaled:
    """A few melted blobs with the volume of a sphere of that diameter."""
    r = diameter / 2
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    blobs = [Ellipsoid(centre, (r, r * float(rng.uniform(0.7, 1)), r * float(rng.uniform(0.6, 1))), axes)]
    for _ in range(int(rng.integers(0, 4)) if diameter > 9 else 0):
        way = rng.standard_normal(3)
        spot = np.asarray(centre) + way / np.linalg.norm(way) * r * rng.uniform(0.5, 0.9)
        size = r * float(rng.uniform(0.35, 0.6))
        blobs.append(Ellipsoid((float(spot[0]), float(spot[1]), float(spot[2])), (size, size, size)))
    return with_volume(Union(blobs, 0.4 * r), np.pi / 6 * diameter**3 / 1000, diameter / 24)
