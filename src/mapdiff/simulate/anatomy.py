"""Puts a body together: outline, skeleton, chest, belly, head."""

from __future__ import annotations

from functools import lru_cache

from mapdiff.simulate import chest, outline
from mapdiff.simulate.abdomen import paint_abdomen, paint_pelvic_organs
from mapdiff.simulate.frame import Anatomy, Frame
from mapdiff.simulate.head import paint_head
from mapdiff.simulate.skeleton import paint_limb_bones, paint_pelvis, paint_ribs, paint_spine
from mapdiff.simulate.subject import Subject
from mapdiff.simulate.uptake import Uptake


def build(subject: Subject, uptake: Uptake, seed: int, girth: float) -> Anatomy:
    """All tissues of one body, upright and before posture; the same arguments give the same body."""
    frame = Frame(subject, uptake, seed, girth)
    outline.paint_outline(frame)
    paint_limb_bones(frame)
    chest.paint_cavity(frame)
    paint_abdomen(frame)
    chest.paint_organs(frame)
    paint_pelvis(frame)
    paint_spine(frame)
    paint_ribs(frame)
    paint_pelvic_organs(frame)
    chest.paint_vessels(frame)
    paint_head(frame)
    return frame.anatomy


@lru_cache(maxsize=64)
def _litres(subject: Subject, seed: int, girth: float) -> float:
    from mapdiff.simulate.uptake import TABLE

    plain = Uptake({name: mean for name, (mean, _) in TABLE.items()}, 1, 1, 100, 1, 0, 1, 0, 0)
    return outline.outline_litres(Frame(subject, plain, seed, girth))


def outline_litres(subject: Subject, seed: int, girth: float) -> float:
    """Volume inside the body's surface at a girth, L."""
    return _litres(subject, seed, girth)
