"""The training target: the noise-free image, or a draw of it that shares no count with the input."""

import dataclasses

import pytest
import torch

from mapdiff.cohort.patches import Batch
from mapdiff.diffusion import dose_path
from mapdiff.dose import DOSES
from mapdiff.evaluation.metrics import nmae
from mapdiff.methods.base import SubjectNoise
from mapdiff.methods.inputs import INPUTS, scaled_dose
from synthetic import FULL_LEVEL, nested_scans, smooth_body

BODY = smooth_body((48, 48, 48)) + 0.2


@pytest.fixture(scope="module")
def scanned():
    """A patch of a subject without a noise-free image: the target is its full dose."""
    scans = torch.stack([torch.from_numpy(y) for y in nested_scans(BODY, seed=4).values()])
    return Batch(
        scans=scans[None],
        target=scans[None, :1],
        noise_free=torch.zeros(1, dtype=torch.bool),
        doses=torch.tensor([float(d) for d in DOSES]),
        present=torch.ones(1, len(DOSES), dtype=torch.bool),
        level=torch.full((1,), FULL_LEVEL),
        spacing_mm=torch.full((1, 3), 4.0),
    )


def slope(of: torch.Tensor, on: torch.Tensor) -> float:
    """How much of the noise of `on` is in `of`, both against the noise-free image."""
    z = torch.from_numpy(BODY)
    a, b = (of - z).double().flatten(), (on - z).double().flatten()
    return float((a * b).sum() / (b * b).sum())


@pytest.mark.parametrize("level", [0.5, 1, 2, 5, 10])
@pytest.mark.parametrize("scale", [0.6, 1, 1.7])
def test_without_a_noise_free_image_the_target_holds_none_of_the_inputs_noise(scanned, level, scale):
    """Else the best estimate of the target is a mix of z and the input, and inference takes it for z."""
    start = INPUTS.of(scanned, {"level": torch.tensor([level * FULL_LEVEL]), "scale": torch.tensor([scale])})
    assert slope(start.target, start.u) == pytest.approx(0, abs=0.01)
    assert slope(scanned.target, start.u) == pytest.approx(float(start.dose), abs=0.015)
    found = nmae(start.u[0, 0].numpy(), BODY).value
    assert found == pytest.approx(float(start.level), rel=0.06)
    assert float(start.level) == pytest.approx(FULL_LEVEL / float(start.dose) ** 0.5)


@pytest.mark.parametrize("scale", [0.6, 1.7])
def test_the_scans_stay_nested_when_their_noise_is_scaled(scanned, scale):
    """The step from the input to an anchor, with the right z, leaves nothing of the input in the error."""
    factor = torch.tensor([scale])
    start = INPUTS.of(scanned, {"level": torch.tensor([5 * FULL_LEVEL]), "scale": factor})
    for index, dose in enumerate(DOSES[1:4], 1):
        y_d = scanned.target + scale * (scanned.scans[:, index][:, None] - scanned.target)
        d = scaled_dose(torch.tensor([float(dose)]), scanned, factor)
        stage = dose_path.step(start.u, torch.from_numpy(BODY), start.dose / d)
        left = y_d - stage + torch.from_numpy(BODY)
        assert slope(left, start.u) == pytest.approx(0, abs=0.015)


def test_a_noise_free_image_is_the_target_itself(scanned):
    """Scans then stay of their doses, on a scanner that is as much noisier."""
    known = dataclasses.replace(
        scanned, target=torch.from_numpy(BODY)[None, None], noise_free=torch.ones(1, dtype=torch.bool)
    )
    start = INPUTS.of(known, {"level": torch.tensor([5 * FULL_LEVEL]), "scale": torch.tensor([1.7])})
    assert torch.equal(start.target, known.target)
    assert float(start.dose) == pytest.approx(0.1)
    assert float(start.level) == pytest.approx(1.7 * FULL_LEVEL * 10**0.5)
    assert float(scaled_dose(torch.tensor([0.25]), known, torch.tensor([1.7]))) == 0.25


@pytest.mark.parametrize(("first", "last"), [(1, 6), (2, 4), (1, 3)])
def test_the_range_of_levels_is_that_of_the_inputs(scanned, first, last):
    """Of the doses that the subject has, the highest one's to the lowest one's.

    Scaled about the full dose, no input comes below the full dose's own noise.
    """
    there = torch.tensor([n == 0 or first <= n <= last for n in range(len(DOSES))])[None]
    batch = dataclasses.replace(scanned, present=there)
    wide = dataclasses.replace(INPUTS, spread=9.0)
    subject = SubjectNoise(FULL_LEVEL, False, float(DOSES[first]), float(DOSES[last]))
    low, high = wide.level_range([subject])
    drawn = [
        float(wide.of(batch, {"level": torch.tensor([wanted]), "scale": torch.tensor([scale])}).level)
        for wanted in (1e-3, 10.0)
        for scale in wide.noise_scale
    ]
    assert (low, high) == pytest.approx((min(drawn), max(drawn)))
    assert wide.level_range([dataclasses.replace(subject, noise_free=True)])[0] < low


def test_an_anchor_is_the_scan_of_its_own_dose_or_none(scanned):
    """A cohort with other doses has no anchor there: the nearest scan is not one."""
    fewer = dataclasses.replace(
        scanned,
        scans=scanned.scans[:, [0, 1, 4]],
        doses=scanned.doses[[0, 1, 4]],
        present=scanned.present[:, :3],
    )
    y_d, present = fewer.at(0.5)
    assert bool(present.all()) and torch.equal(y_d[0, 0], scanned.scans[0, 1])
    for absent in (0.25, 0.1):
        assert not bool(fewer.at(absent)[1].any())
    assert not bool(dataclasses.replace(fewer, present=fewer.present & False).at(0.5)[1].any())
