"""Places and lesions of the detectability pairs."""

from fractions import Fraction

import numpy as np
import pytest

from mapdiff.evaluation.benchmark.detection import (
    DIAMETER_MM,
    EDGE,
    lattice,
    simulate_pair,
    with_lesions,
)

SPACING = (4.0, 4.0, 4.0)


def test_places_are_inside_and_apart():
    organs = np.zeros((60, 60, 40), np.uint8)
    organs[10:55, 10:55, 5:38] = 7
    places = lattice(organs, 7, SPACING)
    assert len(places) > 5
    for n, place in enumerate(places):
        reach = int(DIAMETER_MM / 4)
        box = tuple(slice(p - reach + 1, p + reach) for p in place)
        assert (organs[box] == 7).all()
        assert all(EDGE // 2 <= p < size - EDGE // 2 for p, size in zip(place, organs.shape, strict=True))
        others = np.array(places[:n] + places[n + 1 :])
        assert (np.abs(others - place).max(axis=1) >= EDGE).all()
    assert lattice(organs, 3, SPACING) == [] and lattice(organs[:5], 7, SPACING) == []


@pytest.mark.parametrize("spacing", [SPACING, (2.0, 2.0, 3.0)])
def test_a_lesion_has_its_volume_and_contrast(spacing):
    activity = np.full((31, 31, 31), 5.0, np.float32)
    image = with_lesions(activity, [(15, 15, 15)], spacing, 0.8)
    assert image[15, 15, 15] == pytest.approx(9.0) and activity.max() == 5
    added = float((image - activity).sum()) * np.prod(spacing)
    assert added == pytest.approx(4.0 * np.pi / 6 * DIAMETER_MM**3, rel=0.15)
    assert image[0, 0, 0] == 5


@pytest.mark.slow
def test_pairs_differ_at_the_places():
    pairs = [
        simulate_pair("quadra", Fraction(1, 2), 8.0, 1, n, spacing_mm=(6.0, 6.0, 6.0), slices=40)
        for n in range(3)
    ]
    found = [pair for pair in pairs if pair is not None]
    assert sum(len(pair.places) for pair in found) >= 2
    for pair in found:
        for place in pair.places:
            assert pair.present.array[place] > 2 * pair.absent.array[place] > 0
