"""Validation by the method's own stages: the same boxes each time, a PSNR of the convention it states."""

import matplotlib.image
import numpy as np
import pytest
import torch

from mapdiff.cohort.pack import pack
from mapdiff.cohort.store import store_subjects
from mapdiff.diffusion.transform import transform
from mapdiff.methods.map_diff import MapDiff
from mapdiff.training.picture import draw_progress
from mapdiff.training.validation import SUBJECTS, Validator
from synthetic import FULL_LEVEL, blurring_net, nominal_calibration, random_net

CALIBRATION, CPU = nominal_calibration(), torch.device("cpu")


@pytest.fixture(scope="module")
def subjects(tiny_cohort, tmp_path_factory):
    store = tmp_path_factory.mktemp("stores") / "tiny"
    pack(tiny_cohort, store, jobs=1)
    return store_subjects(store)


@pytest.fixture(scope="module")
def validator(subjects):
    return Validator(subjects[:2], [FULL_LEVEL] * 2)


class Identity(torch.nn.Module):
    """Takes the state for the noise-free image: every stage is then the input."""

    def forward(self, state, u, condition):
        return state


def test_of_a_network_that_does_nothing_it_is_that_of_the_input(validator):
    found = validator.run(MapDiff(), Identity(), CALIBRATION, CPU)
    images = dict(found.slices)
    assert list(images) == ["input, 1/20", "1/10", "1/4", "1/2", "full", "target"]
    for label in ("1/10", "1/4", "1/2", "full"):
        np.testing.assert_allclose(images[label], images["input, 1/20"], rtol=1e-3, atol=1e-3)
    values = []
    for box, dose in validator._boxes:
        target = box.target[0, 0]
        u = box.scans[0, int((box.doses - float(dose)).abs().argmin())]
        values.append(10 * np.log10(float(target.max()) ** 2 / float((u - target).square().mean())))
    assert found.psnr == pytest.approx(np.mean(values), abs=0.02)


def test_the_truth_is_better_than_nothing_and_it_repeats(validator):
    nothing = validator.run(MapDiff(), Identity(), CALIBRATION, CPU).psnr
    blur = validator.run(MapDiff(), blurring_net(), CALIBRATION, CPU).psnr
    assert blur == validator.run(MapDiff(), blurring_net(), CALIBRATION, CPU).psnr

    class Perfect(torch.nn.Module):
        """Knows which box it sees."""

        def forward(self, state, u, condition):
            targets = [transform(box.target) for box, _ in validator._boxes if box.target.shape == u.shape]
            return min(targets, key=lambda target: float((target - u).abs().mean()))

    assert nothing + 10 < validator.run(MapDiff(), Perfect(), CALIBRATION, CPU).psnr


def test_of_many_subjects_a_few_are_looked_at(subjects):
    many = [subjects[n % 3] for n in range(50)]
    assert len(Validator(many, [0.1] * 50)._boxes) == SUBJECTS


def test_the_picture_is_drawn(validator, tmp_path):
    found = validator.run(MapDiff(), random_net(), CALIBRATION, CPU)
    columns = {"step": [2.0, 4.0], "loss": [1.0, 0.5], "lr": [1e-3, 5e-4], "psnr": [30.0, 31.0]}
    path = tmp_path / "progress.png"
    draw_progress(columns, found.slices, "a run", path)
    picture = matplotlib.image.imread(path)
    assert picture.shape[:2] == (600, 1100)
    lower = picture[380:, :, :3].mean(axis=2)  # the slices are there, dark on white
    assert (lower < 0.9).mean() > 0.01
