"""Contrast recovery by hand: a lesion over its surroundings."""

import numpy as np
import pytest

from mapdiff.evaluation.contrast import contrast_figures, shell_of
from mapdiff.evaluation.masks import LesionMask, from_labels

SPACING = (4.0, 4.0, 4.0)


def scene(height: float, second: float = 0.0):
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[14:17, 14:17, 14:17] = 1
    labels[18:20, 14:17, 14:17] = 2
    image = np.full(labels.shape, 2.0, np.float32)
    image[labels == 1] = height
    image[labels == 2] = second or 2.0
    return image, LesionMask(labels.shape, np.diag([4.0, 4, 4, 1]), tuple(from_labels(labels)))


@pytest.mark.parametrize(("seen", "recovered"), [(8.0, 100.0), (5.0, 50.0), (2.0, 0.0)])
def test_recovery_is_the_ratio_of_contrasts(seen, recovered):
    true, lesions = scene(8.0)
    found = contrast_figures(scene(seen)[0], true, lesions, SPACING)
    assert [f.region for f in found] == ["label 1"]  # the second has no contrast to recover
    assert found[0].value == pytest.approx(recovered, abs=1e-4)


def test_other_lesions_and_the_factor_between_images_play_no_part():
    true, lesions = scene(8.0, 50.0)
    first = contrast_figures(3 * scene(5.0, 70.0)[0], true, lesions, SPACING)[0]
    assert first.value == pytest.approx(50, abs=1e-3)


def test_the_shell_keeps_its_distance():
    _, lesions = scene(8.0)
    everything = lesions.full("label 1") | lesions.full("label 2")
    box, shell = shell_of(lesions.lesions[0], everything, SPACING)
    assert shell.any() and not (shell & everything[box]).any()
    where = np.argwhere(shell) + [s.start for s in box]
    distance = np.linalg.norm(np.maximum(np.abs(where - 15) - 1, 0) * 4.0, axis=1)
    assert distance.min() >= 8 and distance.max() <= 16
