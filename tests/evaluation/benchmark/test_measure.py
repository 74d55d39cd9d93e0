"""One subject's figures: lesions by their size."""

import numpy as np
import pytest

from mapdiff.dose import FULL
from mapdiff.evaluation.benchmark.measure import LARGER, LESIONS, SMALLER, measure
from mapdiff.evaluation.benchmark.subjects import TestSubject
from mapdiff.evaluation.masks import LesionMask, from_labels
from mapdiff.volume import Volume


def test_small_lesions_are_told_apart():
    """A ball of 8 mm that loses a third, balls of 16 and 24 mm that lose 2 and 4 %."""
    grid = np.indices((40, 40, 40)).astype(float)
    labels = np.zeros((40, 40, 40), np.uint8)
    kept = np.ones((40, 40, 40))
    for number, (at, radius, part) in enumerate(((8, 2, 0.67), (18, 4, 0.98), (31, 6, 0.96)), 1):
        ball = sum((axis - at) ** 2 for axis in grid) <= radius**2
        labels[ball], kept[ball] = number, part
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    reference = Volume((1 + 5 * (labels > 0)).astype(np.float32), affine, "SUV")
    lesions = LesionMask(reference.shape, affine, tuple(from_labels(labels)))
    subject = TestSubject("sub-001", {FULL: reference}, reference, None, {}, lesions)
    prediction = Volume((reference.array * kept).astype(np.float32), affine, "SUV")
    values = measure(prediction, reference, subject, conventions=False, parts=True, similarity=False)
    found = {(v.metric, v.convention): v.value for v in values}
    assert found["suvmean bias", SMALLER] == pytest.approx(-33, abs=1e-3)
    assert found["suvmax bias", LARGER] == pytest.approx(-3, abs=1e-3)
    assert found["suvmean bias", LARGER] == pytest.approx(-3, abs=1e-3)
    assert found["suvmean bias", LESIONS] == pytest.approx(-13, abs=1e-3)
    assert ("tlg bias", LARGER) not in found
